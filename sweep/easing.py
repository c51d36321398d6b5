"""How a trial is trained with less memory than its config asks for: a ladder that it goes down as memory runs out.

An optimizer step stays what it is: as many rows, in the same order, every loss divided by the step's learned tokens. So
the trained weights are the same up to rounding; dropout, where there is any, falls on other places. The config, its
params and its fingerprint stay as they were sampled.

The rungs: fewer lanes, down to one; micro-batches of half the rows with twice as many accumulated, down to one row;
activations that are recomputed in the backward pass. What a trial learned holds for all that ask for no less.
"""

from collections.abc import Iterable

from pydantic import Field

from evals.spec import Spec
from sweep.config import TrialConfig
from sweep.method_rules import is_four_bit
from sweep.spec import MethodSpec, TrainingSpec


class Easing(Spec):
    """What a trial was given in place of what its config asks for, because memory ran out."""

    lanes: int | None = Field(None, ge=1)
    """Most trials that are trained at the same time, itself included; none leaves that to the study."""
    micro_batch_size: int | None = Field(None, ge=1)
    """Rows per forward pass; gradients are accumulated up to the same effective batch. None leaves the config's."""
    gradient_checkpointing: bool = False
    """Whether activations are recomputed in the backward pass though the config does not ask for it."""
    why: tuple[str, ...] = ()
    """A sentence for each time that memory ran out, or for the trial that this was learned from."""
    lost_seconds: float = Field(0.0, ge=0)
    """Device seconds of its own starts that ran out of memory; the trial's own seconds hold none of them."""

    @property
    def changes_training(self) -> bool:
        """Whether it changes more than how many trials are trained at the same time."""
        return self.micro_batch_size is not None or self.gradient_checkpointing


class Eased(Spec):
    """A trial, and what memory that ran out sent it to; a file of its directory from then on."""

    config: TrialConfig
    """The trial as it was sampled."""
    easing: Easing
    """What it is trained with."""


def eased(method: MethodSpec, easing: Easing | None) -> MethodSpec:
    """A method as it is trained."""
    if easing is None or not easing.changes_training:
        return method
    training = method.training
    changed = {
        "per_device_train_batch_size": easing.micro_batch_size or training.per_device_train_batch_size,
        "gradient_checkpointing": training.gradient_checkpointing or easing.gradient_checkpointing,
    }
    return method.model_copy(update={"training": training.model_copy(update=changed)})


