"""What each trial of a study is started with where memory ran out, in itself or in one that asks for no more.

Where it ran out is in that trial's directory before it is started again, so a study that goes on knows what it had
learned.
"""

from pathlib import Path

from sweep.config import TrialConfig
from sweep.easing import Eased, Easing, learned, lower, next_rung
from sweep.record import TrialRecord
from sweep.store import RunDirectory, TrialDirectory, write_eased
from sweep.study.running import RunningTrial

IN_SCORING = (
    "It had been trained and was being scored, which no smaller micro-batch makes cheaper; "
    "evaluation.scoring.batch_size is the same for all models of a study."
)


class Easings:
    """Starts trials with less where more has been found not to fit."""

    def __init__(self, run: RunDirectory) -> None:
        self._run = run
        self._eased: dict[Path, Eased] = {run.directory_of(one.config).path: one for one in run.eased_trials()}

    def of(self, config: TrialConfig) -> Easing | None:
        """What a trial is started with; none for as its config says."""
        place = self._run.directory_of(config).path
        others = [one for path, one in self._eased.items() if path != place]
        own = self._eased.get(place)
        return lower(None if own is None else own.easing, learned(config, others))

    def hand_out(self, config: TrialConfig, directory: TrialDirectory) -> Easing | None:
        """The same, for a trial that takes a directory, which may have been another one's until now."""
        own = self._eased.get(directory.path)
        if own is not None and own.config.fingerprint() != config.fingerprint():
            # More budget has chosen another finalist.
            directory.easing.unlink(missing_ok=True)
            del self._eased[directory.path]
        return self.of(config)

    def lower(self, trial: RunningTrial, failed: TrialRecord, *, is_whole_worker: bool) -> Easing | None:
        """Send a trial that ran out of memory one rung down. None where there is none further down."""
        method = trial.config.method_spec
        if method is None or failed.failure is None or (trial.is_scored and trial.together == 1):
            return None
        lowered = next_rung(method, trial.easing, together=trial.together, is_whole_worker=is_whole_worker)
        if lowered is None:
            return None
        # A worker that ends takes all its trials with it, and each has had its part of the time.
        seconds = failed.seconds_total / (trial.together if is_whole_worker else 1)
        history = {
            "why": (*lowered.why, failed.failure.message),
            "lost_seconds": lowered.lost_seconds + seconds,
        }
        eased = Eased(config=trial.config, easing=lowered.model_copy(update=history))
        write_eased(trial.directory, eased)
        self._eased[trial.directory.path] = eased
        return eased.easing


def explained(trial: RunningTrial, failed: TrialRecord) -> TrialRecord:
    """The record of a trial that memory ran out in for good, with why nothing else is tried."""
    if failed.failure is None or trial.config.method_spec is None or not trial.is_scored:
        return failed
    message = f"{failed.failure.message} {IN_SCORING}"
    return failed.model_copy(update={"failure": failed.failure.model_copy(update={"message": message})})
