"""What a study that has ended holds, without what a clock or a path told, and how two of them differ."""

import json
import math
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import Any

from sweep.record import TrialRecord
from sweep.store import RunDirectory

CLOCK = re.compile(
    r"second|hour|time|date|_at\b|joule|watt|energy|memory|bytes|flops|speed|cost|price|resumed|company|sharing|elapsed"
    r"|environment|path|data_root|^run$|hash|version|created|deadline"
)
"""Names of what a second run of the same study would have otherwise."""
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d[-:]\d\d[-:]\d\d(\.\d+)?")
NUMBER = re.compile(r"\d+(\.\d+)?")
OF_LANES = frozenset({"final_sha256", "initial_sha256", "nondeterminism", "optim", "positions"})
"""What a trial has otherwise that was started again by itself, after its worker died among others: how it was read."""

Contents = dict[str, Any]


def contents(run: RunDirectory, *, tolerance: float = 0.0) -> Contents:
    """Trials, Optuna's studies, the report's numbers and MLflow's runs. With a tolerance, no checksums of weights."""
    records = {str(p.parent.relative_to(run.path)): p for p in sorted(run.path.glob("**/record.json"))}
    left_out = OF_LANES if tolerance else frozenset()
    found: Contents = {
        "trials": {name: _record(TrialRecord.model_validate_json(path.read_bytes())) for name, path in records.items()},
        "optuna": _optuna(run),
        "report": json.loads((run.report / "report.json").read_text()) if run.report.exists() else None,
        "mlflow": _mlflow(run),
    }
    return dict(_without(found, left_out))


def differences(one: object, other: object, *, tolerance: float = 0.0, place: str = "") -> Iterator[str]:
    """Where two contents differ, each in a line."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted(one.keys() | other.keys()):
            if key in one and key in other:
                yield from differences(one[key], other[key], tolerance=tolerance, place=f"{place}/{key}")
            else:
                yield f"{place}/{key} is only in the {'first' if key in one else 'second'}"
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for number, (mine, theirs) in enumerate(zip(one, other, strict=True)):
            yield from differences(mine, theirs, tolerance=tolerance, place=f"{place}/{number}")
    elif not _same(one, other, tolerance):
        yield f"{place}: {one!r} and {other!r}"


def running(run: RunDirectory) -> int:
    """Trials that Optuna has as RUNNING."""
    return sum(trial["state"] == "RUNNING" for trials in _optuna(run).values() for trial in trials.values())


def _same(one: object, other: object, tolerance: float) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        is_none = math.isnan(one) and math.isnan(other)
        return is_none or math.isclose(one, other, rel_tol=tolerance, abs_tol=tolerance)
    if isinstance(one, str) and isinstance(other, str) and tolerance:
        # A number that is rounded for a sentence says no more than the number itself, which is compared too.
        return NUMBER.sub("0", one) == NUMBER.sub("0", other)
    return one == other


def _without(value: object, left_out: frozenset[str]) -> Any:
    if isinstance(value, dict):
        return {k: _without(v, left_out) for k, v in value.items() if k not in left_out and not CLOCK.search(str(k))}
    if isinstance(value, str):
        # lm-evaluation-harness names its files by the moment.
        return MOMENT.sub("then", value)
    return [_without(item, left_out) for item in value] if isinstance(value, list | tuple) else value


def _record(record: TrialRecord) -> Contents:
    plain = record.model_dump(mode="json")
    config = plain["config"]
    names = ("state", "failure", "objective", "intermediate", "tokens", "training", "reused_from", "data_sha256")
    scores = {} if record.evaluation is None else {n: m.value for n, m in record.evaluation.metrics.items()}
    asked = {name: config[name] for name in ("phase", "method", "number", "seed", "params", "split")}
    return {**{name: plain[name] for name in names}, **asked, "scores": scores}


def _rows(database: str, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(database)) as opened:
        return opened.execute(query).fetchall()


def _optuna(run: RunDirectory) -> Contents:
    if not run.optuna_db.exists():
        return {}
    place = str(run.optuna_db)
    trials: Contents = {}
    by_id: dict[int, Contents] = {}
    query = "SELECT t.trial_id, s.study_name, t.number, t.state FROM trials t JOIN studies s ON s.study_id = t.study_id"
    for trial_id, study, number, state in _rows(place, query):
        by_id[trial_id] = {"state": state, "params": {}, "values": [], "losses": {}}
        trials.setdefault(study, {})[number] = by_id[trial_id]
    for trial_id, name, value in _rows(place, "SELECT trial_id, param_name, param_value FROM trial_params"):
        by_id[trial_id]["params"][name] = value
    for trial_id, value in _rows(place, "SELECT trial_id, value FROM trial_values"):
        by_id[trial_id]["values"].append(value)
    for trial_id, step, value in _rows(
        place, "SELECT trial_id, step, intermediate_value FROM trial_intermediate_values"
    ):
        by_id[trial_id]["losses"][step] = value
    return trials


def _mlflow(run: RunDirectory) -> Contents:
    database = run.path.parent / "mlflow.db"
    if not database.exists():
        return {}
    place = str(database)
    runs = _rows(place, "SELECT run_uuid, name, status FROM runs WHERE lifecycle_stage = 'active'")
    found: Contents = {}
    for run_id, name, status in sorted(runs, key=lambda row: (row[1], row[0])):
        same = sum(other.split(" #")[0] == name for other in found)
        of_run = f"WHERE run_uuid = '{run_id}'"
        found[f"{name} #{same}" if same else name] = {
            "status": status,
            "params": dict(_rows(place, f"SELECT key, value FROM params {of_run}")),  # noqa: S608
            "tags": {
                key: value
                for key, value in _rows(place, f"SELECT key, value FROM tags {of_run}")  # noqa: S608
                if key.startswith("sweep.") and key not in {"sweep.study_id", "sweep.fingerprint"}
            },
            "metrics": {
                f"{key} {step}": value
                for key, step, value in _rows(place, f"SELECT key, step, value FROM metrics {of_run}")  # noqa: S608
            },
        }
    return found
