"""What rounding in training makes of a trial that is run again, measured where it may be why something differs."""

import json

from rerun_place import LORA, PRUNED, SEED_1, Place, find

from sweep.openings import read_openings
from sweep.store import read_config


def other_weights(place: Place, trial: str) -> None:
    place.edit(trial, "record.json", lambda record: record["training"].update(final_sha256="0" * 64))


def test_what_rounding_in_training_makes_is_measured_by_packing_rows_otherwise(place: Place) -> None:
    place.shift(LORA, by=1e-7)
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
    place.shift(SEED_1, by=0.5)
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
