"""Many adapter trials trained at once over one frozen base model, each as if it were alone.

One round reads one micro-batch of every lane: their rows stand behind each other in one packed row, attend only within
themselves, and meet their own adapter in every layer. A lane whose window of accumulated micro-batches is full steps
its own optimizer. How many lanes share a forward (the width) is found out from real rounds; lanes beyond it follow in
further forwards of the same round.

What goes wrong in one lane stays there: infinite numbers meet no other lane's. Where memory runs out, or an error
may be any lane's, the windows concerned are read again, narrower or alone: nothing has been stepped by then.
"""

import time
from collections.abc import Sequence

import torch
from transformers.modeling_utils import PreTrainedModel
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from evals.models.memory import is_out_of_memory
from evals.spec import ModelSpec
from sweep.data.prepared import SplitName
from sweep.errors import TrialError
from sweep.models import release_memory
from sweep.training.lanes import attention
from sweep.training.lanes.ends import LaneEnd, save
from sweep.training.lanes.fitness import Lent, refuse_misfit
from sweep.training.lanes.lane import Lane, LaneJob
from sweep.training.lanes.order import RawRows, read_rows, rows_for
from sweep.training.lanes.packed import Packed
from sweep.training.lanes.reader import Reader
from sweep.training.lanes.rungs import Rungs
from sweep.training.lanes.seats import make_adapters
from sweep.training.lanes.stacks import Stacks
from sweep.training.lanes.transfer import fetched, joined
from sweep.training.lanes.width import Width
from sweep.training.rows import Rows


