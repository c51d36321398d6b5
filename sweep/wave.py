"""Trials that share a base model: trained in lanes, and scored together as they finish.

A seat that becomes free is offered to the driver at once. Finished trials wait until a whole set of them can be scored
in one pass, or nothing is left to train. What happens to one trial becomes its record and harms no other; what the
user has to mend (an InputError) is raised, because every other trial would end the same way.

The device's time, and the energy it took, is divided among the trials that had it: a step among those that were
seated, loading and scoring equally. So a study's trials add up to what it held the device for.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from evals.errors import ModelError
from evals.harness import score
from evals.models.scored import load_lm
from evals.models.source import local_model
from evals.offline import reading_from
from evals.result import EvalResult
from evals.spec import ModelSpec
from evals.tasks.library import TaskLibrary
from evals.together import score_adapters
from sweep.bases import Bases
from sweep.config import TrialConfig
from sweep.course import Course, forget_checkpoint
from sweep.data.prepared import PreparedData
from sweep.errors import InputError
from sweep.method_rules import quantization_of
from sweep.models import release_memory, without_loading_bars
from sweep.progress import Progress
from sweep.protocol import Floor, RunTrial
from sweep.record import DeviceUse, Sharing
from sweep.resources import ResourceWatch
from sweep.spec import MethodSpec
from sweep.store import TrialDirectory
from sweep.training.lanes.engine import LaneEnd, LaneJob, Lanes


@dataclass(slots=True)
class _Seat:
    """One trial of the wave."""

    place: int
    config: TrialConfig
    directory: TrialDirectory
    method: MethodSpec
    course: Course = field(default_factory=Course)
    began: float = field(default_factory=time.monotonic)
    steps: int = 0
    """Rounds that it was seated for."""
    company: int = 0
    """Trials that were seated in those rounds, added up."""

    def charge(self, part: str, seconds: float) -> None:
        """Add device seconds to one part of the trial's time."""
        self.course.seconds[part] = self.course.seconds.get(part, 0.0) + seconds

    @property
    def seconds(self) -> float:
        """Device seconds so far."""
        return sum(self.course.seconds.values())


