"""The field's claims: held only by an interval within the margin, and never told from what was not measured."""

import math
import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from reports import rates
from reports.claim_evidence import Evidence, Finding, all_of, gather_evidence
from reports.claims import CLAIMS, claim_blocks
from reports.contrast import Contrast
from reports.document import Paragraph, Table
from reports.gather import Gathered, MethodRecords, gather
from reports.rates import Ratio, Tops
from reports.searched import Search, search_of
from reports.statistics import Interval, Reference
from reports.summary import Summary, summarize
from sweep.record import Memory, TrialRecord
from sweep.spec import Dimension, MethodSpec, PeftSpec, StudySpec, TrainingSpec
from sweep.store import RunDirectory

TESTS = {claim.text: claim.test for claim in CLAIMS}
QLORA_MMLU, ADAPTERS_MMLU, HUMANEVAL, GSM8K, SHARE, MEMORY, TENFOLD, RANKS, VARIANTS = TESTS.values()
Make = Callable[..., TrialRecord]
RATE, RANK = "training.learning_rate", "methods.lora.peft.lora_r"


def contrast(one: str, other: str, metric: str, difference: float, half: float) -> Contrast:
    return Contrast(
        metric=metric,
        one=one,
        other=other,
        scores=(0.5 + difference, 0.5),
        difference=difference,
        interval=Interval(difference - half, difference + half),
        p_value=0.5,
        test="t over items and seeds",
        items=1000,
        clusters=None,
        seeds=(3, 3),
        item_stderr=half / 2,
        seed_stderr=0.0,
        seed_noise="borrowed",
        higher_is_better=True,
        is_proportion=True,
        unpaired=(0, 0),
        centre=difference,
        reference=Reference(item_df=1e9),
    )


@pytest.fixture
def evidence(finished_run: RunDirectory) -> Callable[..., Evidence]:
    """A study's evidence with made-up contrasts; the metrics that they are on count as scored."""
    gathered = gather(finished_run)
    summary = summarize(gathered)

    def make(*contrasts: Contrast) -> Evidence:
        metrics = tuple(dict.fromkeys([*summary.metrics, *(one.metric for one in contrasts)]))
        return gather_evidence(gathered, replace(summary, metrics=metrics), contrasts)

    return make


@pytest.mark.parametrize(
    ("difference", "half", "outcome"),
    [
        (0.001, 0.0015, "holds"),
        (0.0, 0.0031, "cannot be told"),  # no difference is seen, and a larger one is not ruled out
        (0.002, 0.002, "cannot be told"),
        (-0.05, 0.01, "does not hold"),
        (-0.004, 0.002, "cannot be told"),
    ],
)
def test_equivalence_takes_the_whole_interval_within_the_margin(
    evidence: Callable[..., Evidence], difference: float, half: float, outcome: str
) -> None:
    found = QLORA_MMLU(evidence(contrast("qlora", "lora", "mmlu/acc", difference, half)))

    assert found.outcome == outcome
    assert f"qlora less lora on mmlu/acc: {100 * difference:+.1f} points" in found.text


def test_a_contrast_is_turned_to_the_claims_direction(evidence: Callable[..., Evidence]) -> None:
    found = QLORA_MMLU(evidence(contrast("lora", "qlora", "mmlu/acc", 0.05, 0.01)))

    assert "qlora less lora on mmlu/acc: -5.0 points, 95 % interval -6.0 to -4.0" in found.text


def test_too_wide_an_interval_says_how_many_items_would_do(evidence: Callable[..., Evidence]) -> None:
    found = QLORA_MMLU(evidence(contrast("qlora", "lora", "mmlu/acc", 0.0, 0.01)))

    # 0.003 has to be 2.80 standard errors, which are 0.005 now: (2.8016 · 0.005 / 0.003)² times as many items.
    assert f"about {math.ceil(1000 * (2.80158 * 0.005 / 0.003) ** 2):,} items would do" in found.text


def test_a_task_that_was_not_scored_tells_nothing(evidence: Callable[..., Evidence]) -> None:
    assert QLORA_MMLU(evidence()) == Finding("cannot be told", "There is no score on mmlu.")


