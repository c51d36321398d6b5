"""Compare two evaluations item by item, and ask a float32 model whether what differs in bfloat16 is a tie.

Both sides are directories of lm-evaluation-harness's sample files, whoever wrote them. Items are paired by task, place,
document and filter; one that only one side has is an error.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TIE = 0.25
"""Nats within which bfloat16 cannot tell two tokens apart: it holds logits between 16 and 32 in steps of 0.125, and
each of two may be rounded by one step."""
STAMP = re.compile(r"_\d{4}-\d{2}-\d{2}T.*$")
Sample = Mapping[str, Any]


@dataclass
class Differences:
    """What two evaluations do not agree on."""

    items: int = 0
    deviation: float = 0.0
    """Largest difference of two log-probabilities, in nats."""
    flipped: int = 0
    """Items with another choice."""
    flipped_ties: int = 0
    """Those whose two choices one side holds to be equal within `TIE`."""
    texts: int = 0
    """Items with another text."""
    text_ties: int = 0
    """Those whose texts part at two tokens that the float32 model holds to be equal within `TIE`."""
    unexplained: int = 0
    """Items scored differently for the same choice or text."""
    parted: list[tuple[str, str, str]] = field(default_factory=list)
    """Prompt and the two texts, where they differ; each prompt once."""

    def add(self, other: "Differences") -> None:
        """Count those of other items too."""
        for name in ("items", "flipped", "flipped_ties", "texts", "text_ties", "unexplained"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.deviation = max(self.deviation, other.deviation)
        self.parted += other.parted

    @property
    def is_none(self) -> bool:
        """Whether every choice, text and score is the same."""
        return not (self.flipped or self.texts or self.unexplained)

    @property
    def are_ties(self) -> bool:
        """Whether nothing differs but what bfloat16 cannot tell apart."""
        return self.flipped == self.flipped_ties and self.texts == self.text_ties and not self.unexplained

    def __str__(self) -> str:
        if self.is_none:
            return "none"
        flips = f"{self.flipped} choices ({self.flipped_ties} ties)"
        return f"{flips}, {self.texts} texts ({self.text_ties} ties), {self.unexplained} scores"


def compare(pairs: Iterable[tuple[Path, Path]], referee: "Referee | None" = None) -> Differences:
    """All items of pairs of directories. Texts that differ count as ties only where a referee says so."""
    found = Differences()
    for ours, theirs in pairs:
        mine, stock = read(ours), read(theirs)
        if mine.keys() != stock.keys():
            raise ValueError(f"{ours} and {theirs} hold other items: {sorted(mine.keys() ^ stock.keys())[:4]}")
        for key in mine:
            found.items += 1
            _compare_one(mine[key], stock[key], found, referee)
    return found


def _compare_one(one: Sample, other: Sample, found: Differences, referee: "Referee | None") -> None:
    same_score = all(one[name] == other[name] for name in one["metrics"])
    if isinstance(one["resps"][0][0], str):
        differs = one["resps"] != other["resps"]
        if differs:
            found.texts += 1
            parted = (one["arguments"]["gen_args_0"]["arg_0"], one["resps"][0][0], other["resps"][0][0])
            if parted not in found.parted:
                found.parted.append(parted)
            found.text_ties += referee is not None and referee.holds_a_tie(*parted)
    else:
        mine, stock = ([float(answer[0][0]) for answer in sample["resps"]] for sample in (one, other))
        found.deviation = max(found.deviation, *(abs(a - b) for a, b in zip(mine, stock, strict=True)))
        best, theirs = mine.index(max(mine)), stock.index(max(stock))
        differs = best != theirs
        found.flipped += differs
        found.flipped_ties += differs and max(stock) - stock[best] <= TIE
    found.unexplained += not same_score and not differs


def read(directory: Path) -> dict[tuple[str, int, str, str], Sample]:
    """Every sample below a directory, by task, place, document and filter."""
    samples = {}
    for path in sorted(directory.rglob("samples_*.jsonl")):
        task = STAMP.sub("", path.stem.removeprefix("samples_"))
        for line in path.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            samples[task, row["doc_id"], row["doc_hash"], row["filter"]] = row
    if not samples:
        raise ValueError(f"{directory}: no samples here.")
    return samples


class Referee:
    """A float32 model, asked how far apart two continuations are where they part."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self.model, self.tokenizer = model, tokenizer
        self.verdicts: dict[tuple[str, str, str], float] = {}

    def holds_a_tie(self, prompt: str, one: str, other: str) -> bool:
        """Whether each text's first token of its own is within `TIE` of the likeliest one there."""
        key = (prompt, one, other)
        if key not in self.verdicts:
            self.verdicts[key] = self._largest_regret(*key)
        return self.verdicts[key] <= TIE

    def _largest_regret(self, prompt: str, one: str, other: str) -> float:
        import torch

        context = self.tokenizer(prompt, add_special_tokens=False)["input_ids"]
        first, second = (self.tokenizer(text, add_special_tokens=False)["input_ids"] for text in (one, other))
        shared = _shared(first, second)
        limit = self.model.config.max_position_embeddings
        tokens = torch.tensor([(context + first[:shared])[-limit:]], device=self.model.device)
        with torch.no_grad():
            logprobs = self.model(tokens, logits_to_keep=1).logits[0, -1].float().log_softmax(-1)
        # A text that ends here was ended by a token or stop string that it no longer shows.
        chosen = [text[shared] for text in (first, second) if len(text) > shared]
        return max(float(logprobs.max() - logprobs[token]) for token in chosen)


def _shared(first: Sequence[int], second: Sequence[int]) -> int:
    length = min(len(first), len(second))
    return next((place for place in range(length) if first[place] != second[place]), length)
