"""What a trial that was run again has in common with its record, line by line. Torch-free.

Equality comes first. Where scores are not equal, the difference is held against what is known to make scores move
without any cause: the base model scored twice, the items that flip in both directions, the spread over seeds.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

Agreement = Literal["same", "within noise", "differs", "not compared"]
SHA_CHARACTERS = 12
NOTHING = "none"


@dataclass(frozen=True, slots=True)
class Row:
    """One thing that was compared."""

    part: str
    """What it is about: config, data, machine, training, scores."""
    name: str
    recorded: str
    now: str
    agreement: Agreement
    why: str = ""
    """What the agreement rests on, or what a difference means."""
    decides: bool = False
    """Whether the verdict depends on it: what came out does, what went in explains it."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Everything that was compared."""

    trial: str
    """The trial's name within the run."""
    rows: Sequence[Row]

    @property
    def agreement(self) -> Agreement:
        """Same where all that came out is equal; within noise where every difference is; else differs."""
        found = {row.agreement for row in self.rows if row.decides}
        if "differs" in found:
            return "differs"
        if "within noise" in found:
            return "within noise"
        return "same" if found else "not compared"

    @property
    def sentence(self) -> str:
        """The verdict in a sentence."""
        return _SENTENCES[self.agreement].format(trial=self.trial)

    def plain(self) -> dict[str, object]:
        """Plain values, to be written as JSON."""
        return {"trial": self.trial, "agreement": self.agreement, "rows": [asdict(row) for row in self.rows]}


_SENTENCES: dict[Agreement, str] = {
    "same": "{trial} gives exactly what was recorded.",
    "within noise": "{trial} agrees with its record within the noise that is known; not every number is the same.",
    "differs": "{trial} differs from its record by more than the noise that is known.",
    "not compared": "{trial} left nothing that could be compared.",
}


def equality(  # noqa: PLR0913
    part: str, name: str, recorded: object, now: object, *, decides: bool = False, why: str = ""
) -> Row:
    """A row for two values that are either equal or not; `why` is said where they are not."""
    same = recorded == now
    return Row(
        part, name, shown(recorded), shown(now), "same" if same else "differs", "" if same else why, decides=decides
    )


def shown(value: object) -> str:
    """A value for a table."""
    if value is None or value == "":
        return NOTHING
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def short(digest: str | None) -> str | None:
    """The beginning of a hash."""
    return None if digest is None else digest[:SHA_CHARACTERS]