def test_a_claim_on_two_methods_falls_with_either(evidence: Callable[..., Evidence]) -> None:
    lora = contrast("lora", "full", "mmlu/acc", 0.0, 0.005)

    assert ADAPTERS_MMLU(evidence(lora, contrast("qlora", "full", "mmlu/acc", 0.0, 0.005))).outcome == "holds"
    assert ADAPTERS_MMLU(evidence(lora, contrast("qlora", "full", "mmlu/acc", -0.1, 0.01))).outcome == "does not hold"
    assert ADAPTERS_MMLU(evidence(lora)).outcome == "cannot be told"
    assert all_of([Finding("holds", "a"), Finding("cannot be told", "b")]) == Finding("cannot be told", "a b")


@pytest.mark.parametrize(
    ("difference", "half", "outcome"),
    [(0.0, 0.015, "holds"), (0.05, 0.02, "does not hold"), (0.0, 0.08, "cannot be told")],
)
def test_with_all_modules_adapted_no_lead_on_humaneval_is_claimed(
    evidence: Callable[..., Evidence], difference: float, half: float, outcome: str
) -> None:
    found = HUMANEVAL(evidence(contrast("full", "lora", "humaneval/pass@1,create_test", difference, half)))

    assert found.outcome == outcome
    assert "adapts all linear modules" in found.text


@pytest.mark.parametrize(("rank", "outcome"), [(32, "holds"), (16, "cannot be told")])
def test_gsm8k_is_claimed_from_rank_32_on_within_the_studys_margin(
    evidence: Callable[..., Evidence], rank: int, outcome: str
) -> None:
    base = evidence(contrast("lora", "full", "gsm8k/exact_match,strict-match", 0.0, 0.005))
    lora = base.finalists["lora"]
    assert lora.records.best is not None
    spec = MethodSpec(kind="lora", peft=PeftSpec(lora_r=rank), training=TrainingSpec())
    config = lora.records.best.config.model_copy(update={"method_spec": spec})
    best = lora.records.best.model_copy(update={"config": config})
    changed = replace(lora, records=replace(lora.records, best=best))

    assert base.report.margin == 0.01
    assert GSM8K(replace(base, finalists={**base.finalists, "lora": changed})).outcome == outcome


def test_the_trained_share_is_counted(evidence: Callable[..., Evidence]) -> None:
    found = SHARE(evidence())

    assert found.outcome == "does not hold"
    assert f"lora trains {100 * 4_884_480 / 139_399_488:.1f} % of the parameters" in found.text


def test_memory_of_a_process_on_the_host_is_no_measure(evidence: Callable[..., Evidence]) -> None:
    found = MEMORY(evidence())

    assert found.outcome == "cannot be told"
    assert "peak memory of a GPU was not recorded" in found.text


@pytest.mark.parametrize(("small", "outcome"), [(25, "holds"), (60, "does not hold")])
def test_memory_is_compared_on_the_gpu_at_equal_shapes(
    evidence: Callable[..., Evidence], small: int, outcome: str
) -> None:
    base = evidence()
    with_memory = {
        kind: replace(
            method,
            scored=[
                record.model_copy(update={"memory": Memory(host_bytes=1, device_bytes=size)})
                for record in method.scored
            ],
        )
        for kind, method in base.finalists.items()
        for size in [small if kind == "qlora" else 100]
    }

    assert MEMORY(replace(base, finalists=with_memory)).outcome == outcome


def searched(
    study: StudySpec, trial: Make, name: str, best: float, *, count: int = 40, drift: float = 0.0, seed: int = 0
) -> Search:
    """Trials whose loss is least at the rate `best`, which moves by `drift` decades for each doubling of the rank."""
    chance = np.random.default_rng(seed)
    records = []
    for number in range(count):
        rate, rank = chance.uniform(-5, -3), int(chance.choice([8, 16, 32, 64]))
        top = math.log10(best) + drift * (math.log2(rank) - 4.5)
        loss = 0.5 + (rate - top) ** 2 + 0.05 * chance.normal()
        params = {RATE: 10**rate, **({RANK: rank} if name == "lora" else {})}
        records.append(trial(study, name, number, params, float(loss)))
    return search_of(MethodRecords(name, study.methods[name], tuple(records), (), records[0]), study)


@pytest.fixture
def space(study: Callable[..., StudySpec]) -> StudySpec:
    dimensions = {RATE: Dimension(min=1e-5, max=1e-3, log=True), RANK: Dimension(values=(8, 16, 32, 64))}
    return study(("lora", "full")).model_copy(update={"search_space": dimensions})


