"""Running a recorded trial again, with a real model, trainer and scorer, in a run directory that no Optuna knows."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from rich.console import Console

from evals.spec import ModelSpec, ScoringSpec, TaskSpec
from sweep import cli
from sweep.config import TrialConfig, configure, configure_baseline
from sweep.errors import DataError, InputError
from sweep.openings import read_openings
from sweep.protocol import PrepareData, RunTrial
from sweep.rerun.again import COMPARISON, rerun
from sweep.rerun.comparison import Comparison, Row
from sweep.rerun.show import comparison_table
from sweep.spec import BudgetSpec, DataSpec, EvaluationSpec, MethodSpec, PeftSpec, StudySpec, TrainingSpec
from sweep.store import RunDirectory, read_config, write_config, write_record, write_study
from sweep.worker import TrialRunner

ROWS = [{"prompt": f"{number} + 1 =", "completion": f" {number + 1}"} for number in range(40)]
SETTINGS = {"num_train_epochs": 1, "effective_batch_size": 8, "learning_rate": 1e-3, "validations": 2, "max_length": 64}
LORA, SEED_1, PRUNED = "search/lora/0000", "confirm/lora/seed-1", "search/full/0001"


@dataclass(frozen=True)
class Place:
    """A run directory of its own, beside its data."""

    root: Path

    @property
    def run(self) -> RunDirectory:
        return RunDirectory(self.root / "runs" / "toy")

    def again(self, trial: str, **options: object) -> Comparison:
        return rerun(self.run, trial, cache=self.root / "cache", **options)  # type: ignore[arg-type]

    def edit(self, trial: str, file: str, change: Callable[[dict], object]) -> None:
        path = self.run.path / trial / file
        values = json.loads(path.read_text())
        change(values)
        path.write_text(json.dumps(values))


def study(model: Path) -> StudySpec:
    training = TrainingSpec(**SETTINGS)
    own = (TaskSpec(task="own", generate=False),)
    return StudySpec(
        name="toy",
        model=ModelSpec(model_name_or_path=str(model), dtype="float32"),
        data=DataSpec(train="rows.jsonl", validation=0.2, test=0.2),
        methods={
            "lora": MethodSpec(kind="lora", peft=PeftSpec(lora_r=4, lora_dropout=0.1), training=training),
            "full": MethodSpec(kind="full", training=training),
        },
        training=training,
        evaluation=EvaluationSpec(search=own, confirm=own, scoring=ScoringSpec(batch_size=4), noise_floor=True),
        budget=BudgetSpec(confirm_seeds=2),
    )


def write_rows(path: Path, rows: list[dict]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture(scope="module")
def recorded(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose trials were run as a worker runs them; tests copy it."""
    place = Place(tmp_path_factory.mktemp("recorded"))
    write_rows(place.root / "rows.jsonl", ROWS)
    spec = study(tiny_model)
    write_study(place.run, spec)
    runner = TrialRunner(place.root / "cache")

    def put(config: TrialConfig, *, prune: bool = False) -> None:
        directory = place.run.directory_of(config)
        data = PrepareData(
            config.model, config.data, place.root, config.max_length, place.run.data, spec.seed, scoring=config.scoring
        )
        write_config(directory, config)
        request = RunTrial(config, directory.path, data)
        write_record(directory, runner.run(request, on_rung=lambda *_: prune, on_progress=lambda _: None))

    for phase in ("baseline", "confirm"):
        put(configure_baseline(spec, phase=phase, data_root=place.root))
    put(configure(spec, "lora", {}, phase="search", number=0, seed=0, data_root=place.root))
    put(configure(spec, "full", {}, phase="search", number=1, seed=0, data_root=place.root), prune=True)
    for number in (1, 2):
        put(configure(spec, "lora", {}, phase="confirm", number=number, seed=1000 + number, data_root=place.root))
    return place.root


@pytest.fixture
def place(recorded: Path, tmp_path: Path) -> Place:
    shutil.copytree(recorded, tmp_path / "here")
    copy = Place(tmp_path / "here")
    for path in copy.run.path.rglob("config.yaml"):
        config = read_config(path).model_copy(update={"data_root": copy.root})
        path.write_text(path.read_text().replace(str(recorded), str(copy.root)))
        assert read_config(path) == config
    for path in copy.run.path.rglob("record.json"):
        path.write_text(path.read_text().replace(str(recorded), str(copy.root)))
    return copy


def find(comparison: Comparison, name: str) -> Row:
    return next(row for row in comparison.rows if row.name == name)


