"""Rules on methods and training: combinations that contradict each other, searched values included.

A searched key stands for all of its values: a study is refused for a combination that its search could draw.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping

from sweep.method_rules import complaints, sharding_complaints
from sweep.spec import RESERVED_METHOD_NAMES, Dimension, MethodKind, ParamValue, StudySpec
from sweep.study_file.document import Place
from sweep.study_file.fill import ADAPTER_KINDS, kind_of
from sweep.study_file.names import intended
from sweep.study_file.schema import WrittenMethod, WrittenStudy
from sweep.study_file.search_keys import SearchedKey, dimensions_of, take_apart
from sweep.study_file.validation import Finding

_MOST_VALUES = 1000
"""Values of a range that are tried; the rest follow the same steps."""

OPTIMIZERS = frozenset(
    {
        "auto",
        "adafactor",
        "adagrad",
        "adamw_8bit",
        "adamw_bnb_8bit",
        "adamw_torch",
        "adamw_torch_4bit",
        "adamw_torch_8bit",
        "adamw_torch_fused",
        "ademamix",
        "ademamix_8bit",
        "grokadamw",
        "lion_32bit",
        "lion_8bit",
        "paged_adamw_32bit",
        "paged_adamw_8bit",
        "paged_ademamix_32bit",
        "paged_ademamix_8bit",
        "paged_lion_32bit",
        "paged_lion_8bit",
        "rmsprop",
        "rmsprop_bnb",
        "rmsprop_bnb_32bit",
        "rmsprop_bnb_8bit",
        "schedule_free_adamw",
        "schedule_free_radam",
        "schedule_free_sgd",
        "sgd",
        "stable_adamw",
    }
)
"""transformers' optimizers that need no argument of their own."""

_SCHEDULE_ARGUMENTS: Mapping[str, frozenset[str]] = {
    "constant": frozenset(),
    "constant_with_warmup": frozenset(),
    "linear": frozenset(),
    "cosine": frozenset({"num_cycles"}),
    "cosine_with_min_lr": frozenset({"num_cycles", "min_lr", "min_lr_rate"}),
    "warmup_stable_decay": frozenset(
        {"num_decay_steps", "num_stable_steps", "min_lr_ratio", "num_cycles", "warmup_type", "decay_type"}
    ),
}
"""What transformers' schedules take beside warm-up and the number of steps."""


def methods_have_kinds(written: WrittenStudy) -> Iterator[Finding]:
    """Every method says what it trains, by its kind, its name or its keys."""
    for name, method in written.methods.items():
        if kind_of(name, method) is None:
            message = f"methods.{name}.kind is missing; it must be 'lora', 'qlora' or 'full'."
            yield Finding(("methods", name, "kind"), message)


def names_are_free(_: WrittenStudy, spec: StudySpec) -> Iterator[Finding]:
    """A method's name is a directory, and the beginning of its searched keys."""
    for name in spec.methods:
        place = ("methods", name)
        if name in RESERVED_METHOD_NAMES:
            taken = ", ".join(sorted(RESERVED_METHOD_NAMES))
            yield Finding(place, f"a method cannot be named {name!r}; {taken} name parts of a run directory.")
        around = next((other for other in spec.methods if name.startswith(f"{other}.")), None)
        if around is not None:
            message = (
                f"method {name!r} begins with {around!r} and a dot, so searched keys could mean either; rename it."
            )
            yield Finding(place, message)


_Contradiction = tuple[frozenset[MethodKind], str, Callable[[WrittenMethod], bool], str]
_ADAPTERS_16_BIT: frozenset[MethodKind] = frozenset({"lora"})
_FULL: frozenset[MethodKind] = frozenset({"full"})
_QLORA: frozenset[MethodKind] = frozenset({"qlora"})

_CONTRADICTIONS: tuple[_Contradiction, ...] = (
    (_FULL, "peft", lambda method: method.peft is not None, "full fine-tuning has no adapter; remove peft."),
    (
        _FULL,
        "load_in_4bit",
        lambda method: bool(method.load_in_4bit),
        "4-bit weights cannot be trained; remove load_in_4bit, or say kind: qlora.",
    ),
    (
        _ADAPTERS_16_BIT,
        "load_in_4bit",
        lambda method: bool(method.load_in_4bit),
        "lora keeps its base in 16 bits; say kind: qlora, or set load_in_4bit: false.",
    ),
    (
        _QLORA,
        "load_in_4bit",
        lambda method: method.load_in_4bit is False,
        "qlora keeps its base in 4 bits; say kind: lora, or set load_in_4bit: true.",
    ),
    (
        _FULL | _ADAPTERS_16_BIT,
        "quantization",
        lambda method: method.quantization is not None,
        "only qlora has a quantized base; remove quantization, or say kind: qlora.",
    ),
)


