"""Whether a trial whose end says little about it is started again: by how often that has happened to it."""

from pathlib import Path

from sweep.store import TrialDirectory
from sweep.study.running import RunningTrial, saved_at

INTERRUPTIONS = 3
"""Times a trial is started again after its worker was interrupted or lost, before that counts as its end."""
FUTILE_DEATHS = 2
"""Deaths of a worker in a row, without a training state saved between them, that are the trial's own doing."""


class Chances:
    """What has happened to the trials of one study, for as long as its driver runs."""

    def __init__(self) -> None:
        self._interruptions: dict[Path, int] = {}
        self._futile: dict[Path, int] = {}
        self._saved_at: dict[Path, int | None] = {}
        self._bereaved: set[Path] = set()

    def begin(self, directory: TrialDirectory) -> None:
        """A trial is handed out."""
        self._saved_at[directory.path] = saved_at(directory)

    def interrupt(self, directory: TrialDirectory) -> bool:
        """A trial was interrupted, or its worker lost; gives whether it is started again."""
        path = directory.path
        self._interruptions[path] = self._interruptions.get(path, 0) + 1
        return self._interruptions[path] < INTERRUPTIONS

    def bury(self, trial: RunningTrial) -> bool:
        """A trial's worker died; gives whether that need not come again: the first in a row since a state was saved."""
        path, found = trial.directory.path, saved_at(trial.directory)
        got_further = found is not None and found != self._saved_at[path]
        self._futile[path] = 0 if got_further else self._futile.get(path, 0) + 1
        return self._futile[path] < FUTILE_DEATHS

    def bereave(self, directory: TrialDirectory) -> None:
        """A trial's worker died while others ran beside it."""
        self._bereaved.add(directory.path)

    def runs_alone(self, directory: TrialDirectory) -> bool:
        """Whether a trial is tried once more by itself: then it is known whose fault a death was."""
        return directory.path in self._bereaved
