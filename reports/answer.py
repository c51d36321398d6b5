"""What stands at the top of a report: what is missing, and the answer as far as the verdicts carry it."""

from reports import wording
from reports.contrast import BASE_MODEL, CONSTANT_ANSWER
from reports.document import Block, Paragraph
from reports.gather import Gathered
from reports.lost import lost_notes
from reports.summary import MethodSummary, Summary
from reports.verdict import Judgement, beaten_by
from sweep.budget import is_spent, progress


def missing_notes(gathered: Gathered) -> list[Block]:
    """Everything that a reader must know is not there."""
    texts = [*_unfinished(gathered), *_failed(gathered), *gathered.unreadable, *lost_notes(gathered)]
    return [Paragraph(text, "warning") for text in texts]


def answer_blocks(gathered: Gathered, summary: Summary, judgement: Judgement) -> list[Block]:
    """The best method with its error, what it is compared with, and the verdicts on it."""
    ranked = summary.ranked
    if not ranked or summary.metric is None:
        return [Paragraph(_nothing_scored(summary), "lead")]
    best = ranked[0]
    blocks: list[Block] = [Paragraph(_lead(best, summary, summary.metric), "lead")]
    blocks += [Paragraph(text) for text in _verdicts(best, summary, judgement)]
    return blocks + [Paragraph(text, "note") for text in _choice(gathered, summary, summary.metric)]


def _unfinished(gathered: Gathered) -> list[str]:
    if gathered.baseline is None:
        return ["This study is unfinished: the base model has not been scored yet."]
    budget = gathered.spec.budget
    # Confirm opens with the base model on the test split: from then on the search is over, even where a small space
    # left trials of the budget unspent.
    open_search = [
        f"{method.name} ({progress(budget, method.spending)})"
        for method in gathered.methods
        if gathered.confirm_baseline is None and not is_spent(budget, method.spending)
    ]
    open_confirm = [
        f"{method.name} ({len(method.confirm)} of {wording.counted(budget.confirm_seeds, 'seed')})"
        for method in gathered.methods
        if method.best is not None and len(method.confirm) < budget.confirm_seeds
    ]
    texts = []
    if open_search:
        texts.append(f"This study is unfinished: the search has reached {wording.listed(open_search)}.")
    if open_confirm:
        texts.append(f"This study is unfinished: the test split has been scored for {wording.listed(open_confirm)}.")
    if gathered.confirm_baseline is None and budget.confirm_seeds and not open_confirm and not open_search:
        texts.append("This study is unfinished: the base model has not been scored on the test split.")
    return texts


def _failed(gathered: Gathered) -> list[str]:
    texts = []
    for method in gathered.methods:
        if method.search and method.best is None:
            texts.append(f"No trial of {method.name} was completed, so it has no best settings and no test score.")
        lost = [record for record in method.confirm if record.evaluation is None]
        if lost:
            kinds = sorted({record.failure.kind if record.failure else record.state for record in lost})
            texts.append(
                f"{wording.counted(len(lost), 'repetition')} of {method.name} ended without a score "
                f"({', '.join(kinds)}); its scores come from the others."
            )
    for name, record in (("validation", gathered.baseline), ("test", gathered.confirm_baseline)):
        if record is not None and record.evaluation is None:
            texts.append(f"The base model could not be scored on the {name} split.")
    return texts


def _nothing_scored(summary: Summary) -> str:
    if summary.metric is None or summary.metric not in summary.baseline:
        return "Nothing has been scored yet."
    base = wording.estimated(summary.baseline[summary.metric])
    return f"No method has been scored yet. The base model has {summary.metric} {base} on the {summary.split} split."


def _lead(best: MethodSummary, summary: Summary, metric: str) -> str:
    found = best.scores[metric]
    level = _level_with(best, summary)
    others = len(summary.ranked) - 1
    superlative = f"the {'highest' if found.higher_is_better else 'lowest'} {metric}"
    opening = f"{best.name} has {superlative if others else metric}"
    if len(level) > 1:
        opening = f"{wording.listed(level)} share {superlative}"
    seeds = f", mean of {found.seeds} seeds" if found.seeds > 1 else ""
    text = f"{opening} on the {summary.split} split: {wording.estimated(found)} ({found.items:,} items{seeds})."
    against = [
        f"{name} {wording.estimated(scores[metric])}"
        for name, scores in (
            *((method.name, method.scores) for method in summary.ranked if method.name not in level),
            ("the base model", summary.baseline),
            ("the best constant answer", summary.constant),
        )
        if metric in scores
    ]
    return f"{text} Beside {'it' if len(level) == 1 else 'them'}: {'; '.join(against)}." if against else text


def _level_with(best: MethodSummary, summary: Summary) -> list[str]:
    """The best method, and all that score the very same."""
    metric = summary.metric or ""
    return [method.name for method in summary.ranked if method.scores[metric].value == best.scores[metric].value]


def _verdicts(best: MethodSummary, summary: Summary, judgement: Judgement) -> list[str]:
    """Whether the leader is known to lead, and the verdicts that it stands in."""
    on_it = [verdict for verdict in judgement.headline if best.name in {verdict.contrast.one, verdict.contrast.other}]
    if not on_it:
        return []
    # One that is level shares the lead, which the first sentence says.
    level = _level_with(best, summary)
    rivals = [method.name for method in summary.ranked if method.name not in level]
    open_yet = [name for name in rivals if name not in beaten_by(best.name, judgement.headline)]
    texts = [verdict.sentence for verdict in on_it]
    if open_yet:
        texts.insert(0, f"That {best.name} is better than {wording.listed(open_yet)} is not shown.")
    return texts


def _choice(gathered: Gathered, summary: Summary, metric: str) -> list[str]:
    texts = []
    objective = gathered.spec.objective
    if summary.split == "validation":
        texts.append(
            "These are scores of each method's best trial on the validation split, on which it was chosen: they look "
            "better than they are. The test split has not been scored for any method."
        )
    if metric != objective.metric:
        texts.append(f"Each method's best trial was chosen by {objective.metric}; the methods are ranked by {metric}.")
    return texts


def stands_apart(summary: Summary, judgement: Judgement) -> bool:
    """Whether the best method is better than every other, the base model and the best constant answer."""
    if summary.metric is None or not summary.ranked:
        return False
    best, *rest = summary.ranked
    others = {method.name for method in rest}
    others |= {
        name
        for name, scores in ((BASE_MODEL, summary.baseline), (CONSTANT_ANSWER, summary.constant))
        if summary.metric in scores
    }
    return others <= beaten_by(best.name, judgement.headline)
