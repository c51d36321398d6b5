"""A verdict in a sentence that a person can quote: both sides, the difference, how sure it is, and what it rests on."""

from reports import wording
from reports.contrast import CONSTANT_ANSWER, Contrast
from reports.statistics import Interval
from reports.statistics.decisions import SIGNIFICANCE, Needed

POINTS = 100
SMALLEST_P = 0.001
MANY = 1_000_000


def sentence_of(  # noqa: PLR0913
    one: Contrast,
    *,
    outcome: str,
    adjusted_p_value: float,
    correction: str,
    family: int,
    margin: float | None,
    is_non_inferior: bool,
    needed: Needed,
) -> str:
    """The verdict on the first side."""
    over = f" after {correction} over {family} contrasts" if family > 1 else ""
    facts = [
        f"95 % interval {interval_in_words(one)}",
        f"{p_in_words(adjusted_p_value)}{over}",
        *_basis(one),
    ]
    opening = (
        f"{one.one} scored {wording.score(one.scores[0])} on {one.metric}, {_placed(one)} {_named(one.other)} "
        f"({', '.join(facts)})"
    )
    ending = {
        "better": "better.",
        "worse": "worse.",
        "equivalent": _equivalent(one, margin, adjusted_p_value),
        "undecided": _undecided(one, margin, needed, is_non_inferior=is_non_inferior),
    }
    return f"{opening}: {ending[outcome]}"


def amount(value: float, one: Contrast) -> str:
    """A difference: in points where scores are proportions, else in the metric's own unit."""
    if not one.is_proportion:
        return wording.number(value)
    points = f"{POINTS * value:.1f}"
    return "0.0" if points == "-0.0" else points


def with_unit(value: float, one: Contrast) -> str:
    """A difference with its unit."""
    if not one.is_proportion:
        return wording.number(value)
    text = wording.number(round(POINTS * value, 2))
    return f"{text} point{'' if text == '1' else 's'}"


def interval_in_words(one: Contrast) -> str:
    """The interval in the direction that the sentence speaks of: above or below."""
    sign = 1 if one.difference >= 0 else -1
    ends = sorted((sign * one.interval.low, sign * one.interval.high))
    found = Interval(*ends)
    # Elsewhere the sentence has named the unit with the difference.
    unit = " points" if one.is_proportion and one.difference == 0 else ""
    return f"{amount(found.low, one)} to {amount(found.high, one)}{unit}"


def p_in_words(p_value: float) -> str:
    """A p-value as journals print it."""
    return f"p < {SMALLEST_P}" if p_value < SMALLEST_P else f"p = {p_value:.2g}"


def _placed(one: Contrast) -> str:
    if one.difference == 0:
        return "level with"
    size = amount(abs(one.difference), one)
    unit = (" point" if size == "1.0" else " points") if one.is_proportion else ""
    return f"{size}{unit} {'above' if one.difference > 0 else 'below'}"


def _named(name: str) -> str:
    return f"the {name}" if " " in name else name


def _basis(one: Contrast) -> list[str]:
    """What the contrast rests on."""
    groups = "" if one.clusters is None else f" in {wording.counted(one.clusters, 'group')}"
    facts = [f"{wording.counted(one.items, 'item')}{groups}", *_seeds(one)]
    left_out = sum(one.unpaired)
    if left_out:
        facts.append(f"{wording.counted(left_out, 'item')} that only one side has left out")
    return facts


def _seeds(one: Contrast) -> list[str]:
    first, second = one.seeds
    if one.seed_noise == "none":
        return []
    if one.seed_noise == "unknown":
        return ["one seed: what training again would give is unknown"]
    counted = f"{first} seeds each" if first == second else f"{wording.counted(first, 'seed')}"
    if one.seed_noise == "borrowed":
        return [f"{first} and {second} seeds, the single one taken to vary like the others"]
    return [counted if second in {first, 1} else f"{first} and {second} seeds"]


def _equivalent(one: Contrast, margin: float | None, adjusted_p_value: float) -> str:
    within = f"equivalent within {with_unit(margin or 0.0, one)}"
    return f"{within}, though the difference is no chance." if adjusted_p_value <= SIGNIFICANCE else f"{within}."


def _undecided(one: Contrast, margin: float | None, needed: Needed, *, is_non_inferior: bool) -> str:
    parts = ["undecided"]
    if is_non_inferior and margin is not None:
        parts.append(f"not worse by {with_unit(margin, one)} or more")
    ways = [
        *([] if needed.items is None else [_many(needed.items, "item")]),
        *([] if needed.seeds is None else [f"{_many(needed.seeds, 'seed')} each"]),
    ]
    if ways:
        parts.append(f"about {' or '.join(ways)} would decide it were the difference as seen")
    elif one.difference != 0 and one.other != CONSTANT_ANSWER:
        parts.append("neither more items nor more seeds alone would decide it")
    return f"{'; '.join(parts)}."


def _many(count: int, noun: str) -> str:
    return f"more than {MANY:,} {noun}s" if count > MANY else wording.counted(_rounded(count), noun)


def _rounded(count: int) -> int:
    """Two significant digits: it is an estimate."""
    step = 10 ** max(0, len(str(count)) - 2)
    rounded: int = -(-count // step) * step
    return rounded
