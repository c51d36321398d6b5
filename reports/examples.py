"""The first few test items with every model's answer, so that a reader sees what the scores stand for.

The items are the first ones and not chosen: choosing would show what one wants to see.
"""

from collections.abc import Mapping
from pathlib import Path

from evals.errors import RunError
from evals.items import Item, read_items
from evals.outside import lines_outside, parse_json
from reports import wording
from reports.commands import items_of
from reports.document import Block, Code, Comparison, Paragraph
from reports.gather import Gathered
from reports.summary import Summary
from sweep.record import TrialRecord

ITEMS = 5
CHARACTERS = 1_200
OWN = "own"


def example_blocks(gathered: Gathered, summary: Summary) -> list[Block]:
    """The user's first held-out rows: prompt, expected answer, and what the base model and the best method wrote."""
    answering = _answering(gathered, summary)
    try:
        found = {name: _by_place(gathered, record) for name, record in answering}
        prompts = _prompts(gathered, answering[0][1]) if answering else {}
    except (RunError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return [Paragraph(f"The per-item answers could not be read: {wording.one_line(str(error))}", "warning")]
    places = sorted({place for items in found.values() for place in items})[:ITEMS]
    if not places or not _has_answers(found):
        return []
    opening = Paragraph(
        f"The first {wording.counted(len(places), 'row')} of the {summary.split} split, not chosen, as "
        f"{wording.listed([name for name, _ in answering])} answered them."
    )
    return [opening, *(_comparison(place, found, prompts) for place in places)]


def _answering(gathered: Gathered, summary: Summary) -> list[tuple[str, TrialRecord]]:
    base = gathered.confirm_baseline if summary.split == "test" else gathered.baseline
    named = [("the base model", base)] if base is not None else []
    best = summary.ranked[0] if summary.ranked else None
    if best is not None:
        record = best.scored[0]
        seed = f" (seed {record.config.number})" if record.config.phase == "confirm" else ""
        named.append((f"{best.name}{seed}", record))
    return [(name, record) for name, record in named if record.evaluation is not None]


def _has_answers(found: Mapping[str, Mapping[int, Item]]) -> bool:
    """Whether any model wrote answers: a phase may score the loss alone, and then all answers are empty."""
    return any(item.answer for items in found.values() for item in items.values())


def _by_place(gathered: Gathered, record: TrialRecord) -> dict[int, Item]:
    directory = gathered.directory(record).eval
    return {item.doc_id: item for item in read_items(directory) if item.task == OWN}


def _prompts(gathered: Gathered, record: TrialRecord) -> Mapping[int, str]:
    """Prompts by place, from lm-evaluation-harness's own sample file."""
    place = items_of(record, gathered).get(OWN)
    return {} if place is None else _read_prompts(gathered.run.path / place)


def _read_prompts(path: Path) -> dict[int, str]:
    samples = [parse_json(line) for line in lines_outside(path)]
    return {int(sample["doc_id"]): str(sample["doc"].get("prompt", "")) for sample in samples}


def _comparison(place: int, found: Mapping[str, Mapping[int, Item]], prompts: Mapping[int, str]) -> Comparison:
    items = {name: answered[place] for name, answered in found.items() if place in answered}
    first = next(iter(items.values()))
    title = f"Row {first.row}" if first.row is not None else f"Item {place + 1}"
    asked = [_code(prompts[place], "prompt")] if prompts.get(place) else []
    answers = [_code(item.answer, f"{name}{_grade(item)}") for name, item in items.items()]
    return Comparison(title, [*asked, _code(first.target, "expected answer"), *answers])


def _code(text: str, label: str) -> Code:
    if not text.strip():
        # An untuned model often writes nothing but line breaks, which would be a tall box with nothing in it.
        blank = f"({wording.counted(len(text), 'character')} of white space)" if text else "(empty)"
        return Code(blank, label)
    return Code(wording.shorten(wording.visible(text), CHARACTERS), label)


def _grade(item: Item) -> str:
    shown = [f"{name} {wording.number(value)}" for name, value in item.scores.items() if name in SHOWN_SCORES]
    return f" · {', '.join(shown)}" if shown else ""


SHOWN_SCORES = frozenset({"exact_match", "accuracy", "field_match", "json_valid", "loss"})
