"""Scores trials of a wave in one pass over their base model."""

from collections.abc import Callable, Sequence
from functools import partial

import torch

from evals.errors import ModelError
from evals.result import EvalResult
from evals.tasks.library import TaskLibrary
from evals.together import score_adapters
from sweep.data.prepared import PreparedData
from sweep.errors import InputError
from sweep.evaluation import score_checkpoint
from sweep.models import release_memory
from sweep.progress import Progress
from sweep.together.bases import Bases
from sweep.together.seat import Seat, base_model


class WaveScoring:
    """Fills in the evaluations of trials that have been trained."""

    def __init__(
        self,
        bases: Bases,
        prepared: PreparedData,
        library: TaskLibrary,
        device: torch.device,
        on_progress: Callable[[int, Progress], None],
    ) -> None:
        """`on_progress` is given a trial's place."""
        self._bases = bases
        self._prepared = prepared
        self._library = library
        self._device = device
        self._on_progress = on_progress

    def score(self, seats: Sequence[Seat]) -> None:
        """Together; where that is impossible or too much, in halves down to one by one."""
        try:
            if len(seats) == 1:
                seats[0].course.evaluation = self._score_alone(seats[0])
                return
            results = self._score_together(seats)
        except InputError as error:
            # Tasks or a model that cannot share a batch are no fault of the trials.
            if not isinstance(error, ModelError) or len(seats) == 1:
                raise
        except Exception as error:  # noqa: BLE001 - whatever ends a trial is its result
            if len(seats) == 1:
                seats[0].course.fail(error, seats[0].directory)
                return
            del error
            release_memory()
        else:
            for seat in seats:
                seat.course.evaluation = results[str(seat.place)]
            return
        middle = len(seats) // 2
        self.score(seats[:middle])
        self.score(seats[middle:])

    def _score_together(self, seats: Sequence[Seat]) -> dict[str, EvalResult]:
        first = seats[0]
        lm = self._bases.scoring(base_model(first.config), first.method, first.config.scoring, self._device)
        return score_adapters(
            lm,
            {str(seat.place): seat.directory.checkpoint for seat in seats},
            first.config.tasks,
            first.config.scoring,
            own=self._prepared.own(first.config.split),
            output={str(seat.place): seat.directory.eval for seat in seats},
            library=self._library,
            on_progress=lambda done, total: self._scored(seats, done, total),
        )

    def _scored(self, seats: Sequence[Seat], done: int, total: int) -> None:
        for seat in seats:
            self._on_progress(seat.place, Progress("score", done, total, None))

    def _score_alone(self, seat: Seat) -> EvalResult:
        return score_checkpoint(
            seat.config,
            seat.directory,
            self._prepared,
            cache=self._bases.cache,
            device=self._device,
            library=self._library,
            on_progress=partial(self._on_progress, seat.place),
        )
