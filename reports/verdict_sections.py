"""The report's sections on which method is better, and on methods at equal budget, as blocks."""

from collections.abc import Sequence

from reports import wording
from reports.document import Block, Column, Figure, Paragraph, Table
from reports.equal_budget import SearchCurves, WinnersCurse, search_curves, winners_curses
from reports.gather import Gathered
from reports.run_contrasts import pair_again
from reports.statistics.bootstrap import Resampled, hierarchical_bootstrap
from reports.statistics.clusters import Replicated
from reports.summary import Summary
from reports.verdict import Judgement, Verdict
from reports.verdict_wording import amount, p_in_words, with_unit

BOOTSTRAP_SEED = 20_260_103
RESAMPLED_TEST = "paired bootstrap"
DECIDED = frozenset({"better", "worse"})


def verdict_blocks(gathered: Gathered, summary: Summary, judgement: Judgement) -> list[Block]:
    """What the confirm phase says: sentences, every contrast, where the noise comes from."""
    if not judgement.all:
        return [Paragraph(text, "note") for text in judgement.notes]
    blocks: list[Block] = [Paragraph(_method(gathered, summary, judgement))]
    blocks += [Paragraph(verdict.sentence) for verdict in judgement.headline]
    blocks.append(contrasts_table([*judgement.headline, *judgement.others]))
    if judgement.headline:
        blocks.append(_noise_table(judgement))
    if judgement.parts:
        blocks += _parts(judgement.parts)
    return blocks + [Paragraph(text, "note") for text in judgement.notes]


def budget_blocks(gathered: Gathered, summary: Summary, figures: dict[str, Figure]) -> list[Block]:
    """Methods at equal budget, and what became of the chosen trials on rows that the search never saw."""
    blocks: list[Block] = [figures["best_of"]] if "best_of" in figures else []
    curves = search_curves(gathered)
    if curves:
        blocks.append(_budget_table(gathered, curves))
    curses = winners_curses(gathered, summary)
    return [*blocks, _curse_table(curses)] if curses else blocks


def contrasts_table(verdicts: Sequence[Verdict]) -> Table:
    """One row a contrast; those with a difference that is no chance stand out."""
    columns = [
        Column("metric", "code"),
        Column("first"),
        Column("second"),
        Column("scores", "number"),
        Column("difference", "number"),
        Column("95 % interval", "number"),
        Column("p", "number"),
        Column("p, corrected", "number"),
        Column("verdict on the first"),
        Column("detectable", "number"),
        Column("would decide it", "number"),
    ]
    caption = (
        "First less second, in points (hundredths) for proportions and in the metric's own unit elsewhere. Intervals "
        "and the left p are uncorrected. Detectable: the smallest true difference that these items and seeds would "
        "have shown with 80 % power at 5 %. Would decide it: items, or seeds on each side, at the difference as seen. "
        "Bold: better or worse after correction."
    )
    decided = frozenset(place for place, verdict in enumerate(verdicts) if verdict.outcome in DECIDED)
    return Table(columns, [_contrast_row(verdict) for verdict in verdicts], caption, emphasized=decided)


def _contrast_row(verdict: Verdict) -> list[str]:
    one = verdict.contrast
    arrow = "↑" if one.higher_is_better else "↓"
    return [
        f"{one.metric} {arrow}",
        one.one,
        one.other,
        f"{wording.score(one.scores[0])}, {wording.score(one.scores[1])}",
        amount(one.difference, one),
        f"{amount(one.interval.low, one)} to {amount(one.interval.high, one)}",
        p_in_words(one.p_value).removeprefix("p = ").removeprefix("p "),
        p_in_words(verdict.adjusted_p_value).removeprefix("p = ").removeprefix("p "),
        _outcome(verdict),
        amount(verdict.detectable, one),
        _needed(verdict),
    ]


def _outcome(verdict: Verdict) -> str:
    if verdict.outcome == "equivalent" and verdict.margin is not None:
        return f"equivalent within {with_unit(verdict.margin, verdict.contrast)}"
    return verdict.outcome


def _needed(verdict: Verdict) -> str:
    parts = [] if verdict.items_needed is None else [f"{verdict.items_needed:,} items"]
    parts += [] if verdict.seeds_needed is None else [f"{verdict.seeds_needed:,} seeds"]
    return " or ".join(parts) or wording.NONE


def _method(gathered: Gathered, summary: Summary, judgement: Judgement) -> str:
    """What was compared, and what was corrected how."""
    report = gathered.spec.report
    opening = (
        "Methods are compared item by item on the test split and on whatever else the confirm phase scored. Errors "
        "come from the items, clustered where items share a group, and from training again with other seeds."
    )
    texts = [opening]
    if any(one.contrast.test.startswith(RESAMPLED_TEST) for one in judgement.all):
        texts.append(
            "Macro F1 is no mean over items: it is compared over items drawn anew, the same ones for both sides, whole "
            "groups where items share one."
        )
    if judgement.headline:
        texts.append(
            f"The {wording.counted(len(judgement.headline), 'contrast')} on {summary.metric}, which ranks the methods, "
            "are corrected by Holm's method: a false verdict among them has a chance of at most 5 %."
        )
    if judgement.others:
        texts.append(
            f"The {wording.counted(len(judgement.others), 'contrast')} on other metrics are corrected by Benjamini and "
            "Hochberg's: at most 5 % of those verdicts are false on average."
        )
    margins = "".join(f"; {name}: {wording.number(margin)}" for name, margin in sorted(report.margins.items()))
    texts.append(
        "A difference within the margin fixed in the study counts as none (proportions: "
        f"{wording.number(report.margin)}{margins})."
    )
    return " ".join(texts)


