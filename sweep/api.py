"""Studies from Python: what the commands do, as functions.

    from pathlib import Path
    from sweep import api

    spec = api.load_study(Path("tickets.yaml"))
    run = api.run_study(spec, data_root=Path("."), runs=Path("runs"), cache=Path("~/.cache/finetune-sweep").expanduser())
    api.read_run(run.path).trials        # a pandas table, one row a trial
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from evals.result import EvalResult
from evals.spec import ModelSpec, OwnDataSpec, QuantizationSpec, ScoringSpec, TaskSpec
from sweep.config import TrialConfig
from sweep.errors import RunDirectoryError
from sweep.spec import StudySpec
from sweep.store import RunDirectory, TrialDirectory, read_config
from sweep.study import Event, run_phases
from sweep.study_file import load as load_study

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = ["Run", "build_report", "load_study", "read_run", "run_study", "score_model", "score_trial"]