def next_rung(method: MethodSpec, at: Easing | None, *, together: int, is_whole_worker: bool) -> Easing | None:
    """Where a trial that ran out of memory is sent; none after the last rung.

    `together` trials had seats. Where only this one of them failed, its lane had been read alone before, and what is
    left is to train it by itself; where the whole worker ended, half as many may fit.
    """
    now = at or Easing()
    if together > 1:
        return now.model_copy(update={"lanes": together // 2 if is_whole_worker else 1})
    training = eased(method, now).training
    fewer = _half(training)
    if fewer is not None:
        return now.model_copy(update={"lanes": 1, "micro_batch_size": fewer})
    if not training.gradient_checkpointing:
        return now.model_copy(update={"lanes": 1, "gradient_checkpointing": True})
    return None


def learned(config: TrialConfig, others: Iterable[Eased]) -> Easing | None:
    """Where a trial starts, by what those that ask for no more came down to; none for as its config says."""
    method = config.method_spec
    if method is None:
        return None
    found: Easing | None = None
    for other in others:
        if other.config.method_spec is not None and _asks_for_no_less(config, other.config):
            carried = lower(found, _carried(method, other.config.method_spec, other))
            found = carried if _what(carried) != _what(found) else found
    return found


def lower(one: Easing | None, other: Easing | None) -> Easing | None:
    """The easing that asks for as little as either."""
    if one is None or other is None:
        return one or other
    lanes = [easing.lanes for easing in (one, other) if easing.lanes is not None]
    sizes = [easing.micro_batch_size for easing in (one, other) if easing.micro_batch_size is not None]
    return Easing(
        lanes=min(lanes, default=None),
        micro_batch_size=min(sizes, default=None),
        gradient_checkpointing=one.gradient_checkpointing or other.gradient_checkpointing,
        why=tuple(dict.fromkeys((*one.why, *other.why))),
        lost_seconds=one.lost_seconds + other.lost_seconds,
    )


def described(easing: Easing, config: TrialConfig) -> str:
    """What a trial is trained with, in a phrase: `alone, micro-batches of 2 rows with 8 accumulated`."""
    if config.method_spec is None:
        return "as it is"
    training = eased(config.method_spec, easing).training
    parts = []
    if easing.lanes is not None:
        parts.append("alone" if easing.lanes == 1 else f"at most {easing.lanes} together")
    if easing.micro_batch_size is not None:
        rows = f"{training.micro_batch_size} row{'' if training.micro_batch_size == 1 else 's'}"
        parts.append(f"micro-batches of {rows} with {training.gradient_accumulation_steps} accumulated")
    if easing.gradient_checkpointing:
        parts.append("activations recomputed")
    return ", ".join(parts)


def _what(easing: Easing | None) -> Easing:
    """An easing without its history."""
    return Easing() if easing is None else easing.model_copy(update={"why": (), "lost_seconds": 0.0})


def _half(training: TrainingSpec) -> int | None:
    """The most rows, of at most half as many, that make up an optimizer step without a rest; none below one."""
    size = training.micro_batch_size
    if size == 1:
        return None
    return training.model_copy(update={"per_device_train_batch_size": size // 2}).micro_batch_size


def _carried(method: MethodSpec, their_method: MethodSpec, other: Eased) -> Easing:
    """Another trial's easing for a method whose rows may be longer: no more tokens in a micro-batch."""
    theirs, training = eased(their_method, other.easing).training, method.training
    most, fewer = theirs.micro_batch_size * theirs.max_length, None
    while other.easing.micro_batch_size is not None and training.micro_batch_size * training.max_length > most:
        smaller = _half(training)
        if smaller is None:
            break
        fewer = smaller
        training = training.model_copy(update={"per_device_train_batch_size": smaller})
    name = f"{other.config.method} {other.config.number}"
    return Easing(
        lanes=other.easing.lanes,
        micro_batch_size=fewer,
        gradient_checkpointing=other.easing.gradient_checkpointing and not training.gradient_checkpointing,
        why=(f"{name}, which asks for no more memory, had run out of it.",),
    )


def _asks_for_no_less(one: TrialConfig, other: TrialConfig) -> bool:
    """Whether a trial needs at least the memory of another, in every respect that they may differ in."""
    mine, theirs = one.method_spec, other.method_spec
    if mine is None or theirs is None or mine.kind != theirs.kind or is_four_bit(mine) != is_four_bit(theirs):
        return False
    here, there = mine.training, theirs.training
    sizes = (
        one.model == other.model,
        here.optim == there.optim,
        # Each of fewer processes has a larger part of the model.
        here.num_processes <= there.num_processes,
        here.micro_batch_size * here.max_length >= there.micro_batch_size * there.max_length,
        here.gradient_checkpointing <= there.gradient_checkpointing,
    )
    return all(sizes) and _adapts_no_less(mine, theirs)


def _adapts_no_less(mine: MethodSpec, theirs: MethodSpec) -> bool:
    if mine.peft is None or theirs.peft is None:
        return mine.peft == theirs.peft
    here, there = mine.peft, theirs.peft
    return (
        here.lora_r >= there.lora_r
        and here.lora_target_modules in {"all-linear", there.lora_target_modules}
        and here.use_dora >= there.use_dora
        and (here.lora_dropout > 0) >= (there.lora_dropout > 0)
    )