def test_the_ratio_of_best_rates_is_found_again(space: StudySpec, trial: Make) -> None:
    covered = 0
    for seed in range(40):
        one = rates.best_rate(searched(space, trial, "lora", 2e-4, seed=seed))
        other = rates.best_rate(searched(space, trial, "full", 5e-5, seed=1000 + seed))
        assert isinstance(one, Tops)
        assert isinstance(other, Tops)
        found = rates.ratio(one, other)
        covered += found.interval.low <= 4 <= found.interval.high
        assert 2 < found.value < 8

    assert covered >= 33


def test_a_best_rate_outside_what_was_tried_is_not_given(space: StudySpec, trial: Make) -> None:
    found = rates.best_rate(searched(space, trial, "full", 1e-2))

    assert isinstance(found, str)
    assert "not bracketed" in found


def test_a_rate_that_moves_with_the_rank_is_seen(space: StudySpec, trial: Make) -> None:
    # A quarter of a decade for each of three doublings.
    for drift, truth in ((0.0, 1.0), (0.25, 10**0.75)):
        found = [
            rates.shift_with_rank(searched(space, trial, "lora", 1e-4, count=60, drift=drift, seed=seed))
            for seed in range(30)
        ]
        ratios = [one for one in found if isinstance(one, Ratio)]
        covered = sum(one.interval.low <= truth <= one.interval.high for one in ratios)

        assert len(ratios) == 30
        assert covered >= 24
        assert all(truth / 1.5 < one.value < truth * 1.5 for one in ratios)


def test_tenfold_and_rank_claims_follow_the_rates(
    evidence: Callable[..., Evidence], space: StudySpec, trial: Make
) -> None:
    found = {
        "lora": searched(space, trial, "lora", 3e-4, count=150),
        "full": searched(space, trial, "full", 3e-5, count=150),
    }
    base = replace(evidence(), searches=found)

    assert TENFOLD(base).outcome == "holds"
    assert RANKS(base).outcome == "holds"
    same = replace(base, searches=found | {"full": searched(space, trial, "full", 2e-4, count=150)})
    assert TENFOLD(same).outcome == "does not hold"


def test_one_variant_is_no_comparison(evidence: Callable[..., Evidence]) -> None:
    assert VARIANTS(evidence()).outcome == "cannot be told"


def test_tuned_variants_are_compared_within_2_percent_of_the_better_score(
    finished_run: RunDirectory, space: StudySpec, trial: Make
) -> None:
    gathered = gather(finished_run)
    summary = summarize(gathered)
    other = MethodSpec(kind="lora", peft=PeftSpec(use_rslora=True), training=TrainingSpec())
    methods = [
        replace(method, records=replace(method.records, spec=other)) if method.name == "qlora" else method
        for method in summary.methods
    ]
    renamed: Summary = replace(summary, methods=methods)
    search = searched(space, trial, "lora", 1e-4)
    close = contrast("lora", "qlora", "own/exact_match", 0.001, 0.005)
    base = Evidence(renamed, [close], {}, {"lora": search, "qlora": search}, gathered.spec.report)

    assert VARIANTS(base).outcome == "holds"
    far = replace(base, contrasts=[contrast("lora", "qlora", "own/exact_match", 0.1, 0.01)])
    assert VARIANTS(far).outcome == "does not hold"
    unsearched = replace(base, searches={"lora": search, "qlora": replace(search, axes=())})
    assert VARIANTS(unsearched).outcome == "cannot be told"


def test_every_claim_has_a_row_and_no_reason_is_empty(finished_run: RunDirectory) -> None:
    gathered: Gathered = gather(finished_run)
    [opening, table] = claim_blocks(gathered, summarize(gathered), [])

    assert isinstance(table, Table)
    assert isinstance(opening, Paragraph)
    assert re.search(r" (1 holds|\d+ hold), (1 does|\d+ do) not hold and \d+ cannot be told on", opening.text)
    assert not re.search(r"\b1 (hold|do)\b", opening.text)
    assert [row[0] for row in table.rows] == list(TESTS)
    assert all(row[1] in {"holds", "does not hold", "cannot be told"} and row[2] for row in table.rows)


def test_before_a_search_no_claim_is_tested(tmp_path, build: Callable[..., RunDirectory]) -> None:
    gathered = gather(build(tmp_path, search=False, confirm=False))

    assert claim_blocks(gathered, summarize(gathered), []) == []
