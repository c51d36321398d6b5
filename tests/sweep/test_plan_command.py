"""`sweep plan STUDY.yaml`: what it prints for a person and for a program, and what it refuses."""

import json
import math
import re
from pathlib import Path

import pytest

from sweep import cli
from sweep.options import console

ROWS = 80
STUDY = """\
name: toy
model: {{model_name_or_path: {model}, dtype: float32}}
data: {{train: rows.jsonl, validation: 0.2, test: 0.2}}
methods: [lora, qlora, full]
training: {{num_train_epochs: 2, effective_batch_size: 8, max_length: 128, validations: 2}}
search_space:
  training.learning_rate: {{min: 1.0e-4, max: 1.0e-2, log: true}}
  methods.lora.peft.lora_r: {{values: [4, 8]}}
evaluation: {{general_text: false}}
budget: {{trials_per_method: 3, confirm_seeds: 2}}
pruner: {{name: none}}
"""


@pytest.fixture
def study(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    rows = [{"prompt": f"say {n % 7} {n}", "completion": json.dumps({"digit": n % 7})} for n in range(ROWS)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    (tmp_path / "toy.yaml").write_text(STUDY.format(model=tiny_model))
    # A terminal that an earlier test was started in may be remembered.
    monkeypatch.setattr(console, "_width", 220)
    return tmp_path / "toy.yaml"


def plan(study: Path, *arguments: str) -> int:
    folder = study.parent
    return cli.main(["plan", str(study), "--runs", str(folder / "runs"), "--cache", str(folder / "cache"), *arguments])


def as_json(study: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> dict:
    capsys.readouterr()
    assert plan(study, "--json", *arguments) == 0
    return json.loads(capsys.readouterr().out)


def cells(shown: str, title: str) -> list[list[str]]:
    """Rows of the table below a title, a cell for each run of text between wide gaps."""
    lines = shown.partition(f"{title}\n")[2].split("\n")
    rule = next(place for place, line in enumerate(lines) if "───" in line)
    body = lines[rule + 1 :]
    end = next(place for place, line in enumerate(body) if not line.strip())
    return [re.split(r"\s{2,}", line.strip()) for line in body[:end]]


def test_the_table_and_the_json_hold_the_same_numbers(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert plan(study) == 0
    shown = capsys.readouterr().out
    found = as_json(study, capsys)

    assert shown.startswith(f"toy: {found['model']}, {found['parameters'] / 1e3:.3g}k parameters\n")
    assert [row[:3] for row in cells(shown, "What will be done")] == [
        [part["phase"], part["method"] or "base model", f"{part['trials']['expected']:.0f}"] for part in found["work"]
    ]
    needs = [memory["own"] for memory in found["memory"]]
    *parts, peak, _ = cells(shown, "Memory of training, in GB")
    assert [row[0] for row in parts] == list(needs[0]["parts"])
    for name, *row in [*parts, peak]:
        expected = [own["peak" if name == "peak" else "parts"] for own in needs]
        values = [one["expected"] if name == "peak" else one[name]["expected"] for one in expected]
        assert [float(cell) for cell in row] == pytest.approx([value / 1e9 for value in values], rel=0.05)
    for row, fit in zip(cells(shown, "Does it fit?"), found["fits"], strict=True):
        assert (row[0], fit["fit"]) == (fit["method"], "fits")
        assert "fits" in row
    title = "Smallest true difference between two methods that is found with 80 % power at 5 %"
    ((metric, items, seeds, points, *_),) = cells(shown, title)
    (row,) = found["detectable"]
    assert (metric, int(items), int(seeds)) == (row["metric"], row["items"], row["seeds"])
    assert points == f"{100 * row['difference']:.1f} points"
    for note in (*found["missing"], *found["assumptions"]):
        assert note in re.sub(r"\s*\n", " ", shown)


def test_work_and_rows_are_those_of_the_study_file(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = as_json(study, capsys)
    rows = found["rows"]

    assert sum(split["rows"] for split in rows.values()) == ROWS
    work = {(part["phase"], part["method"]): part for part in found["work"]}
    assert list(work) == [
        (phase, method)
        for phase, base in (("baseline", True), ("search", False), ("confirm", True))
        for method in ([None] if base else []) + ([] if phase == "baseline" else ["lora", "qlora", "full"])
    ]
    assert {part["trials"]["high"] for (phase, method), part in work.items() if phase == "search"} == {3}
    assert {part["trials"]["low"] for (phase, method), part in work.items() if phase == "confirm" and method} == {2}
    search = work["search", "qlora"]
    assert search["steps"]["expected"] == 2 * math.ceil(rows["train"]["rows"] / 8)
    assert search["train_tokens"]["expected"] == 3 * 2 * rows["train"]["tokens"]
    assert work["confirm", "full"]["scoring"]["items"] == {"own": rows["test"]["rows"]}


def test_nothing_but_the_cache_is_written(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert plan(study) == 0

    assert {path.name for path in study.parent.iterdir()} == {"cache", "rows.jsonl", "toy.yaml"}
    assert "--probe" in capsys.readouterr().out


def test_a_model_that_is_not_here_is_planned_from_its_config_file(
    study: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = as_json(study, capsys)
    gone = f"model.model_name_or_path={study.parent / 'gone'}"

    found = as_json(study, capsys, "--set", gone, "--model-config", str(tiny_model / "config.json"))

    assert found["parameters"] == whole["parameters"]
    assert found["memory"][0]["own"]["parts"]["weights"] == whole["memory"][0]["own"]["parts"]["weights"]
    # Rows cannot be tokenized: what rests on them is left out, and that is said.
    assert (found["rows"], found["work"], found["hours"], found["total_hours"]) == ({}, [], [], None)
    assert any(note.startswith("Tokens are not known: ") for note in found["missing"])
    assert plan(study, "--set", gone, "--model-config", str(tiny_model / "config.json")) == 0
    assert "Tokens are not known" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--set", "model.model_name_or_path=/nowhere/at/all"], "--model-config FILE"),
        (["--model-config", "/nowhere/config.json"], "--model-config FILE"),
        (["--set", "data.train=gone.jsonl"], "gone.jsonl"),
    ],
    ids=["model", "config file", "rows"],
)
def test_what_cannot_be_planned_is_one_line_and_exit_code_2(
    study: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], complaint: str
) -> None:
    assert plan(study, *arguments) == 2

    told = capsys.readouterr()
    assert complaint in told.err
    assert len(told.err.strip().splitlines()) == 1
    assert told.out == ""


HOURS_ALONE = ("--set", "budget.trials_per_method=null", "--set", "budget.device_hours_per_method=2")


def test_a_study_that_only_hours_bound_is_planned_as_far_as_it_is_known(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = as_json(study, capsys, *HOURS_ALONE)
    search = {part["method"]: part for part in found["work"] if part["phase"] == "search"}

    assert (search["full"]["trials"], search["full"]["train_tokens"]) == (None, None)
    assert search["full"]["trial_tokens"]["expected"] == 2 * found["rows"]["train"]["tokens"]
    hours = {(part["phase"], part["method"]): part["hours"] for part in found["hours"]}
    assert hours["search", "lora"] == {"low": 2, "expected": 2, "high": 2}
    assert (hours["confirm", "lora"], found["total_hours"]) == (None, None)
    assert found["timed_from"] == "the budget alone"
    assert any("its search takes 2 device hours" in note for note in found["missing"])

    assert plan(study, *HOURS_ALONE) == 0
    shown = capsys.readouterr().out
    row = next(row for row in cells(shown, "What will be done") if row[:2] == ["search", "full"])
    assert row[2] == "not known"
    assert row[4].endswith(" each")
    assert ["search", "full", "2.00", "2.00 to 2.00"] in cells(shown, "Hours of one device, from the budget alone")


def test_what_is_trained_together_is_said_of_each_method_and_phase(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    searched = "search_space.methods.qlora.training.optim={values: [adamw_torch, adafactor]}"
    found = as_json(study, capsys, "--set", searched, "--set", "budget.trials_per_method=24")
    seats = {(row["phase"], row["method"]): row for row in found["seating"]}

    assert seats["search", "lora"]["seats"]["high"] == 6
    assert "a quarter of the budget's 24 trials" in seats["search", "lora"]["bound"]
    assert (seats["search", "qlora"]["alone"], seats["search", "qlora"]["reasons"]) == (0.5, ["optim adafactor"])
    assert seats["search", "full"]["reasons"] == ["full fine-tuning changes the base model"]

    assert plan(study, "--set", searched, "--set", "lanes=3") == 0
    rows = {tuple(row[:2]): row[2:] for row in cells(capsys.readouterr().out, "Trained together over one base model")}
    assert rows["search", "lora"] == ["3", "0 %", "the study says lanes: 3; gain: measured while it runs"]
    assert "; alone: optim adafactor; gain: " in rows["search", "qlora"][-1]
    assert rows["search", "full"] == ["100 %", "full fine-tuning changes the base model"]
