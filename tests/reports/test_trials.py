"""Trials that were trained with less memory than they ask for are told of, with why."""

from collections.abc import Callable
from pathlib import Path

from reports import table
from reports.document import Table
from reports.gather import gather
from reports.trials import easing_table
from sweep.easing import Easing
from sweep.record import TrialRecord
from sweep.spec import StudySpec
from sweep.store import RunDirectory

EASING = Easing(lanes=1, micro_batch_size=2, why=("Tried to allocate 2.00 GiB.",))


def test_what_was_trained_with_less_is_listed_with_why(
    tmp_path: Path,
    build: Callable[..., RunDirectory],
    study: Callable[..., StudySpec],
    trial: Callable[..., TrialRecord],
    write: Callable[[RunDirectory, TrialRecord], None],
) -> None:
    spec = study(("lora",))
    run = build(tmp_path, spec, search=True, confirm=False)
    params = {"training.learning_rate": 1e-4, "methods.lora.peft.lora_r": 8}
    write(run, trial(spec, "lora", 9, params, 0.4, easing=EASING))

    (listed,) = easing_table(gather(run))

    assert isinstance(listed, Table)
    (row,) = listed.rows
    trained = f"alone, micro-batches of 2 rows with {spec.training.effective_batch_size // 2} accumulated"
    assert row[1:] == [trained, "Tried to allocate 2.00 GiB."]
    found = table.trials(run).set_index("trial")["easing"]
    assert found["search/lora/0009"] == trained
    assert found.drop("search/lora/0009").isna().all()


def test_where_memory_never_ran_out_nothing_is_listed(finished_run: RunDirectory) -> None:
    assert easing_table(gather(finished_run)) == []
