"""Whether finalists learned too long: their losses over steps, and the pattern that they show."""

from collections import Counter
from collections.abc import Mapping

from reports import wording
from reports.curves import NEAR_ZERO, SMALLEST_RISE, Curves, course, finalists, sentence
from reports.document import Block, Column, Figure, Paragraph, Table
from reports.gather import Gathered, MethodRecords


def overfitting_blocks(gathered: Gathered, figures: Mapping[str, Figure]) -> list[Block]:
    """What the courses say, the figure, and the numbers behind."""
    found = [(method, finalists(gathered, method)) for method in gathered.methods if method.best is not None]
    found = [(method, curves) for method, curves in found if curves[0].validation]
    if not found:
        return []
    texts = [text for method, curves in found if (text := sentence(_name(method), curves[0])) is not None]
    blocks: list[Block] = [Paragraph(text) for text in texts]
    if not texts:
        names = wording.listed([method.name for method, _ in found])
        blocks.append(Paragraph(f"No sign of overfitting in the best trial of {names}."))
    blocks += [figures["losses"]] if "losses" in figures else []
    return [*blocks, _table(found)]


def _name(method: MethodRecords) -> str:
    return f"The best trial of {method.name}"


def _table(found: list[tuple[MethodRecords, list[Curves]]]) -> Table:
    columns = [
        Column("method"),
        Column("best validation loss", "number"),
        Column("at step", "number"),
        Column("last validation loss", "number"),
        Column("rise", "number"),
        Column("training loss at the end", "number"),
        Column("gap at the end", "number"),
        Column("pattern"),
        Column("the finalist's runs"),
    ]
    rise = wording.percent(SMALLEST_RISE)
    caption = (
        "Losses of each method's best trial, in nats per token; training losses are averaged over a tenth of the "
        f"steps. Overfitting: the validation loss rose by at least {rise} from its best, and by more than its standard "
        "error over items, while the training loss fell. Memorising noise: so, with a training loss below "
        f"{NEAR_ZERO:g}."
    )
    return Table(columns, [_row(method, curves) for method, curves in found], caption, stacks=True)


def _row(method: MethodRecords, curves: list[Curves]) -> list[str]:
    chosen = curves[0]
    best = chosen.best
    patterns = Counter(course(one) for one in curves)
    return [
        method.name,
        wording.score(None if best is None else best.loss),
        wording.NONE if best is None else f"{best.step:,.0f}",
        wording.score(chosen.validation[-1].loss),
        wording.score(chosen.rise),
        wording.score(chosen.train_near(None)),
        wording.score(chosen.gap),
        course(chosen),
        ", ".join(f"{count} {name}" for name, count in patterns.most_common()),
    ]
