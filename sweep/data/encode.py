"""Turn the rows of one file into text and tokens, leaving out those that are too long.

A row beyond the length limit is left out and counted instead of cut: a cut answer teaches a model to stop midway.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Self

from evals.spec import OwnRow
from sweep.data.rows import BadRow, Row, refuse_too_many, would_fit_if_raised
from sweep.data.shapes import FittedRows
from sweep.data.template import Rendered, render_all
from sweep.data.tokens import Tokens, tokenize
from sweep.errors import DataError

if TYPE_CHECKING:
    from transformers.tokenization_utils_base import PreTrainedTokenizerBase

BATCH_ROWS = 1000


@dataclass(frozen=True, slots=True)
class EncodedRow:
    """One row as read, as text and in tokens."""

    row: Row
    rendered: Rendered
    tokens: Tokens

    @property
    def own(self) -> OwnRow:
        """The row as scoring asks it."""
        return OwnRow(
            row=self.row.number,
            prompt=self.rendered.prompt,
            completion=self.rendered.completion,
            answer=self.row.answer,
            group=self.row.group,
            sql_schema=self.row.sql_schema,
        )


@dataclass(frozen=True, slots=True)
class EncodedFile:
    """The rows of one file that fit in every way, and those that do not."""

    rows: Sequence[EncodedRow]
    bad: Sequence[BadRow]


@dataclass(frozen=True, slots=True)
class Limit:
    """How long a row may be, and why."""

    tokens: int
    reason: str

    @classmethod
    def of(cls, max_length: int, context: int | None) -> Self:
        """The lower one of what the study allows and what the model can read."""
        if context is not None and context < max_length:
            return cls(context, f"the model reads {context}")
        return cls(max_length, f"training.max_length is {max_length}")


@dataclass(frozen=True, slots=True)
class Encoder:
    """How every row of a study is rendered and tokenized."""

    tokenizer: "PreTrainedTokenizerBase"
    template: bool
    system: str | None
    limit: Limit

    def encode(self, fitted: FittedRows, *, max_rows: int | None, max_bad_rows: float) -> EncodedFile:
        """Encode the first `max_rows` rows that fit. Raises DataError where too many do not."""
        good: list[EncodedRow] = []
        bad = list(fitted.bad)
        rows = iter(fitted.rows)
        while (max_rows is None or len(good) < max_rows) and (batch := list(islice(rows, BATCH_ROWS))):
            for outcome in self._batch(batch, fitted.file):
                if isinstance(outcome, EncodedRow):
                    good.append(outcome)
                else:
                    bad.append(outcome)
        bad.sort(key=lambda row: row.row)
        refuse_too_many(fitted.file, bad, total=fitted.total, limit=max_bad_rows)
        if not good:
            raisable = " or raise training.max_length" if would_fit_if_raised(bad) else ""
            raise DataError(f"{fitted.file}: no row fits. Mend the rows{raisable}.")
        return EncodedFile(good[:max_rows], bad)

    def _batch(self, rows: Sequence[Row], file: str) -> Iterator[EncodedRow | BadRow]:
        rendered: list[tuple[Row, Rendered]] = []
        texts = render_all(rows, self.tokenizer, file=file, template=self.template, system=self.system)
        for row, text in zip(rows, texts, strict=True):
            if isinstance(text, Rendered):
                rendered.append((row, text))
            else:
                yield BadRow(file=file, row=row.number, reason=str(text))
        for (row, text), tokens in zip(rendered, tokenize([text for _, text in rendered], self.tokenizer), strict=True):
            reason = self._misfit(tokens)
            yield EncodedRow(row, text, tokens) if reason is None else BadRow(file=file, row=row.number, reason=reason)

    def _misfit(self, tokens: Tokens) -> str | None:
        if len(tokens.input_ids) > self.limit.tokens:
            return f"{len(tokens.input_ids)} tokens, where {self.limit.reason}"
        if not tokens.whole:
            return "prompt and completion run together into one token; end the prompt with a space or a line break"
        return None