def keys_suit_kinds(written: WrittenStudy, spec: StudySpec) -> Iterator[Finding]:
    """A method has only the keys of its kind."""
    for name, method in written.methods.items():
        for kinds, key, contradicts, message in _CONTRADICTIONS:
            if spec.methods[name].kind in kinds and contradicts(method):
                place = ("methods", name)
                yield Finding((*place, key), f"methods.{name}: {message}", ((*place, "kind"),))


def adapters_can_start(_: WrittenStudy, spec: StudySpec) -> Iterator[Finding]:
    """No start of an adapter that the training part refuses, for any rank and start that may be drawn."""
    for name, method in spec.methods.items():
        if method.kind not in ADAPTER_KINDS or method.peft is None:
            continue
        starts = possible_values(spec, name, "peft.init_lora_weights")
        ranks = possible_values(spec, name, "peft.lora_r")
        for start, rank in itertools.product(starts, ranks):
            peft = method.peft.model_copy(update={"init_lora_weights": start, "lora_r": rank})
            for complaint in complaints(method.model_copy(update={"peft": peft}))[:1]:
                place = _place_of(spec, name, "peft.init_lora_weights")
                rank_place = _place_of(spec, name, "peft.lora_r")
                yield Finding(place, f"methods.{name}: {complaint}", (rank_place, ("methods", name, "kind")))
        if method.peft.lora_target_modules == ():
            message = f"methods.{name}.peft.lora_target_modules is empty; name layers, or write all-linear."
            yield Finding(("methods", name, "peft", "lora_target_modules"), message)


def batches_come_out_even(written: WrittenStudy, spec: StudySpec) -> Iterator[Finding]:
    """An optimizer step is a whole number of forward passes, for any batch sizes that may be drawn."""
    for name in spec.methods:
        steps = possible_values(spec, name, "training.effective_batch_size")
        passes = possible_values(spec, name, "training.per_device_train_batch_size")
        for rows, part in itertools.product(steps, passes):
            if not isinstance(rows, int) or not isinstance(part, int):
                continue
            processes = spec.methods[name].training.num_processes
            if rows % processes:
                # Another rule's finding.
                continue
            own, each = rows // processes, "" if processes == 1 else f" in each of {processes} processes"
            if own % min(own, part) == 0:
                continue
            message = (
                f"effective_batch_size {rows} is no multiple of per_device_train_batch_size {part}{each}; an optimizer "
                f"step takes whole forward passes."
            )
            depends = (_training_place(written, spec, name, "per_device_train_batch_size"),)
            yield Finding(_training_place(written, spec, name, "effective_batch_size"), message, depends)
            break


def sharded_methods_can_be_trained(written: WrittenStudy, spec: StudySpec) -> Iterator[Finding]:
    """What is divided among several processes has batches and optimizers that can be, for any that may be drawn."""
    for name, method in spec.methods.items():
        place = _training_place(written, spec, name, "num_processes")
        if method.training.num_processes > 1 and spec.model.dtype == "float16":
            message = "float16 is not trained over several processes; use bfloat16 or float32, or num_processes: 1."
            yield Finding(place, message, (("model", "dtype"),))
        batches = possible_values(spec, name, "training.effective_batch_size")
        optimizers = possible_values(spec, name, "training.optim")
        for rows, optim in itertools.product(batches, optimizers):
            drawn = {"effective_batch_size": rows, "optim": optim}
            training = method.training.model_copy(update=drawn)
            found = sharding_complaints(method.model_copy(update={"training": training}))
            if found:
                depends = tuple(_training_place(written, spec, name, key) for key in drawn)
                yield Finding(place, f"methods.{name}: {found[0]}", depends)
                break


