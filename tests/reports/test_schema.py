"""Every report.json follows the schema that lies in the package, and what does not is refused."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evals.tasks.json_schema import complaints, conforms
from reports import combined, render
from reports.schema import MODELS, SCHEMAS, file_name, schema_of, to_text
from sweep.record import DeviceUse, Sharing
from sweep.spec import StudySpec
from sweep.store import RunDirectory, write_record

Builder = Callable[..., RunDirectory]
Studies = Callable[..., StudySpec]


def read(path: Path) -> Any:
    return json.loads(path.read_text("utf-8"))


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    found: dict[str, Any] = read(SCHEMAS / "report-1.json")
    return found


@pytest.mark.parametrize("name", list(MODELS))
def test_the_files_are_what_the_types_say(name: str) -> None:
    text = (SCHEMAS / file_name(name)).read_text("utf-8")

    assert text == to_text(schema_of(name)), "run reports.schema.write_schemas()"
    assert complaints(json.loads(text)) == []


def test_there_is_no_other_file() -> None:
    assert sorted(path.name for path in SCHEMAS.iterdir()) == sorted(map(file_name, MODELS))


def test_the_version_stands_in_the_report_and_in_the_schema(finished_run: RunDirectory, schema: dict[str, Any]) -> None:
    report = read(render.build(finished_run).with_name("report.json"))

    assert schema["$id"] == f"report-{report['schema_version']}.json"
    assert schema["properties"]["schema_version"]["const"] == report["schema_version"]


def finished(root: Path, build: Builder, study: Studies) -> RunDirectory:
    del study
    return build(root)


def searched(root: Path, build: Builder, study: Studies) -> RunDirectory:
    del study
    return build(root, confirm=False)


def begun(root: Path, build: Builder, study: Studies) -> RunDirectory:
    return build(root, study(("lora",)), search=False, confirm=False)


def nothing(root: Path, build: Builder, study: Studies) -> RunDirectory:
    run = build(root, study(("full",)), search=False, confirm=False)
    shutil.rmtree(run.baseline.path)
    return run


def one_seed(root: Path, build: Builder, study: Studies) -> RunDirectory:
    return build(root, study(("lora", "full"), seeds=1))


def damaged(root: Path, build: Builder, study: Studies) -> RunDirectory:
    """Records and answers are missing, one score is no number, and energy is told of one trial."""
    run = build(root, study())
    run.search_trial("lora", 1).record.unlink()
    shutil.rmtree(run.confirm_trial("qlora", 2).eval)
    record = run.confirm_trial("full", 1).read_record()
    assert record is not None
    assert record.evaluation is not None
    assert record.training is not None
    loss = record.evaluation.metrics["own/loss"].model_copy(update={"value": float("nan"), "stderr": float("inf")})
    evaluation = record.evaluation.model_copy(update={"metrics": {**record.evaluation.metrics, "own/loss": loss}})
    changes = {
        "evaluation": evaluation,
        "training": record.training.model_copy(update={"train_loss": float("inf")}),
        "device": DeviceUse(kind="cuda", name="Toy GPU", energy_joules=9.0, energy_source="nvml"),
        "sharing": Sharing(lanes=2.5, elapsed_seconds=900.0),
    }
    write_record(run.confirm_trial("full", 1), record.model_copy(update=changes))
    return run


@pytest.mark.parametrize("made", [finished, searched, begun, nothing, one_seed, damaged])
def test_every_report_follows_it(
    made: Callable[..., RunDirectory], tmp_path: Path, build: Builder, study: Studies, schema: dict[str, Any]
) -> None:
    report = read(render.build(made(tmp_path, build, study)).with_name("report.json"))

    assert conforms(report, schema)
    # What it names, and all of it: nothing is written that the schema does not know.
    assert unknown(report, schema, schema) == []


def unknown(value: Any, part: dict[str, Any], root: dict[str, Any], place: str = "") -> list[str]:
    """Fields that the schema does not name."""
    if "$ref" in part:
        return unknown(value, root["$defs"][part["$ref"].removeprefix("#/$defs/")], root, place)
    if "anyOf" in part:
        fitting = [choice for choice in part["anyOf"] if conforms(value, choice, root)]
        return min((unknown(value, choice, root, place) for choice in fitting), key=len)
    if isinstance(value, list):
        return [one for member in value for one in unknown(member, part.get("items", {}), root, f"{place}/*")]
    if not isinstance(value, dict) or "properties" not in part:
        return []
    found = [f"{place}/{name}" for name in value if name not in part["properties"]]
    known = [(name, member) for name, member in value.items() if name in part["properties"]]
    return found + [
        one for name, member in known for one in unknown(member, part["properties"][name], root, f"{place}/{name}")
    ]


def test_several_runs_follow_theirs(finished_run: RunDirectory, tmp_path: Path, build: Builder) -> None:
    other = build(tmp_path, confirm=False)

    report = read(combined.build([finished_run, other], tmp_path / "both").with_name("report.json"))

    assert conforms(report, read(SCHEMAS / "combined-1.json"))


def spoil(report: dict[str, Any], *steps: str | int, value: object) -> dict[str, Any]:
    spoiled: dict[str, Any] = json.loads(json.dumps(report))
    place: Any = spoiled
    for step in steps[:-1]:
        place = place[step]
    place[steps[-1]] = value
    return spoiled


def test_what_does_not_follow_it_is_refused_and_new_fields_are_not(
    finished_run: RunDirectory, schema: dict[str, Any]
) -> None:
    report = read(render.build(finished_run).with_name("report.json"))

    assert conforms(spoil(report, "something_new", value=1), schema)
    assert conforms(spoil(report, "scores", 0, "value", value="NaN"), schema)
    for steps, value in (
        (("schema_version",), 2),
        (("study",), 7),
        (("scores", 0, "value"), "many"),
        (("scores", 0, "interval"), "guessed"),
        (("costs", 0, "energy_joules"), "not told"),
        (("verdicts", 0, "outcome"), "winner"),
        (("verdicts", 0, "contrast", "scores"), [0.5]),
        (("trials", 0, "commands"), ["sweep"]),
    ):
        assert not conforms(spoil(report, *steps, value=value), schema), steps
    for name in report:
        assert conforms({key: value for key, value in report.items() if key != name}, schema) == (
            name not in schema["required"]
        )
    assert len(schema["required"]) >= len(report) - 1
