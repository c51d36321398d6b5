"""Run directories to report on, and the means to change them."""

from collections.abc import Callable

import pytest
from reported_files import put
from reported_run import build_run, toy_study, trial_record

from sweep.record import TrialRecord
from sweep.spec import StudySpec
from sweep.store import RunDirectory

RunBuilder = Callable[..., RunDirectory]


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """A study that ran to its end; tests read it and do not change it."""
    return build_run(tmp_path_factory.mktemp("finished"))


@pytest.fixture(scope="session")
def build() -> RunBuilder:
    """Make a run directory of one's own: `build(tmp_path, spec, search=True, confirm=False)`."""
    return build_run


@pytest.fixture(scope="session")
def study() -> Callable[..., StudySpec]:
    """Make a toy study: `study(("lora",), trials=2, seeds=1)`."""
    return toy_study


@pytest.fixture(scope="session")
def trial() -> Callable[..., TrialRecord]:
    """Make a trial's record: `trial(spec, "lora", 3, {"training.learning_rate": 1e-4}, 0.4, state="PRUNED")`."""
    return trial_record


@pytest.fixture(scope="session")
def write() -> Callable[[RunDirectory, TrialRecord], None]:
    """Write a trial's files as a study does: `write(run, record)`."""
    return put