def rows_are_the_same(written: WrittenStudy, spec: StudySpec) -> Iterator[Finding]:
    """Every method reads the same rows."""
    for name, method in spec.methods.items():
        if method.training.max_length != spec.training.max_length:
            message = (
                f"methods.{name}.training.max_length {method.training.max_length} differs from the study's "
                f"{spec.training.max_length}; every method reads the same rows, so set training.max_length."
            )
            place = _training_place(written, spec, name, "max_length")
            yield Finding(place, message, (("training", "max_length"),))


def training_words_are_known(written: WrittenStudy, spec: StudySpec) -> Iterator[Finding]:
    """Optimizers and schedule arguments are ones that transformers has."""
    for name in spec.methods:
        for optimizer in possible_values(spec, name, "training.optim"):
            if optimizer not in OPTIMIZERS:
                near = intended(str(optimizer), OPTIMIZERS)
                hint = f" Did you mean {near!r}?" if near else f" Allowed: {', '.join(sorted(OPTIMIZERS))}."
                place = _training_place(written, spec, name, "optim")
                yield Finding(place, f"unknown optimizer {optimizer!r}.{hint}")
        arguments = _schedule_arguments(spec, name)
        for schedule in possible_values(spec, name, "training.lr_scheduler_type"):
            message = _schedule_message(str(schedule), arguments)
            if message is not None:
                place = _training_place(written, spec, name, "lr_scheduler_kwargs")
                type_place = _training_place(written, spec, name, "lr_scheduler_type")
                yield Finding(place, message, (type_place, ("search_space",)))


def _schedule_arguments(spec: StudySpec, method: str) -> frozenset[str]:
    """Names of the schedule arguments that a method sets or searches."""
    searched = (key.partition("lr_scheduler_kwargs.")[2] for key in dimensions_of(spec, method))
    return frozenset(filter(None, searched)) | spec.methods[method].training.lr_scheduler_kwargs.keys()


def _schedule_message(schedule: str, given: frozenset[str]) -> str | None:
    allowed = _SCHEDULE_ARGUMENTS[schedule]
    unknown = sorted(given - allowed)
    if unknown:
        listed = ", ".join(sorted(allowed)) or "none"
        return (
            f"lr_scheduler_kwargs has {unknown[0]!r}, which the schedule {schedule!r} does not take; allowed: {listed}."
        )
    if {"min_lr", "min_lr_rate"} <= given:
        return "lr_scheduler_kwargs has both min_lr and min_lr_rate; keep one."
    return None


def possible_values(spec: StudySpec, method: str, key: str) -> list[ParamValue]:
    """Values that a method's key may take: what is searched, or else what is set."""
    name = _searched_name(spec, method, key)
    if name is not None:
        searched = take_apart(spec, name)
        values = _values_of(spec.search_space[name])
        # A value that the key refuses is another rule's finding.
        return [value for value in values if isinstance(searched, SearchedKey) and searched.takes(value)]
    value: object = spec.methods[method]
    for part in key.split("."):
        value = getattr(value, part)
    return [value] if isinstance(value, bool | int | float | str | tuple) else []


def _values_of(dimension: Dimension) -> list[ParamValue]:
    if dimension.values is not None:
        return list(dimension.values)
    low, high, step = dimension.min, dimension.max, 1 if dimension.step is None else dimension.step
    if isinstance(low, int) and isinstance(high, int) and isinstance(step, int):
        return list(range(low, high + 1, step)[:_MOST_VALUES])
    return []


def _searched_name(spec: StudySpec, method: str, key: str) -> str | None:
    # A method's own search goes before the one for all methods, as in `space.for_method`.
    names = (f"methods.{method}.{key}", key)
    return next((name for name in names if name in spec.search_space), None)


def _place_of(spec: StudySpec, method: str, key: str) -> Place:
    searched = _searched_name(spec, method, key)
    return ("search_space", searched) if searched is not None else ("methods", method, *key.split("."))


def _training_place(written: WrittenStudy, spec: StudySpec, method: str, key: str) -> Place:
    """Where a method's training key gets its value: the search, the method, or the study."""
    if _searched_name(spec, method, f"training.{key}") is not None:
        return _place_of(spec, method, f"training.{key}")
    is_own = key in written.methods[method].training.model_fields_set
    return ("methods", method, "training", key) if is_own else ("training", key)


RULES = (
    names_are_free,
    keys_suit_kinds,
    adapters_can_start,
    batches_come_out_even,
    sharded_methods_can_be_trained,
    rows_are_the_same,
    training_words_are_known,
)