def _noise_table(judgement: Judgement) -> Table:
    """Where the error of each headline contrast comes from."""
    columns = [
        Column("first"),
        Column("second"),
        Column("error from items", "number"),
        Column("error from seeds", "number"),
        Column("seeds' share", "number"),
        Column("items, resampled", "number"),
        Column("seeds, resampled", "number"),
        Column("p from"),
        Column("seeds"),
    ]
    rows = [_noise_row(verdict, _resampled(judgement, verdict)) for verdict in judgement.headline]
    caption = (
        "Standard errors of the headline differences, in points for proportions. Share: of the variance. Resampled: "
        "the same by a hierarchical bootstrap, where seeds still hold their interaction with the items."
    )
    return Table(columns, rows, caption)


def _noise_row(verdict: Verdict, resampled: Resampled | None) -> list[str]:
    one = verdict.contrast
    share = one.seed_stderr**2 / one.stderr**2 if one.stderr > 0 else 0.0
    again = [wording.NONE] * 2
    if resampled is not None:
        again = [amount(resampled.item_stderr, one), amount(resampled.seed_stderr, one)]
    is_known = one.seed_noise in {"measured", "borrowed"}
    return [
        one.one,
        one.other,
        amount(one.item_stderr, one),
        amount(one.seed_stderr, one) if is_known else wording.NONE,
        wording.percent(round(share, 3)) if is_known else wording.NONE,
        again[0],
        again[1] if is_known else wording.NONE,
        one.test,
        f"{one.seeds[0]} and {one.seeds[1]}, noise {one.seed_noise}",
    ]


def _resampled(judgement: Judgement, verdict: Verdict) -> Resampled | None:
    paired = pair_again(judgement.sides, verdict.contrast)
    if paired is None or isinstance(paired.design, Replicated):
        # The errors of a macro F1 come from resampling already.
        return None
    return hierarchical_bootstrap(paired.one, paired.other, paired.design, seed=BOOTSTRAP_SEED)


def _parts(parts: Sequence[Verdict]) -> list[Block]:
    """Contrasts on the parts of groups: a sentence, and those that are decided."""
    decided = [verdict for verdict in parts if verdict.outcome in DECIDED]
    groups = sorted({verdict.contrast.part_of or "" for verdict in parts})
    text = (
        f"The parts of {wording.listed(groups)} stand aside: {wording.counted(len(parts), 'contrast')}, corrected "
        f"among themselves by Benjamini and Hochberg's method, of which {len(decided)} are better or worse. All of "
        "them are in tables/verdicts.csv."
    )
    return [Paragraph(text, "note"), *([contrasts_table(decided)] if decided else [])]


def _budget_table(gathered: Gathered, curves: Sequence[SearchCurves]) -> Table:
    counts = sorted({len(found.by_trials.budgets) for found in curves})
    shown = sorted({k for k in (1, 2, 4, 8, 16, 32, 64, 128, counts[0]) if k <= counts[0]})
    columns = [
        Column("method"),
        Column("trials, complete", "number"),
        *(Column(f"best of {k}", "number") for k in shown),
        Column("mean over training time", "number"),
    ]
    rows = [
        [
            found.method,
            f"{len(found.by_trials.budgets)}, {found.complete}",
            *(wording.score(found.by_trials.values[k - 1]) for k in shown),
            wording.score(found.mean_height),
        ]
        for found in curves
    ]
    objective = gathered.spec.objective
    caption = (
        f"Expected best {objective.metric} (to {objective.direction}) on the validation split after so many trials, in "
        "random order of those that ran. Mean over training time: the area under the curve by training time, over the "
        "range that all methods reach, divided by that range."
    )
    return Table(columns, rows, caption)


def _curse_table(curses: Sequence[WinnersCurse]) -> Table:
    columns = [
        Column("method"),
        Column("metric", "code"),
        Column("validation, chosen", "number"),
        Column("test, fresh seeds", "number"),
        Column("drop", "number"),
        Column("expected from choosing", "number"),
        Column("at most", "number"),
        Column("trials", "number"),
    ]
    rows = [
        [
            curse.method,
            curse.metric,
            wording.with_error(curse.chosen.value, curse.chosen.stderr),
            wording.estimated(curse.tested),
            wording.score(curse.drop),
            wording.score(None if curse.optimism is None else curse.optimism.expected),
            wording.score(None if curse.optimism is None else curse.optimism.at_most),
            str(curse.trials),
        ]
        for curse in curses
    ]
    caption = (
        "The best trial's score where it was chosen, against the same config on the test split: the drop is positive "
        "where it became worse. Expected from choosing: how much the best of so many noisy scores looks better than it "
        "is; at most: were all trials equally good. The rest of a drop is other rows and other seeds."
    )
    return Table(columns, rows, caption)
