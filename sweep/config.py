"""Fill a study's spec with one trial's params.

The result stands alone: running a TrialConfig again needs neither Optuna nor the study. Two configs with one
fingerprint are the same work, whichever study or trial number they belong to.
"""

import hashlib
import json
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from evals.spec import ModelSpec, ScoringSpec, Spec, TaskSpec
from sweep.errors import InputError
from sweep.rungs import horizon
from sweep.selection import tasks_of
from sweep.spec import DataSpec, EvaluationSpec, MethodSpec, Params, StudySpec

ConfigPhase = Literal["baseline", "search", "confirm"]
Split = Literal["validation", "test"]


class TrialConfig(Spec):
    """One trial, complete. `method` is None for the base model, which is scored and not trained."""

    study: str
    """Name of the study."""
    phase: ConfigPhase
    """Phase that the trial belongs to."""
    method: str | None
    """Name of the method under comparison."""
    number: int = Field(ge=0)
    """Number within its method and phase: Optuna's in the search, the seed's place in confirm."""
    seed: int = Field(ge=0)
    """Seed of the adapter's start, the data order and dropout."""
    params: Params = {}
    """What the sampler chose, by dotted name; already filled in below."""
    model: ModelSpec
    """The base model."""
    data: DataSpec
    """The user's data."""
    data_root: Path
    """Directory that relative data paths start from."""
    method_spec: MethodSpec | None
    """The method with this trial's params filled in."""
    max_length: int
    """Longest row in tokens when rows are tokenized, the same for the base model and all trials."""
    split_seed: int | None = Field(None, ge=0)
    """Seed that the rows were divided with, the same for all trials of a study; none in records of older versions."""
    split: Split
    """Part of the user's data that the trial is scored on."""
    tasks: tuple[TaskSpec, ...]
    """What is scored."""
    scoring: ScoringSpec
    """How it is scored."""
    repeat: int = Field(1, ge=1)
    """Times that it is scored; more than once shows how much scores move by themselves."""
    deadline_seconds: float | None = None
    """Wall time after which the trial is ended."""

    @model_validator(mode="after")
    def _only_confirm_sees_test_data(self) -> Self:
        if self.phase != "confirm" and self.split == "test":
            raise ValueError(f"a trial of the {self.phase} phase cannot be scored on the test split")
        for task in self.tasks:
            if task.portion is not None and (task.portion.part == "confirm") != (self.phase == "confirm"):
                raise ValueError(f"{task.task}: a trial of the {self.phase} phase cannot have these items")
        return self

    def fingerprint(self) -> str:
        """SHA-256 of everything that decides the result: not names, numbers or where the data lie."""
        names_and_places = {"study", "phase", "method", "number", "params", "data_root", "deadline_seconds"}
        decides = self.model_dump(
            mode="json", exclude={**dict.fromkeys(names_and_places, True), "scoring": {"data_root", "general_text"}}
        )
        # Configs of older versions did not have these, and are the same work where they say nothing.
        if self.method_spec is not None and self.method_spec.training.horizon is None:
            del decides["method_spec"]["training"]["horizon"]
        if self.method_spec is not None and self.method_spec.training.num_processes == 1:
            del decides["method_spec"]["training"]["num_processes"]
        return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()


def configure(  # noqa: PLR0913
    spec: StudySpec,
    method: str,
    params: Params,
    *,
    phase: Literal["search", "confirm"],
    number: int,
    seed: int,
    data_root: Path,
) -> TrialConfig:
    """Fill the method's part of the spec with params. Raises pydantic's ValidationError where they do not fit."""
    method_spec = fill_method(spec, method, params)
    minutes = spec.budget.trial_minutes
    return TrialConfig(
        study=spec.name,
        phase=phase,
        method=method,
        number=number,
        seed=seed,
        params=params,
        model=spec.model,
        data=spec.data,
        data_root=data_root,
        method_spec=method_spec,
        max_length=method_spec.training.max_length,
        split_seed=spec.seed,
        split="validation" if phase == "search" else "test",
        tasks=tasks_of(spec.evaluation, "search" if phase == "search" else "confirm"),
        scoring=_located(spec.evaluation, data_root),
        deadline_seconds=None if minutes is None else minutes * 60,
    )


def configure_baseline(spec: StudySpec, *, phase: Literal["baseline", "confirm"], data_root: Path) -> TrialConfig:
    """Describe the base model as a trial without a method: on validation before the search, on test in confirm."""
    return TrialConfig(
        study=spec.name,
        phase=phase,
        method=None,
        number=0,
        seed=spec.seed,
        model=spec.model,
        data=spec.data,
        data_root=data_root,
        method_spec=None,
        max_length=spec.training.max_length,
        split_seed=spec.seed,
        split="validation" if phase == "baseline" else "test",
        tasks=tasks_of(spec.evaluation, "search" if phase == "baseline" else "confirm"),
        scoring=_located(spec.evaluation, data_root),
        repeat=2 if spec.evaluation.noise_floor else 1,
    )


def _located(evaluation: EvaluationSpec, root: Path) -> ScoringSpec:
    """Let relative paths start where the study's data files do."""
    scoring = evaluation.scoring
    located: dict[str, object] = {}
    if isinstance(evaluation.general_text, str):
        located["general_text"] = root / evaluation.general_text
    if scoring.data_root is not None:
        located["data_root"] = root / scoring.data_root
    if scoring.judge is not None and scoring.judge.against is not None:
        located["judge"] = scoring.judge.model_copy(update={"against": root / scoring.judge.against})
    return scoring.model_copy(update=located)


def admit_code(config: TrialConfig, place: Path, *, trusted: bool) -> None:
    """Raise InputError where a recorded trial runs its model's own code, unless the user trusts that.

    A study file is the user's, or was read; a run directory may be anybody's.
    """
    model = config.model
    if model.trust_remote_code and not trusted:
        raise InputError(
            f"{place}: the code of {model.model_name_or_path} at {model.revision} would run here. Read it, and what "
            "lies in the trial's directory, then say --trust-remote-code."
        )


def fill_method(spec: StudySpec, method: str, params: Params) -> MethodSpec:
    """A method of the study with params filled in, and the horizon that all its trials share."""
    filled = fill(spec.methods[method], method, params)
    shared = horizon(spec, method)
    return filled.model_copy(update={"training": filled.training.model_copy(update={"horizon": shared})})


def fill(method_spec: MethodSpec, method: str, params: Params) -> MethodSpec:
    """Put params over a method's settings. A key is `training.X` for all methods or `methods.NAME.…` for one."""
    filled = method_spec.model_dump()
    own_prefix = f"methods.{method}."
    for name, value in params.items():
        target = filled
        *parents, key = name.removeprefix(own_prefix).split(".")
        for parent in parents:
            target = target[parent]
        target[key] = value
    return MethodSpec.model_validate(filled)
