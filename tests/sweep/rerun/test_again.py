"""Running a recorded trial again, with a real model, trainer and scorer, in a run directory that no Optuna knows."""

import json
from pathlib import Path

import pytest
from rerun_place import LORA, PRUNED, ROWS, SEED_1, Place, find, write_rows
from rich.console import Console

from sweep import cli
from sweep.easing import Easing
from sweep.errors import DataError, InputError, ModelError
from sweep.openings import read_openings
from sweep.rerun.again import COMPARISON
from sweep.rerun.comparison import Comparison, Row
from sweep.rerun.show import comparison_table
from sweep.scoring import score_trial
from sweep.store import TrialDirectory


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


def test_a_trial_that_memory_ran_out_in_is_trained_again_as_it_was_then(place: Place) -> None:
    number, easing = 5, Easing(lanes=1, micro_batch_size=1, gradient_checkpointing=True, why=("Out of memory.",))
    place.run_eased(number, easing)

    comparison = place.again(f"search/lora/000{number}")

    assert comparison.agreement == "same"
    row = find(comparison, "memory")
    assert (row.agreement, row.now) == (
        "same", "alone, micro-batches of 1 row with 8 accumulated, activations recomputed",
    )  # fmt: skip
    again = TrialDirectory(place.run.reruns / "search-lora-0005-1").read_record()
    assert again is not None
    assert again.easing == easing
    # Its dropout falls on other places where it is trained as it asks.
    place.edit(f"search/lora/000{number}", "record.json", lambda record: record.update(easing=None))
    assert find(place.again(f"search/lora/000{number}"), "weights at the end").agreement == "differs"


def test_a_score_that_was_raised_in_the_record_is_found_out(place: Place) -> None:
    place.edit(SEED_1, "record.json", lambda record: record["evaluation"]["metrics"]["own/loss"].update(value=0.5))

    comparison = place.again(SEED_1)

    assert comparison.agreement == "differs"
    row = find(comparison, "own/loss")
    assert row.recorded == "0.5"
    assert "the recorded items give" in row.why
    assert find(comparison, "weights at the end").agreement == "same"


def test_a_score_that_was_raised_in_record_and_items_alike_is_found_out(place: Place) -> None:
    place.shift(LORA, by=-0.5)

    comparison = place.again(LORA)

    assert comparison.agreement == "differs"
    assert find(comparison, "own/loss").why.startswith("+0.5, paired items allow ±")
    # The weights are the same, so rounding in training is not asked about.
    assert not [row for row in comparison.rows if row.name == "trained once more"]


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


def test_the_code_of_a_recorded_model_runs_only_where_the_user_says_so(place: Place, tmp_path: Path) -> None:
    """Whoever made the run directory may have written it."""
    path = place.run.path / LORA / "config.yaml"
    told = "trust_remote_code: false"
    assert told in path.read_text()
    path.write_text(path.read_text().replace(told, "trust_remote_code: true"))
    refused = rf"^{path}: the code of .* would run here\. .* --trust-remote-code\.$"

    with pytest.raises(InputError, match=refused):
        place.again(LORA)
    with pytest.raises(InputError, match=r"differs in model\.trust_remote_code"):
        place.again(LORA, trust_remote_code=True)
    with pytest.raises(InputError, match=refused):
        score_trial(path.parent, output=tmp_path / "scores", cache=tmp_path)
    with pytest.raises(ModelError, match="trust_remote_code needs a pinned revision"):
        score_trial(path.parent, output=tmp_path / "scores", cache=tmp_path, trust_remote_code=True)


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