class Lanes:
    """Seats for trials over one base model."""

    def __init__(  # noqa: PLR0913
        self,
        base: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        prepared: Rows,
        *,
        model: ModelSpec,
        device: torch.device,
        width: int | None = None,
    ) -> None:
        """`base` is frozen and as `load_for_training` gives it; `width` fixes how many lanes share a forward.

        Raises LanesUnfitError where the base model computes in a way that lanes do not follow.
        """
        self._base = base
        self._tokenizer = tokenizer
        self._prepared = prepared
        self._model = model
        self._device = device
        self._dtype: torch.dtype = getattr(torch, model.dtype)
        self._stacks = Stacks(base, self._dtype)
        self._reader = Reader(base, self._stacks, self._dtype, device)
        self._width = Width(width)
        self._lanes: dict[int, Lane] = {}
        self._alone: set[int] = set()
        self._seated_so_far = 0
        self._moved = False
        self._rows: dict[SplitName, RawRows] = {split: read_rows(prepared, split) for split in ("train", "validation")}
        vocabulary: int = base.config.get_text_config().vocab_size
        self._rungs = Rungs(self._reader, self._width, self._rows["validation"], vocabulary)
        self._lent = Lent(base)
        try:
            with self._reader.computing():
                refuse_misfit(base, self._lent.attention, attention.NAME)
        except BaseException:
            self.close()
            raise

    @property
    def seated(self) -> int:
        """Lanes that are taken."""
        return len(self._lanes)

    @property
    def width(self) -> int | None:
        """Lanes that share a forward; none before it has been found."""
        return self._width.found

    def seat(self, job: LaneJob) -> int:
        """Give a trial a lane, and its number. Raises TrialError where its adapter does not fit the model."""
        number = self._seated_so_far
        self._seated_so_far += 1
        adapters, start = make_adapters(self._base, job.method, self._model, seed=job.seed, lane=number)
        lane = Lane(
            job,
            adapters,
            start,
            rows_for(self._rows["train"], job.method.training),
            dtype=self._dtype,
            device=self._device,
            validates=bool(self._rows["validation"]),
        )
        if job.method.training.gradient_checkpointing and not self._base.is_activation_checkpointing:
            # Numbers stay the same; one trial that needs the memory is reason enough.
            self._base.activation_checkpointing_enable({"use_reentrant": False})
        self._lanes[number] = lane
        self._moved = True
        return number

    def excuse(self, seconds: float) -> None:
        """Give every lane time back in which all of them waited for the driver."""
        for lane in self._lanes.values():
            lane.excused_seconds += seconds

    def step(self) -> list[LaneEnd]:
        """Read one micro-batch of every lane. Gives the lanes that have ended, by whatever.

        Raises KeyboardInterrupt where the trials are asked to stop; they can be saved then.
        """
        ends: list[LaneEnd] = []
        for number, lane in list(self._lanes.items()):
            if lane.is_late:
                late = TrialError("deadline", "The trial ran past its deadline while training.")
                ends.append(self._remove(number, late))
        # A lane that was interrupted at a rung takes it before it goes on.
        self._pass_rungs(ends)
        self._arrange()
        for group in self._groups():
            if any(lane.must_stop for lane in self._lanes.values()):
                raise KeyboardInterrupt
            self._read_group(group, ends)
        self._pass_rungs(ends)
        for lane in self._lanes.values():
            lane.save_if_due()
        return ends

    def save(self) -> None:
        """Save what each trial needs to go on after an interruption."""
        for lane in self._lanes.values():
            lane.save()

    def close(self) -> None:
        """Leave the base model as it was; trials that are still seated are given up."""
        for lane in self._lanes.values():
            lane.close()
        self._lanes.clear()
        self._stacks.detach()
        self._lent.give_back()

    def _arrange(self) -> None:
        """Put the adapters of lanes that have come or gone into place, before anything is read."""
        if self._moved:
            self._stacks.arrange([lane.adapters for lane in self._lanes.values()])
            self._width.reconsider(len(self._lanes))
            self._moved = False

    def _groups(self) -> list[list[int]]:
        """Lanes that share a forward; one of those whose forward raised an error goes alone once."""
        together = [number for number in self._lanes if number not in self._alone]
        width = self._width.next(len(together))
        groups = [together[start : start + width] for start in range(0, len(together), width)]
        return groups + [[number] for number in self._lanes if number in self._alone]

    def _read_group(self, group: Sequence[int], ends: list[LaneEnd]) -> None:
        self._arrange()
        began = time.monotonic()
        stepping = [number for number in group if self._lanes[number].ends_window]
        packed = Packed([self._lanes[number].share for number in group], self._device)
        try:
            losses = self._reader.differentiate(packed, [self._lanes[number].adapters for number in group])
            numbers = joined([losses, *(self._lanes[number].clip_gradient() for number in stepping)])
        except Exception as error:  # noqa: BLE001 - whatever ends a trial is its result
            self._cope(group, error, ends)
            return
        failed = self._step_optimizers(stepping)
        try:
            # Until here everything has only been asked for: the device may still be at work on the forward.
            values = fetched(numbers)
        except Exception as error:  # noqa: BLE001 - whatever ends a trial is its result
            ends += [self._remove(number, error) for number in group]
            return
        seconds = time.monotonic() - began
        self._width.note(len(group), packed.size, seconds)
        for number, size, loss in zip(group, packed.lane_lengths, values, strict=False):
            self._lanes[number].train_seconds += seconds * size / packed.size
            self._lanes[number].take(loss, shared=len(group) > 1)
        ends += [self._remove(number, error) for number, error in failed.items()]
        for number, norm in zip(stepping, values[len(group) :], strict=True):
            if number not in failed:
                self._finish_step(number, norm, ends)

    def _step_optimizers(self, stepping: Sequence[int]) -> dict[int, BaseException]:
        """Step lanes whose windows are full. Gives what went wrong, by lane."""
        failed: dict[int, BaseException] = {}
        for number in stepping:
            try:
                self._lanes[number].step_optimizer()
            except Exception as error:  # noqa: BLE001 - whatever ends a trial is its result
                failed[number] = error
        if stepping:
            self._stacks.forget_casts()
        return failed

    def _finish_step(self, number: int, norm: float, ends: list[LaneEnd]) -> None:
        lane = self._lanes[number]
        self._alone.discard(number)
        try:
            lane.finish_step(norm)
            lane.open_next_window()
        except Exception as error:  # noqa: BLE001 - whatever ends a trial is its result
            ends.append(self._remove(number, error))

    def _cope(self, group: Sequence[int], error: BaseException, ends: list[LaneEnd]) -> None:
        """A forward or backward was not finished: read the lanes again, narrower or one by one."""
        if is_out_of_memory(error):
            self._narrow(group, error, ends)
        elif len(group) > 1:
            # Whose error it is shows once each is read alone.
            self._alone.update(group)
            for number in group:
                self._lanes[number].rewind()
        else:
            ends.append(self._remove(group[0], error))

    def _narrow(self, group: Sequence[int], error: BaseException, ends: list[LaneEnd]) -> None:
        """Memory ran out: read fewer lanes at a time. A lane that does not fit alone has failed."""
        if len(group) == 1:
            ends.append(self._remove(group[0], error))
        else:
            self._width.limit(len(group) // 2)
        for number in group:
            if number in self._lanes:
                self._lanes[number].rewind()
        del error
        release_memory()

    def _pass_rungs(self, ends: list[LaneEnd]) -> None:
        """Take every lane past the rung that it has come to, and end those that are done."""
        if any(lane.is_at_rung for lane in self._lanes.values()):
            self._arrange()
            ends += [self._remove(number, error) for number, error in self._rungs.take(self._lanes).items()]
        ends += [self._finish(number) for number, lane in list(self._lanes.items()) if lane.is_done]

    def _finish(self, number: int) -> LaneEnd:
        lane = self._lanes[number]
        try:
            outcome = save(lane, self._base, self._model, self._tokenizer)
        except Exception as error:  # noqa: BLE001 - whatever ends a trial is its result
            return self._remove(number, error)
        self._drop(number)
        return LaneEnd(number, outcome, None)

    def _remove(self, number: int, error: BaseException) -> LaneEnd:
        self._drop(number)
        return LaneEnd(number, None, error)

    def _drop(self, number: int) -> None:
        self._lanes.pop(number).close()
        self._alone.discard(number)
        self._moved = True