def test_a_trial_of_the_search_gives_what_was_recorded_and_leaves_its_record_alone(place: Place) -> None:
    before = {path: path.read_bytes() for path in place.run.path.rglob("*") if path.is_file()}

    comparison = place.again(LORA)

    assert comparison.agreement == "same"
    assert {row.agreement for row in comparison.rows} == {"same"}
    assert {"weights at the start", "weights at the end", "training loss", "own/loss"} <= {
        row.name for row in comparison.rows
    }
    assert {path: path.read_bytes() for path in before} == before
    written = place.run.reruns / "search-lora-0000-1"
    assert {"record.json", "config.yaml", "steps.jsonl", "checkpoint", "eval", COMPARISON} <= {
        path.name for path in written.iterdir()
    }
    assert json.loads((written / COMPARISON).read_text())["agreement"] == "same"
    assert read_openings(place.run) == []
    # Once more goes beside it.
    place.again(LORA)
    assert (place.run.reruns / "search-lora-0000-2" / "record.json").is_file()


def test_a_repetition_on_the_test_split_counts_as_an_opening(place: Place) -> None:
    assert place.again(SEED_1).agreement == "same"

    (opening,) = read_openings(place.run)
    assert (opening.by, opening.who, opening.tasks) == ("rerun", "lora seed 1", ("own",))


@pytest.mark.parametrize("trial", ["baseline", "confirm/baseline"])
def test_the_base_model_is_scored_again(place: Place, trial: str) -> None:
    comparison = place.again(trial)

    assert comparison.agreement == "same"
    assert find(comparison, "own/loss").agreement == "same"


def test_a_pruned_trial_is_ended_where_it_was_ended_and_its_losses_decide(place: Place) -> None:
    comparison = place.again(PRUNED)

    assert comparison.agreement == "same"
    assert find(comparison, "state").now == "PRUNED"
    assert find(comparison, "training loss").decides
    assert find(comparison, "validation loss").why == "equal at each of 1 steps"

    lines = (place.run.path / PRUNED / "steps.jsonl").read_text().splitlines()
    other = [json.dumps({**json.loads(line), "loss": 9.0}) if '"loss"' in line else line for line in lines]
    (place.run.path / PRUNED / "steps.jsonl").write_text("\n".join(other))

    assert place.again(PRUNED).agreement == "differs"


def test_a_score_that_was_raised_in_the_record_is_found_out(place: Place) -> None:
    place.edit(SEED_1, "record.json", lambda record: record["evaluation"]["metrics"]["own/loss"].update(value=0.5))

    comparison = place.again(SEED_1)

    assert comparison.agreement == "differs"
    row = find(comparison, "own/loss")
    assert row.recorded == "0.5"
    assert "the recorded items give" in row.why
    assert find(comparison, "weights at the end").agreement == "same"


def shift(place: Place, trial: str, by: float) -> None:
    """Make a record, items and all, that is off by so many nats a token."""
    (samples,) = (place.run.path / trial / "eval").glob("samples_own_*.jsonl")
    lines = [json.loads(line) for line in samples.read_text().splitlines()]
    for line in lines:
        line["loss"][0] += by * line["loss"][1]
    samples.write_text("".join(json.dumps(line) + "\n" for line in lines))
    total = sum(line["loss"][0] for line in lines) / sum(line["loss"][1] for line in lines)
    place.edit(trial, "record.json", lambda record: record["evaluation"]["metrics"]["own/loss"].update(value=total))


def test_a_score_that_was_raised_in_record_and_items_alike_is_found_out(place: Place) -> None:
    shift(place, LORA, by=-0.5)

    comparison = place.again(LORA)

    assert comparison.agreement == "differs"
    assert find(comparison, "own/loss").why.startswith("+0.5, paired items allow ±")
    # The weights are the same, so rounding in training is not asked about.
    assert not [row for row in comparison.rows if row.name == "trained once more"]


def other_weights(place: Place, trial: str) -> None:
    place.edit(trial, "record.json", lambda record: record["training"].update(final_sha256="0" * 64))


def test_what_rounding_in_training_makes_is_measured_by_packing_rows_otherwise(place: Place) -> None:
    shift(place, LORA, by=1e-7)
    other_weights(place, LORA)

    without = place.again(LORA, repack=False)
    comparison = place.again(LORA)

    assert without.agreement == "differs"
    assert comparison.agreement == "within noise"
    assert find(comparison, "own/loss").why.endswith(
        "which rounding in training makes, as its rows packed otherwise show"
    )
    once_more = find(comparison, "trained once more")
    assert (once_more.now, once_more.agreement, once_more.decides) == ("2 rows a pass", "not compared", False)
    written = place.run.reruns / "search-lora-0000-2" / "repacked"
    assert read_config(written / "config.yaml").method_spec.training.micro_batch_size == 2  # type: ignore[union-attr]
    assert json.loads((written / "record.json").read_text())["state"] == "COMPLETE"


def test_more_than_rounding_makes_still_differs(place: Place) -> None:
    shift(place, SEED_1, by=0.5)
    other_weights(place, SEED_1)

    comparison = place.again(SEED_1)

    assert comparison.agreement == "differs"
    assert "rounding in training makes ±" in find(comparison, "own/loss").why
    # Both trainings were scored on the test split, and both are counted.
    assert len(read_openings(place.run)) == 2


