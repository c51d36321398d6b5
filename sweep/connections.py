"""The databases and servers that a study names, with their variables filled in: known to this process only."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from sweep.addresses import fill_in, is_server_database, masked
from sweep.database import check_database
from sweep.errors import InputError
from sweep.spec import StudySpec

STORAGE, TRACKING = "storage", "tracking.tracking_uri"


@dataclass(frozen=True, slots=True)
class Connections:
    """Addresses as they are connected to. They hold passwords and are never written anywhere."""

    storage: str | None = field(repr=False)
    """Optuna's storage; none for the run directory's own file."""
    tracking: str | None = field(repr=False)
    """MLflow's server or store; none for the file beside the runs, or without MLflow."""


def connections(spec: StudySpec, environment: Mapping[str, str]) -> Connections:
    """Fill the variables of a study's addresses in. Raises InputError where one is not set."""
    tracking = spec.tracking.tracking_uri if spec.tracking.mlflow else None
    return Connections(
        spec.storage and fill_in(spec.storage, environment, key=STORAGE),
        tracking and fill_in(tracking, environment, key=TRACKING),
    )


def reach(spec: StudySpec) -> list[str]:
    """What a study runs and whom it tells beyond this machine, a sentence each: what to read in a stranger's study."""
    said = [] if spec.data.grader is None else [f"Runs {spec.data.grader} on this machine, as you."]
    if spec.model.trust_remote_code:
        said.append(f"Runs the code of {spec.model.model_name_or_path} at {spec.model.revision}.")
    if spec.evaluation.scoring.allow_unsafe_code:
        said.append("Runs programs that models write unprotected where there is no sandbox.")
    judge = spec.evaluation.scoring.judge
    if judge is not None:
        key = "" if judge.api_key_env is None else f" and gives it ${{{judge.api_key_env}}}"
        said.append(f"Sends answers to {judge.base_url}{key}.")
    tracking = spec.tracking.tracking_uri if spec.tracking.mlflow else None
    said += [f"Writes to {masked(address)}." for address in (spec.storage, tracking) if address]
    return said


def connection_problems(spec: StudySpec, environment: Mapping[str, str], *, ask_tracking: bool) -> list[str]:
    """Complaints about a study's addresses, one line each, without any password.

    Optuna's database has to answer. MLflow's is only asked where a person wants to know: a study does without it.
    """
    tracking = spec.tracking.tracking_uri if spec.tracking.mlflow else None
    problems: list[str] = []
    for key, written, connect in ((STORAGE, spec.storage, True), (TRACKING, tracking, ask_tracking)):
        try:
            address = written and fill_in(written, environment, key=key)
            if address and (key == STORAGE or is_server_database(address)):
                check_database(address, key=key, connect=connect)
        except InputError as error:
            problems.append(str(error))
    return problems
