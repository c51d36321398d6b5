"""What methods cost, which ones no other betters, and what is recommended under limits."""

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from reports import render
from reports.contrast import Contrast
from reports.cost_section import beside_quality
from reports.costs import cost_blocks, costs
from reports.csv_files import costs_table
from reports.document import Paragraph, Table, text_of
from reports.gather import Gathered, gather
from reports.recommendation import Dominated, dominance_sentences, front, recommendation_blocks
from reports.run_contrasts import contrasts
from reports.summary import Summary, summarize
from sweep.record import DeviceUse, Memory, Sharing
from sweep.spec import ReportSpec, StudySpec, WithinSpec
from sweep.store import RunDirectory, write_record

GB = 10**9
MEMORY = {"lora": 30 * GB, "qlora": 9 * GB, "full": 80 * GB}
SECONDS = {"lora": 360.0, "qlora": 720.0, "full": 1440.0}
Builder = Callable[..., RunDirectory]


@pytest.fixture
def priced(tmp_path: Path, build: Builder, study: Callable[..., StudySpec]) -> Callable[..., Gathered]:
    """A run whose finalists differ in memory and time."""

    def make(**report: object) -> Gathered:
        spec = study().model_copy(update={"report": ReportSpec.model_validate(report)})
        run = build(tmp_path, spec)
        for method in spec.methods:
            for number in (1, 2, 3):
                directory = run.confirm_trial(method, number)
                record = directory.read_record()
                assert record is not None
                memory = Memory(host_bytes=GB, device_bytes=MEMORY[method])
                seconds = {**record.seconds, "train": SECONDS[method]}
                write_record(directory, record.model_copy(update={"memory": memory, "seconds": seconds}))
        return gather(run)

    return make


def advice(gathered: Gathered, found: list[Contrast] | None = None) -> list[str]:
    summary: Summary = summarize(gathered)
    blocks = recommendation_blocks(gathered, summary, contrasts(gathered) if found is None else found)
    return [block.text for block in blocks if isinstance(block, Paragraph)]


def test_a_run_costs_its_training_hours_and_a_search_all_that_ran_of_it(priced: Callable[..., Gathered]) -> None:
    gathered = priced(price_per_hour=10.0)

    lora, _, full = costs(gathered, summarize(gathered))

    assert lora.price == pytest.approx(1.0)
    assert full.price == pytest.approx(4.0)
    # Six trials of 280.5 s ran, those that were pruned and that failed among them; the seventh was reused.
    assert lora.trials == 6
    assert lora.search_seconds == pytest.approx(6 * 280.5)
    assert lora.search_price == pytest.approx(6 * 280.5 / 360)


def test_without_a_price_there_is_no_cost_and_the_report_says_how_to_name_one(
    priced: Callable[..., Gathered],
) -> None:
    gathered = priced()
    blocks = cost_blocks(gathered, summarize(gathered))
    tables = [block for block in blocks if isinstance(block, Table)]

    assert all("cost" not in [column.title for column in table.columns] for table in tables)
    assert any(isinstance(block, Paragraph) and "report.price_per_hour" in block.text for block in blocks)


def cells(table: Table, title: str) -> list[str]:
    place = [column.title for column in table.columns].index(title)
    return [text_of(row[place]) for row in table.rows]


def test_energy_that_no_machine_tells_is_said_to_be_so_and_not_to_be_0(priced: Callable[..., Gathered]) -> None:
    gathered = priced(price_per_hour=1.0)
    tables = [block for block in cost_blocks(gathered, summarize(gathered)) if isinstance(block, Table)]

    assert [cells(table, "energy") for table in tables] == [["not told"] * 3] * 2
    assert "this machine's counters could not be read" in tables[0].caption
    csv = costs_table(costs(gathered, summarize(gathered)), summarize(gathered), gathered.spec.report)
    assert csv["energy_joules"].isna().all()


def test_energy_is_the_mean_of_the_runs_that_had_the_device_to_themselves(priced: Callable[..., Gathered]) -> None:
    gathered = priced()
    told = [(1, 7_200.0, None), (2, 3_600.0, None), (3, 36_000.0, Sharing(lanes=2.0, elapsed_seconds=9.0))]
    for number, joules, sharing in told:
        directory = gathered.run.confirm_trial("lora", number)
        record = directory.read_record()
        assert record is not None
        use = DeviceUse(kind="cuda", name="Toy GPU", energy_joules=joules, energy_source="nvml")
        write_record(directory, record.model_copy(update={"device": use, "sharing": sharing}))
    again = gather(gathered.run)
    runs, _ = [block for block in cost_blocks(again, summarize(again)) if isinstance(block, Table)]

    assert cells(runs, "energy") == ["1.5 Wh", "not told", "not told"]
    assert costs(again, summarize(again))[0].energy_joules == pytest.approx(5_400)
    assert "whatever else ran on the device included" in runs.caption