class Wave:
    """Runs trials that share a base model until no seat is taken and the driver gives no more."""

    def __init__(  # noqa: PLR0913
        self,
        floor: Floor,
        *,
        seats: int,
        prepared: PreparedData,
        bases: Bases,
        device: torch.device,
        library: TaskLibrary,
    ) -> None:
        self._floor = floor
        self._seats = seats
        self._prepared = prepared
        self._bases = bases
        self._device = device
        self._library = library
        self._lanes: Lanes | None = None
        self._seated: dict[int, _Seat] = {}
        self._trained: list[_Seat] = []
        self._open: dict[int, _Seat] = {}
        """Trials without a record, by place."""
        self._places = 0
        self._recorded_joules = 0.0

    def run(self, trials: Sequence[RunTrial]) -> None:
        """Run these, and what the driver gives for seats that become free. Raises InputError alone."""
        scoring = trials[0].config.scoring
        with ResourceWatch(self._device) as watch, without_loading_bars(), reading_from(scoring.data_root):
            self._watch = watch
            try:
                self._take(trials)
                while self._seated or self._trained:
                    self._turn()
            finally:
                if self._lanes is not None:
                    self._lanes.close()
        release_memory()

    def _turn(self) -> None:
        """One step of all lanes, or the scoring of those that have been trained."""
        ended = self._step() if self._seated else 0
        # What is scored now leaves the search's next question better informed than what is asked before.
        if self._trained and (len(self._trained) >= self._seats or not self._seated):
            ended += self._score_trained()
        if ended and len(self._seated) < self._seats:
            self._take(self._floor.more(self._seats - len(self._seated)))

    def _take(self, trials: Sequence[RunTrial]) -> None:
        for trial in trials:
            if trial.config.method_spec is None:
                raise InputError("the base model is not trained, so it has no place among trials that are.")
            seat = _Seat(self._places, trial.config, TrialDirectory(trial.directory), trial.config.method_spec)
            self._open[self._places] = seat
            self._places += 1
            forget_checkpoint(seat.directory)
            seat.directory.steps.unlink(missing_ok=True)
            try:
                self._sit(seat)
            except InputError:
                raise
            except Exception as error:  # noqa: BLE001 - whatever ends a trial is its result
                self._fail(seat, error)

    def _sit(self, seat: _Seat) -> None:
        self._floor.on_progress(seat.place, Progress("load", 0, 0, None))
        began = time.monotonic()
        lanes = self._open(seat)
        deadline = seat.config.deadline_seconds
        job = LaneJob(
            method=seat.method,
            seed=seat.config.seed,
            output=seat.directory.checkpoint,
            steps_file=seat.directory.steps,
            on_rung=lambda rung, loss: self._report_rung(seat, rung, loss),
            on_progress=lambda progress: self._floor.on_progress(seat.place, progress),
            # It shares the device, so it may take as many times longer.
            deadline=None if deadline is None else time.monotonic() + deadline * self._seats,
        )
        self._seated[lanes.seat(job)] = seat
        seat.charge("load", time.monotonic() - began)

    def _open(self, seat: _Seat) -> Lanes:
        if self._lanes is None:
            model = _model(seat)
            base = self._bases.training(model, seat.method, self._device)
            dtype: torch.dtype = getattr(torch, model.dtype)
            self._lanes = Lanes(
                base, self._bases.tokenizer(model), self._prepared, dtype=dtype, device=self._device, model=model
            )
        return self._lanes

    def _report_rung(self, seat: _Seat, rung: int, loss: float) -> bool:
        seat.course.intermediate[rung] = loss
        return self._floor.on_rung(seat.place, rung, loss)

    def _step(self) -> int:
        """Give the number of trials that left their seats."""
        assert self._lanes is not None  # noqa: S101
        present, began = list(self._seated.values()), time.monotonic()
        ends = self._lanes.step()
        each = (time.monotonic() - began) / len(present)
        for seat in present:
            seat.charge("train", each)
            seat.steps += 1
            seat.company += len(present)
        for end in ends:
            self._leave(end)
        return len(ends)

    def _leave(self, end: LaneEnd) -> None:
        seat = self._seated.pop(end.lane)
        if end.outcome is None:
            self._fail(seat, end.error or RuntimeError("a lane ended without a word."))
            return
        seat.course.training = end.outcome.result
        for part in ("validate", "save"):
            spent = min(end.outcome.seconds.get(part, 0.0), seat.course.seconds["train"])
            seat.charge(part, spent)
            seat.charge("train", -spent)
        if end.outcome.pruned:
            seat.course.state = "PRUNED"
            self._finish(seat)
        else:
            self._trained.append(seat)

    def _score_trained(self) -> int:
        """Score all that have been trained, and give their number."""
        seats, self._trained = self._trained, []
        for seat in seats:
            self._floor.on_progress(seat.place, Progress("score", 0, 0, None))
        began = time.monotonic()
        self._score(seats)
        each = (time.monotonic() - began) / len(seats)
        for seat in seats:
            seat.charge("score", each)
            self._finish(seat)
        return len(seats)

    def _score(self, seats: Sequence[_Seat]) -> None:
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
        self._score(seats[:middle])
        self._score(seats[middle:])

    def _score_together(self, seats: Sequence[_Seat]) -> dict[str, EvalResult]:
        first = seats[0]
        lm = self._bases.scoring(_model(first), first.method, first.config.scoring, self._device)
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

    def _scored(self, seats: Sequence[_Seat], done: int, total: int) -> None:
        for seat in seats:
            self._floor.on_progress(seat.place, Progress("score", done, total, None))

    def _score_alone(self, seat: _Seat) -> EvalResult:
        config = seat.config
        lm = load_lm(
            _model(seat),
            cache=self._bases.cache,
            device=self._device,
            batch_size=config.scoring.batch_size,
            quantization=quantization_of(seat.method),
            adapter=seat.directory.checkpoint,
            backend=config.scoring.backend,
        )
        return score(
            lm,
            config.tasks,
            config.scoring,
            own=self._prepared.own(config.split),
            output=seat.directory.eval,
            library=self._library,
            on_progress=lambda done, total: self._scored([seat], done, total),
        )

    def _fail(self, seat: _Seat, error: BaseException) -> None:
        seat.course.fail(error, seat.directory)
        self._finish(seat)

    def _finish(self, seat: _Seat) -> None:
        course = seat.course
        if course.state == "FAIL":
            forget_checkpoint(seat.directory)
        course.memory = self._watch.peak()
        course.device = self._device_use(seat)
        course.sharing = Sharing(
            lanes=seat.company / seat.steps if seat.steps else 1.0, elapsed_seconds=time.monotonic() - seat.began
        )
        del self._open[seat.place]
        record = course.record(
            seat.config, seat.directory, data_sha256=self._prepared.sha256, seconds_total=seat.seconds
        )
        self._floor.finished(seat.place, record)

    def _device_use(self, seat: _Seat) -> DeviceUse:
        """The device, and of the energy that no record holds yet the trial's part, by its share of the seconds."""
        use = self._watch.use()
        if use.energy_joules is None:
            return use
        seconds = sum(other.seconds for other in self._open.values())
        joules = (use.energy_joules - self._recorded_joules) * (seat.seconds / seconds if seconds else 0.0)
        self._recorded_joules += joules
        return use.model_copy(update={"energy_joules": joules})


def _model(seat: _Seat) -> ModelSpec:
    return local_model(seat.config.model, seat.config.scoring.data_root)
