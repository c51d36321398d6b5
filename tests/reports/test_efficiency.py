"""What training made of time, tokens and the device."""

import pytest

from reports.document import Table
from reports.efficiency import efficiencies, efficiency_blocks
from reports.gather import gather
from reports.render import build as build_report
from reports.wording import NONE
from sweep.record import DeviceUse, MatrixProduct, TrialRecord

RATE = {"training.learning_rate": 1e-4}
PRODUCT = MatrixProduct(flops_per_second=1e12, side=1024, dtype="bfloat16")
DEVICE = DeviceUse(kind="cpu", name="Toy 9000", matrix_product=PRODUCT)


@pytest.fixture
def run_of(tmp_path, build, study, trial, write):
    """A run with these trials of LoRA: each 100 s of training, 4 s of waiting, 120 s in all, 1000 tokens."""

    def make(*changes: dict):
        spec = study(("lora",))
        run = build(tmp_path, spec, search=False, confirm=False)
        for number, change in enumerate(changes):
            seconds = {"train": 100.0, "wait": 4.0, "score": 10.0}
            given = {"seconds": seconds, "seconds_total": 120.0, "device": DEVICE, "positions": 1250, **change}
            positions = given.pop("positions")
            record = trial(spec, "lora", number, RATE, 0.4, **given)
            training = record.training.model_copy(
                update={"tokens": 1000, "positions": positions, "total_parameters": 11, "trainable_parameters": 3}
            )
            write(run, record.model_copy(update={"training": training}))
        return run

    return make


def test_padding_counts_as_computed_and_never_as_useful(run_of) -> None:
    (found,) = efficiencies(gather(run_of({}, {})))

    assert (found.tokens, found.useful_share) == (2000, 0.8)
    assert (found.flops, found.computed_flops) == (2000 * 50.0, 2500 * 50.0)


def test_seconds_are_told_apart_and_the_rest_is_overhead(run_of) -> None:
    (found,) = efficiencies(gather(run_of({}, {})))

    assert found.train_share == pytest.approx(200 / 240)
    assert (found.waiting_seconds, found.overhead_seconds) == (8.0, pytest.approx(12.0))


def test_the_share_of_the_device_is_useful_operations_a_second_over_its_own(run_of) -> None:
    slower = DEVICE.model_copy(update={"matrix_product": PRODUCT.model_copy(update={"flops_per_second": 1000.0})})
    (found,) = efficiencies(gather(run_of({"device": slower})))

    assert found.roofline_share == pytest.approx(1000 * 50.0 / 100.0 / 1000.0)


def test_one_trial_that_did_not_count_padding_leaves_its_sum_unknown(run_of) -> None:
    (found,) = efficiencies(gather(run_of({}, {"positions": None})))

    assert (found.useful_share, found.computed_flops) == (None, None)
    assert found.tokens == 2000


def test_records_of_older_versions_are_read_and_show_what_is_missing(run_of) -> None:
    run = run_of({"device": None, "positions": None, "seconds": {"train": 100.0}})
    (record,) = [record for method in gather(run).methods for record in method.search]
    text = record.model_dump(mode="json")
    del text["training"]["positions"]

    assert TrialRecord.model_validate(text) == record
    (table,) = efficiency_blocks(gather(run))
    assert isinstance(table, Table)
    assert list(table.rows[0][1:]) == ["83.3 %", NONE, "20 s", "1,000", NONE, "5e4", NONE, NONE]
    assert "was not measured" in table.caption


def test_a_report_shows_the_table(run_of) -> None:
    run = run_of({})
    page = build_report(run)

    assert "of the device" in (page.parent / "report.md").read_text("utf-8")
    assert "1,000 GFLOP/s in bfloat16, 1024 by 1024" in page.read_text("utf-8")