def test_training_operations_are_those_of_the_records(priced: Callable[..., Gathered]) -> None:
    gathered = priced()
    lora, _, full = costs(gathered, summarize(gathered))

    assert lora.training_flops == pytest.approx(48_000 * (4 * 139_399_488 + 2 * 4_884_480))
    assert full.training_flops == pytest.approx(48_000 * 6 * 134_515_008)
    runs = cost_blocks(gathered, summarize(gathered))[0]
    assert isinstance(runs, Table)
    assert cells(runs, "training FLOPs") == ["2.7e13", "2.7e13", "3.9e13"]


def test_every_form_of_the_report_has_every_cost_with_its_unit(priced: Callable[..., Gathered]) -> None:
    gathered = priced(price_per_hour=10.0, currency="EUR")
    report = render.build(gathered.run).parent

    wanted = ("6 min 0 s", "1.00 EUR", "30 GB", "3.5 %", "tokens/s", "19.6 MB", "2.7e13", "not told")
    page, text = ((report / name).read_text("utf-8") for name in ("index.html", "report.md"))
    for cost in wanted:
        assert cost in page
        assert cost in text
        assert cost.replace("%", r"\%") in (report / "tables" / "costs.tex").read_text("utf-8")
    assert "not told" in (report / "tables" / "search_costs.tex").read_text("utf-8")
    row = pd.read_csv(report / "tables" / "costs.csv").set_index("method").loc["lora"]
    [numbers, *_] = json.loads((report / "report.json").read_text("utf-8"))["costs"]
    for name, value in {
        "train_seconds": 360.0,
        "train_price": 1.0,
        "peak_memory_bytes": 30 * GB,
        "trainable_share": 4_884_480 / 139_399_488,
        "tokens_per_second": 214.6,
        "checkpoint_bytes": 19_560_000,
        "training_flops": 48_000 * (4 * 139_399_488 + 2 * 4_884_480),
        "search_device_seconds": 6 * 280.5,
        "search_price": 6 * 280.5 / 360,
    }.items():
        assert row[name] == pytest.approx(value)
        assert numbers[name] == pytest.approx(value)
    assert (row["currency"], numbers["currency"]) == ("EUR", "EUR")
    assert numbers["energy_joules"] is None


def test_the_front_holds_what_no_other_betters_at_no_more_cost() -> None:
    points = {"dear": (0.9, 10.0), "cheap": (0.5, 1.0), "middle": (0.7, 3.0), "bad": (0.6, 4.0), "same": (0.5, 2.0)}

    on, below = front(points)

    assert on == ["cheap", "middle", "dear"]
    assert below == [Dominated("bad", "middle"), Dominated("same", "cheap")]


def test_of_two_equals_neither_dominates() -> None:
    assert front({"one": (0.5, 1.0), "other": (0.5, 1.0)}) == (["one", "other"], [])


def test_dominated_methods_are_named_with_what_betters_them(priced: Callable[..., Gathered]) -> None:
    gathered = priced()
    memory = dominance_sentences(gathered, summarize(gathered))[0]

    assert memory == (
        "Peak memory: on the front qlora and lora. Dominated: full by lora (30 GB against 80 GB, and no worse a score)."
    )


def test_the_best_method_within_a_limit_is_recommended_and_the_others_reasons_given(
    priced: Callable[..., Gathered],
) -> None:
    [text, *_] = advice(priced(within=WithinSpec(memory_gb=24)))

    assert text.startswith("Within 24 GB of peak memory, the best is qlora (own/exact_match 0.600")
    assert "lora is left out: its peak memory is 30 GB." in text
    assert "full is left out: its peak memory is 80 GB." in text


def test_methods_that_the_items_do_not_tell_apart_are_named_with_what_they_take(
    priced: Callable[..., Gathered],
) -> None:
    [_, text] = advice(priced(within=WithinSpec(memory_gb=40)))

    assert "These items do not tell lora and qlora apart" in text
    assert "lora has the smallest training time (6 min 0 s)" in text
    assert "qlora has the smallest peak memory (9 GB)" in text


def test_where_nothing_fits_that_is_said(priced: Callable[..., Gathered]) -> None:
    [text] = advice(priced(within=WithinSpec(memory_gb=8, train_hours=1)))

    assert text.startswith("Within 8 GB of peak memory and 1 h 0 min of training time: no method fits.")
    assert "qlora is left out: its peak memory is 9 GB." in text


def test_what_is_not_known_does_not_fit(priced: Callable[..., Gathered]) -> None:
    # The study has no price, so no cost is known.
    [text] = advice(priced(within=WithinSpec(cost=100)))

    assert "no method fits" in text
    assert "its training cost is not known" in text


def test_without_limits_nothing_is_recommended_and_the_way_to_set_them_is_said(
    priced: Callable[..., Gathered],
) -> None:
    gathered = priced()

    assert advice(gathered) == []
    blocks = beside_quality(gathered, summarize(gathered), {}, [])
    assert any(isinstance(block, Paragraph) and "report.within" in block.text for block in blocks)


def test_a_study_in_which_nothing_was_trained_has_no_costs(tmp_path: Path, build: Builder) -> None:
    gathered = gather(build(tmp_path, search=False, confirm=False))

    assert beside_quality(gathered, summarize(gathered), {}, []) == []