def test_losses_of_a_pruned_trial_are_held_against_what_rounding_makes_of_them(place: Place) -> None:
    other_weights(place, PRUNED)
    steps = place.run.path / PRUNED / "steps.jsonl"
    lines = [json.loads(line) for line in steps.read_text().splitlines()]
    first = next(line for line in lines if "loss" in line)
    first["loss"] += 0.5
    steps.write_text("".join(json.dumps(line) + "\n" for line in lines))

    why = find(place.again(PRUNED), "training loss").why

    assert "from step 1 on, by at most 0.5; root mean square 0." in why
    assert why.endswith("with its rows packed otherwise")


def test_another_seed_starts_from_other_weights_and_reads_rows_in_another_order(place: Place) -> None:
    first, second = (json.loads((place.run.path / f"confirm/lora/seed-{n}/record.json").read_text()) for n in (1, 2))

    assert first["training"]["initial_sha256"] != second["training"]["initial_sha256"]
    assert first["data_sha256"] == second["data_sha256"]


def test_a_config_that_is_not_the_recorded_one_is_refused_by_its_keys(place: Place) -> None:
    path = place.run.path / LORA / "config.yaml"
    path.write_text(path.read_text().replace("learning_rate: 0.001", "learning_rate: 0.02"))

    with pytest.raises(InputError, match=r"differs in method_spec\.training\.learning_rate\. .*--anyway\.$"):
        place.again(LORA)
    comparison = place.again(LORA, anyway=True)

    assert comparison.agreement == "differs"
    assert find(comparison, "fingerprint").why == ("config.yaml was changed since: method_spec.training.learning_rate")
    assert find(comparison, "weights at the start").agreement == "same"


def test_changed_data_are_refused_by_split_before_anything_is_run(place: Place) -> None:
    write_rows(place.root / "rows.jsonl", [*ROWS[:-1], {"prompt": "39 + 1 =", "completion": " 41"}])

    with pytest.raises(DataError, match=r"not those that it was run on: test, train\. .*--anyway\.$"):
        place.again(LORA)
    assert not list(place.run.reruns.glob("*"))

    comparison = place.again(LORA, anyway=True)

    assert {row.agreement for row in comparison.rows if row.part == "data"} == {"same", "differs"}
    assert comparison.agreement != "same"


def test_data_that_lie_elsewhere_now_are_named(place: Place) -> None:
    elsewhere = place.root / "elsewhere"
    elsewhere.mkdir()
    (place.root / "rows.jsonl").rename(elsewhere / "rows.jsonl")

    with pytest.raises(InputError, match=r"rows\.jsonl"):
        place.again(LORA)

    assert place.again(LORA, data_root=elsewhere).agreement == "same"


def test_other_versions_explain_and_do_not_decide(place: Place) -> None:
    def age(record: dict) -> None:
        record["environment"] |= {"torch": "1.0", "cpu": "Toy 9000"}

    place.edit(LORA, "record.json", age)

    comparison = place.again(LORA)

    assert comparison.agreement == "same"
    assert (find(comparison, "torch").recorded, find(comparison, "torch").agreement) == ("1.0", "differs")
    assert find(comparison, "cpu").part == "hardware"


def test_names_that_are_no_trial_are_answered_with_those_that_are(place: Place) -> None:
    for wrong in ("search/lora/0007", "../../rows.jsonl", "search", ""):
        with pytest.raises(InputError, match="no trial of this name"):
            place.again(wrong)
    (place.run.path / LORA / "record.json").unlink()
    with pytest.raises(InputError, match="no record yet"):
        place.again(LORA)


def test_a_copied_record_leads_to_the_trial_that_was_run(place: Place) -> None:
    place.edit(LORA, "record.json", lambda record: record.update(reused_from=3))

    with pytest.raises(InputError, match=r"Name search/lora/0003\.$"):
        place.again(LORA)


def test_a_directory_that_something_is_in_is_left_alone(place: Place) -> None:
    with pytest.raises(InputError, match="not empty"):
        place.again(LORA, to=place.run.path)


def test_the_command_says_by_its_exit_code_what_came_of_it(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [str(place.run.path), "--cache", str(place.root / "cache")]

    assert cli.main(["rerun", *arguments, LORA]) == 0
    assert "search/lora/0000 gives exactly what was recorded." in capsys.readouterr().out

    place.edit(LORA, "record.json", lambda record: record["evaluation"]["metrics"]["own/loss"].update(value=0.5))
    assert cli.main(["rerun", *arguments, LORA]) == 1
    assert cli.main(["rerun", *arguments, "search/lora/0009"]) == 2


def test_the_table_shows_what_differs_and_why() -> None:
    rows = [
        Row("data", "train", "abc", "abc", "same"),
        Row("scores", "own/acc", "0.5", "0.6", "differs", "+0.1, [nothing] explains it", decides=True),
    ]
    console = Console(width=120, record=True, file=None, force_terminal=False)
    with console.capture() as shown:
        console.print(comparison_table(Comparison("search/lora/0001", rows)))

    assert "+0.1, [nothing] explains it" in shown.get()
    assert "differs from its record by more than the noise that is known." in " ".join(shown.get().split())
