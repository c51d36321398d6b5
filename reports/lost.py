"""What a run directory ought to hold and does not: trials without a record, scores without their answers."""

from collections.abc import Sequence

from reports import wording
from reports.commands import is_scored, items_of
from reports.gather import Gathered, MethodRecords
from sweep.record import TrialRecord

NAMED = 10
"""Trials that a sentence names before it counts the rest."""


def lost_notes(gathered: Gathered) -> list[str]:
    """Sentences on what is not there; none where nothing is missing."""
    texts = [text for method in gathered.methods for text in _without_record(gathered, method)]
    bare = sum(1 for record in gathered.records if is_scored(record) and _lacks_answers(record, gathered))
    if bare:
        texts.append(
            f"The per-item answers of {wording.counted(bare, 'scored row')} are not in the run directory: their scores "
            "cannot be checked item by item."
        )
    return texts


def _without_record(gathered: Gathered, method: MethodRecords) -> list[str]:
    """Trials that began, or whose numbers were given out, and left no record that can be read."""
    directory = gathered.run.path / "search" / method.name
    begun, ended = (
        {int(path.parent.name) for path in directory.glob(f"*/{name}") if path.parent.name.isdigit()}
        for name in ("config.yaml", "record.json")
    )
    # Optuna counts without gaps. Records that are there and cannot be read are named elsewhere.
    lost = sorted((begun | set(range(max(ended, default=-1) + 1))) - ended)
    if not lost:
        return []
    return [f"{wording.counted(len(lost), 'trial')} of {method.name} left no record ({_numbers(lost)})."]


def _numbers(numbers: Sequence[int]) -> str:
    shown = wording.listed([str(number) for number in numbers[:NAMED]])
    rest = len(numbers) - NAMED
    return f"{shown} and {rest} more" if rest > 0 else f"{'number' if len(numbers) == 1 else 'numbers'} {shown}"


def _lacks_answers(record: TrialRecord, gathered: Gathered) -> bool:
    samples = {} if record.evaluation is None else record.evaluation.samples
    return len(items_of(record, gathered)) < len(samples)
