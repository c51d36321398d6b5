"""Trials that share a base model: trained in lanes, and scored together as they finish.

A seat that becomes free is offered to the driver at once. Finished trials wait until a whole set of them can be scored
in one pass, or nothing is left to train. What happens to one trial becomes its record and harms no other; what the
user has to mend (an InputError) is raised, because every other trial would end the same way.

The device's time, and the energy it took, is divided among the trials that had it: a step among those that were
seated, loading and scoring equally. So a study's trials add up to what it held the device for.
"""

import time
from collections.abc import Sequence
from functools import partial

import torch

from evals.offline import reading_from
from evals.tasks.library import TaskLibrary
from sweep.continuing import IN_A_LANE, Saving, open_keeper, start_over
from sweep.course import forget_checkpoint
from sweep.data.prepared import PreparedData
from sweep.errors import InputError
from sweep.models import release_memory, without_loading_bars
from sweep.progress import Progress
from sweep.protocol import Floor, RunTrial
from sweep.record import DeviceUse, Sharing
from sweep.resources import ResourceWatch
from sweep.roofline import product_of
from sweep.stopping import Stop
from sweep.store import TrialDirectory
from sweep.together.bases import Bases
from sweep.together.scoring import WaveScoring
from sweep.together.seat import Seat, base_model
from sweep.training.lanes.ends import LaneEnd
from sweep.training.lanes.engine import Lanes
from sweep.training.lanes.fitness import LanesUnfitError
from sweep.training.lanes.lane import LaneJob
from sweep.training.state.file import StateUnusableError
from sweep.training.state.keeper import StateKeeper


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
        data_seconds: float = 0.0,
        stop: Stop | None = None,
    ) -> None:
        """`data_seconds` is what it took to find the rows; the first trials bear it.

        `stop` asks the trials to save what they have been trained to, and to end.
        """
        self._floor = floor
        self._stop = stop or Stop()
        self._seats = seats
        self._prepared = prepared
        self._data_seconds = data_seconds
        self._bases = bases
        self._device = device
        self._scoring = WaveScoring(bases, prepared, library, device, self._note_scoring)
        self._lanes: Lanes | None = None
        self._seated: dict[int, Seat] = {}
        self._trained: list[Seat] = []
        self._unrecorded: dict[int, Seat] = {}
        """Trials without a record, by place."""
        self._places = 0
        self._recorded_joules = 0.0
        self._waited = 0.0

    def run(self, trials: Sequence[RunTrial]) -> None:
        """Run these, and what the driver gives for seats that become free.

        Raises InputError, LanesUnfitError before anything was trained where the base model does not suit lanes, and
        KeyboardInterrupt where it was asked to stop.
        """
        scoring = trials[0].config.scoring
        self._product = product_of(trials[0].config.model.dtype, self._device)
        with ResourceWatch(self._device) as watch, without_loading_bars(), reading_from(scoring.data_root):
            self._watch = watch
            try:
                with self._stop.listening():
                    self._take(trials, data_seconds=self._data_seconds / len(trials))
                    while self._seated or self._trained:
                        self._turn()
            except KeyboardInterrupt:
                if self._lanes is not None:
                    self._lanes.save()
                raise
            finally:
                if self._lanes is not None:
                    self._lanes.close()
        release_memory()

    def _turn(self) -> None:
        """One step of all lanes, or the scoring of those that have been trained."""
        self._heed_stop()
        ended = self._step() if self._seated else 0
        # What is scored now leaves the search's next question better informed than what is asked before.
        if self._trained and (len(self._trained) >= self._seats or not self._seated):
            ended += self._score_trained()
        if ended and len(self._seated) < self._seats:
            self._take(self._floor.more(self._seats - len(self._seated)))

    def _heed_stop(self) -> None:
        if self._stop.is_asked:
            raise KeyboardInterrupt

    def _note_scoring(self, place: int, progress: Progress) -> None:
        self._heed_stop()
        self._floor.on_progress(place, progress)

    def _take(self, trials: Sequence[RunTrial], *, data_seconds: float = 0.0) -> None:
        for trial in trials:
            seat = Seat(self._places, trial.config, TrialDirectory(trial.directory))
            self._unrecorded[self._places] = seat
            self._places += 1
            seat.keeper = self._keeper(seat, trial.save_seconds)
            try:
                is_trained = seat.go_on(partial(self._floor.on_progress, seat.place))
                if data_seconds:
                    seat.charge("data", data_seconds)
                    seat.began -= self._data_seconds
                if is_trained:
                    self._trained.append(seat)
                else:
                    self._sit_or_start_over(seat)
            except (InputError, LanesUnfitError):
                raise
            except Exception as error:  # noqa: BLE001 - whatever ends a trial is its result
                self._fail(seat, error)

    def _keeper(self, seat: Seat, seconds: float | None) -> StateKeeper | None:
        if seconds is None:
            return None
        return open_keeper(
            seat.config,
            seat.method.training,
            seat.directory,
            data_sha256=self._prepared.sha256,
            device=self._device,
            way=IN_A_LANE,
            saving=Saving(seconds, self._stop),
            account=lambda: seat.account(self._watch.peak(), self._device_use(seat)),
            on_progress=partial(self._floor.on_progress, seat.place),
        )

    def _sit_or_start_over(self, seat: Seat) -> None:
        try:
            self._sit(seat)
        except StateUnusableError as error:
            assert seat.keeper is not None  # noqa: S101
            seat.keeper.discard(error)
            start_over(seat.course, seat.directory)
            self._sit(seat)

    def _sit(self, seat: Seat) -> None:
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
            on_loss=lambda rung, loss: self._floor.on_loss(seat.place, rung, loss),
            on_progress=lambda progress: self._floor.on_progress(seat.place, progress),
            # It shares the device, so it may take as many times longer.
            deadline=None if deadline is None else began + deadline * self._seats - seat.course.earlier_elapsed_seconds,
            keeper=seat.keeper,
        )
        self._seated[lanes.seat(job)] = seat
        seat.charge("load", time.monotonic() - began)

    def _open(self, seat: Seat) -> Lanes:
        if self._lanes is None:
            model = base_model(seat.config)
            base = self._bases.training(model, seat.method, self._device)
            self._lanes = Lanes(base, self._bases.tokenizer(model), self._prepared, model=model, device=self._device)
        return self._lanes

    def _report_rung(self, seat: Seat, rung: int, loss: float) -> bool:
        seat.course.intermediate[rung] = loss
        began = time.monotonic()
        prune = self._floor.on_rung(seat.place, rung, loss)
        waited = time.monotonic() - began
        seat.charge("wait", waited)
        self._waited += waited
        if self._lanes is not None:
            self._lanes.excuse(waited)
        return prune

    def _step(self) -> int:
        """Give the number of trials that left their seats."""
        assert self._lanes is not None  # noqa: S101
        present, began, self._waited = list(self._seated.values()), time.monotonic(), 0.0
        ends = self._lanes.step()
        each = (time.monotonic() - began - self._waited) / len(present)
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
            if seat.keeper is not None:
                seat.keeper.finish(end.outcome, seat.directory.checkpoint, seat.directory.steps)
            self._trained.append(seat)

    def _score_trained(self) -> int:
        """Score all that have been trained, and give their number."""
        seats, self._trained = self._trained, []
        for seat in seats:
            self._floor.on_progress(seat.place, Progress("score", 0, 0, None))
        began = time.monotonic()
        # A trained trial must not fail for what training has freed and still holds.
        release_memory()
        self._scoring.score(seats)
        each = (time.monotonic() - began) / len(seats)
        for seat in seats:
            seat.charge("score", each)
            self._finish(seat)
        return len(seats)

    def _fail(self, seat: Seat, error: BaseException) -> None:
        seat.course.fail(error, seat.directory)
        self._finish(seat)

    def _finish(self, seat: Seat) -> None:
        course = seat.course
        if course.state == "FAIL":
            forget_checkpoint(seat.directory)
        use = self._device_use(seat)
        self._recorded_joules += use.energy_joules or 0.0
        course.measure(self._watch.peak(), use)
        course.sharing = Sharing(
            lanes=seat.company / seat.steps if seat.steps else 1.0,
            elapsed_seconds=course.earlier_elapsed_seconds + seat.elapsed_seconds,
        )
        del self._unrecorded[seat.place]
        record = course.record(
            seat.config, seat.directory, data_sha256=self._prepared.sha256, seconds_total=seat.seconds
        )
        self._floor.finished(seat.place, record)

    def _device_use(self, seat: Seat) -> DeviceUse:
        """The device, and of the energy that no record holds yet the trial's part, by its share of the seconds."""
        use = self._watch.use().model_copy(update={"matrix_product": self._product})
        if use.energy_joules is None:
            return use
        seconds = sum(other.seconds for other in self._unrecorded.values())
        joules = (use.energy_joules - self._recorded_joules) * (seat.seconds / seconds if seconds else 0.0)
        return use.model_copy(update={"energy_joules": joules})
