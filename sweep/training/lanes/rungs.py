"""Lanes at rungs: their validation losses, and who goes on.

Lanes that come to rungs in the same step are judged together, each by the losses of all. Judged one after another, the
first would be compared with nobody and go on whatever its loss, the second with one, and so on: how many trials are
trained to their ends would depend on the order that they were seated in.
"""

import time
from collections.abc import Iterable, Mapping, Sequence

from evals.models.memory import is_out_of_memory
from sweep.models import release_memory
from sweep.training.lanes.lane import Lane
from sweep.training.lanes.order import RawRows
from sweep.training.lanes.reader import Reader
from sweep.training.lanes.width import Width


class Rungs:
    """Takes lanes past the rungs that they have come to."""

    def __init__(self, reader: Reader, width: Width, rows: RawRows, vocabulary: int) -> None:
        """Losses are taken over `rows`; one that is worse than chance over `vocabulary` tokens has diverged."""
        self._reader = reader
        self._width = width
        self._rows = rows
        self._vocabulary = vocabulary

    def take(self, lanes: Mapping[int, Lane]) -> dict[int, BaseException]:
        """Take the loss of every lane that is at a rung, and have all judged. Gives what went wrong, by lane."""
        failed: dict[int, BaseException] = {}
        due = _due(lanes, lanes, failed)
        while due:
            rows = lanes[due[0]].validation_rows
            alike = [number for number in due if lanes[number].validation_rows == rows]
            self._take_losses(lanes, alike[: self._width.next(len(due))], failed)
            due = _due(lanes, due, failed)
        _judge(lanes, failed)
        return failed

    def _take_losses(self, lanes: Mapping[int, Lane], group: Sequence[int], failed: dict[int, BaseException]) -> None:
        """Take the losses of some lanes at once; where memory runs out, narrower from now on: they are still due."""
        try:
            self._note_losses(lanes, group, failed)
        except Exception as error:  # noqa: BLE001 - whatever ends a trial is its result
            if len(group) == 1:
                failed[group[0]] = error
            elif is_out_of_memory(error):
                self._width.limit(len(group) // 2)
                release_memory()
            else:
                # Whose error it is shows once each is read alone.
                for number in group:
                    self._take_losses(lanes, [number], failed)

    def _note_losses(self, lanes: Mapping[int, Lane], group: Sequence[int], failed: dict[int, BaseException]) -> None:
        began = time.monotonic()
        losses = self._reader.validation_losses([lanes[number].validated_on(self._rows) for number in group])
        each = (time.monotonic() - began) / len(group)
        for number, loss in zip(group, losses, strict=True):
            lanes[number].validation_seconds += each
            try:
                lanes[number].note_loss(loss, self._vocabulary)
            except Exception as error:  # noqa: BLE001 - whatever ends a trial is its result
                failed[number] = error


def _due(lanes: Mapping[int, Lane], numbers: Iterable[int], failed: Mapping[int, BaseException]) -> list[int]:
    return [number for number in numbers if number not in failed and lanes[number].is_at_rung]


def _judge(lanes: Mapping[int, Lane], failed: dict[int, BaseException]) -> None:
    reached = {number: lane.unjudged for number, lane in lanes.items() if lane.unjudged is not None}
    for number, (rung, loss) in reached.items():
        lanes[number].job.on_loss(rung, loss)
    for number, (rung, loss) in reached.items():
        try:
            lanes[number].take_verdict(prune=lanes[number].job.on_rung(rung, loss))
        except Exception as error:  # noqa: BLE001 - whatever ends a trial is its result
            failed[number] = error
