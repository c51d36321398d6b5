"""MLflow behind a few calls, with explicit run ids: nothing here touches MLflow's active run.

Every call may be repeated. A run is looked up by its tags before it is created, params are only ever given the same
value again, and metric points that are there already are left alone. A value that the server refuses is reported and
left out; anything else that goes wrong is raised for the caller to try again later.
"""

import fcntl
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag, ViewType
from mlflow.exceptions import MlflowException
from mlflow.store.tracking import DEFAULT_LOCAL_FILE_AND_ARTIFACT_PATH
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from sqlalchemy import make_url

from sweep.tracking.payload import Artifact, DataSet, Payload

METRICS_PER_CALL = 1_000
PARAMS_AND_TAGS_PER_CALL = 100
PARENT_TAG = "mlflow.parentRunId"
STUDY_TAG = "sweep.study_id"
TRIAL_TAG = "sweep.trial"
FINGERPRINT_TAG = "sweep.fingerprint"
# Answers that say something about the server or the caller, not about the value that was sent.
NOT_ABOUT_THE_VALUE = frozenset({401, 403, 404, 408, 409, 429, 499})

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class StudyRun:
    """The study's experiment and its parent run."""

    experiment_id: str
    run_id: str
    is_new: bool
    """The store had not heard of this study."""


@dataclass(frozen=True, slots=True)
class MlflowStore:
    """One tracking server or database."""

    client: MlflowClient
    artifact_root: Path | None
    """Where a database store keeps artifacts; a server decides for itself."""
    rejected: list[str] = field(default_factory=list)
    """Names of values that the server refused, since this was last emptied."""

    def open_study(self, name: str, study_id: str) -> StudyRun:
        """Find or create the experiment and the parent run, and mark it as running."""
        experiment_id = self._experiment(name)
        found = self._find(experiment_id, {STUDY_TAG: study_id, "sweep.phase": "study"})
        if found is not None:
            self.client.update_run(found, status="RUNNING")
            return StudyRun(experiment_id, found, is_new=False)
        tags = {STUDY_TAG: study_id, "sweep.phase": "study"}
        run = self.client.create_run(experiment_id, tags=tags, run_name=name)
        return StudyRun(experiment_id, run.info.run_id, is_new=True)

    def close_study(
        self, study: StudyRun, status: str, artifacts: Sequence[Artifact], texts: Mapping[str, str]
    ) -> None:
        """Attach the study's own files and end the parent run."""
        for name, text in texts.items():
            self._try(name, partial(self.client.log_text, study.run_id, text, name))
        self._log_artifacts(study.run_id, artifacts)
        self.client.set_terminated(study.run_id, status)

    def log_trial(self, study: StudyRun, study_id: str, key: str, fingerprint: str, payload: Payload) -> str:
        """Log one trial as a child of the study and return its run id."""
        identity = {STUDY_TAG: study_id, TRIAL_TAG: key, FINGERPRINT_TAG: fingerprint, PARENT_TAG: study.run_id}
        run_id = self._find(study.experiment_id, identity) or self._create(study, identity, payload)
        params = [Param(name, value) for name, value in payload.params.items()]
        tags = [RunTag(name, value) for name, value in payload.tags.items()]
        points = [Metric(p.key, p.value, p.timestamp_ms, p.step) for p in payload.points]
        self._log_all(params, PARAMS_AND_TAGS_PER_CALL, partial(self._batch, run_id, "params"))
        self._log_all(tags, PARAMS_AND_TAGS_PER_CALL, partial(self._batch, run_id, "tags"))
        self._log_all(points, METRICS_PER_CALL, partial(self._batch, run_id, "metrics"))
        inputs = [_dataset_input(data_set) for data_set in payload.data_sets]
        self._try("data set", partial(self.client.log_inputs, run_id, inputs))
        self._log_artifacts(run_id, payload.artifacts)
        self.client.set_terminated(run_id, payload.status, payload.end_ms)
        return run_id

    def _experiment(self, name: str) -> str:
        found = self.client.get_experiment_by_name(name)
        if found is not None and found.lifecycle_stage == "deleted":
            raise MlflowException(f"experiment {name!r} was deleted; restore it or rename the study")
        if found is not None:
            return str(found.experiment_id)
        location = None if self.artifact_root is None else (self.artifact_root / name).as_uri()
        return str(self.client.create_experiment(name, artifact_location=location))

    def _find(self, experiment_id: str, tags: Mapping[str, str]) -> str | None:
        query = " and ".join(f"tags.`{key}` = '{value}'" for key, value in tags.items())
        runs = self.client.search_runs([experiment_id], query, run_view_type=ViewType.ACTIVE_ONLY, max_results=1)
        return str(runs[0].info.run_id) if runs else None

    def _create(self, study: StudyRun, identity: Mapping[str, str], payload: Payload) -> str:
        run = self.client.create_run(
            study.experiment_id, start_time=payload.start_ms, tags=dict(identity), run_name=payload.name
        )
        return str(run.info.run_id)

    def _batch(self, run_id: str, kind: str, items: Sequence[object]) -> None:
        self.client.log_batch(run_id, **{kind: items}, synchronous=True)

    def _log_all(self, items: Sequence[T], limit: int, log: Callable[[Sequence[T]], None]) -> None:
        """Log in batches; a batch that is refused is sent again one by one, so that one bad value costs only itself."""
        for start in range(0, len(items), limit):
            batch = items[start : start + limit]
            try:
                log(batch)
            except MlflowException as error:
                if not _is_about_the_value(error):
                    raise
                for item in batch:
                    self._try(getattr(item, "key", "value"), partial(log, [item]))

    def _log_artifacts(self, run_id: str, artifacts: Sequence[Artifact]) -> None:
        for artifact in artifacts:
            upload = partial(self.client.log_artifact, run_id, str(artifact.path), artifact.folder)
            self._try(artifact.path.name, upload)

    def _try(self, name: str, log: Callable[[], None]) -> None:
        try:
            log()
        except MlflowException as error:
            if not _is_about_the_value(error):
                raise
            self.rejected.append(name)


def connect(uri: str, *, artifact_root: Path | None) -> MlflowStore:
    """Connect to a tracking server or database; nothing is sent yet. A database in a file is made where it is not."""
    file = make_url(uri).database if uri.startswith("sqlite:") else None
    if file and not Path(file).exists():
        make_database(Path(file))
    return MlflowStore(MlflowClient(tracking_uri=uri), artifact_root)


def make_database(path: Path) -> None:
    """Make an empty MLflow database under another name, then give it its own: no kill leaves half of one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f"{path.name}.new")
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        # Two studies beside each other may both be the first; the lock ends with its process.
        fcntl.flock(directory, fcntl.LOCK_EX)
        if path.exists():
            return
        for half_made in path.parent.glob(f"{new.name}*"):
            half_made.unlink()
        store = SqlAlchemyStore(f"sqlite:///{new}", DEFAULT_LOCAL_FILE_AND_ARTIFACT_PATH)
        store.engine.dispose()
        new.rename(path)
    finally:
        os.close(directory)


def _is_about_the_value(error: MlflowException) -> bool:
    status = error.get_http_status_code()
    return 400 <= status < 500 and status not in NOT_ABOUT_THE_VALUE  # noqa: PLR2004  (HTTP's client errors)


def _dataset_input(data_set: DataSet) -> DatasetInput:
    source = json.dumps({"uri": data_set.source})
    entity = Dataset(name=data_set.name, digest=data_set.digest, source_type="local", source=source)
    return DatasetInput(entity, tags=[InputTag("mlflow.data.context", data_set.split)])
