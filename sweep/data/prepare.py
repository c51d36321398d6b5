"""Make of the user's files what training and scoring read: once for a study, keyed by content.

    sources ─ read ─ shapes ─► rows that fit ─ template ─ tokens ─ split ─► prepared directory

The key covers the files' content, what answers are graded with, the data settings, the tokenizer and its chat
template, the length limit and the seed. The split of a row depends on the seed and on its own content or group, never
on the model.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sweep.data.answers import answer_type, constant_answers
from sweep.data.check import fit_sources
from sweep.data.encode import EncodedFile, EncodedRow, Encoder, Limit
from sweep.data.grading import Grading, read_grading
from sweep.data.prepared import Manifest, PreparedData, is_prepared, read_prepared, write_prepared
from sweep.data.rows import BadRow
from sweep.data.source import Source, find_sources, shares
from sweep.data.split import SPLITS, divide
from sweep.data.template import end_of_turn, uses_template
from sweep.spec import DataSpec

if TYPE_CHECKING:
    from transformers.tokenization_utils_base import PreTrainedTokenizerBase

__all__ = ["PreparedData", "prepare", "read_prepared"]

FORMAT_VERSION = 2
"""Raised whenever the same input would be prepared differently."""
MIN_NEW_TOKENS = 16

Splits = Mapping[str, Sequence[EncodedRow]]


def prepare(  # noqa: PLR0913
    spec: DataSpec,
    tokenizer: "PreTrainedTokenizerBase",
    *,
    data_root: Path,
    max_length: int,
    directory: Path,
    seed: int,
    context: int | None = None,
) -> PreparedData:
    """Render, tokenize and divide the user's rows into `directory`, or read them where that is done already.

    A row of more tokens than `max_length` or the model's `context` does not fit.

    Raises DataError where the files, their rows or the splits cannot be used as the study asks.
    """
    sources = find_sources(spec, data_root=data_root)
    grading = read_grading(spec, data_root)
    limit = Limit.of(max_length, context)
    target = directory / _key(spec, sources, grading, tokenizer, max_length=limit.tokens, seed=seed)
    if is_prepared(target):
        return read_prepared(target)
    files = fit_sources(spec, sources)
    shape = files["train"].shape.name
    encoder = Encoder(tokenizer, uses_template(spec, shape, tokenizer), spec.system, limit)
    encoded = {
        split: encoder.encode(
            fitted, max_rows=spec.max_rows if split == "train" else None, max_bad_rows=spec.max_bad_rows
        )
        for split, fitted in files.items()
    }
    splits = _split_rows(encoded, spec, seed)
    dropped = tuple(bad for file in encoded.values() for bad in file.bad)
    manifest = _describe(splits, dropped, spec, shape, grading, tokenizer)
    return write_prepared(target, manifest, splits, grader=None if grading.grader is None else grading.grader.content)


def _key(  # noqa: PLR0913
    spec: DataSpec,
    sources: Mapping[str, Source],
    grading: Grading,
    tokenizer: "PreTrainedTokenizerBase",
    *,
    max_length: int,
    seed: int,
) -> str:
    decides = {
        "format": FORMAT_VERSION,
        "files": {split: source.sha256() for split, source in sources.items()},
        "grading": dict(grading.sha256()),
        "spec": spec.model_dump(mode="json"),
        "tokenizer": _tokenizer_sha256(tokenizer),
        "max_length": max_length,
        "seed": seed,
    }
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()


def _tokenizer_sha256(tokenizer: "PreTrainedTokenizerBase") -> str:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    # Padding and truncation are switched by whoever tokenized last, and say nothing about the tokens of a row.
    described = (
        {key: value for key, value in json.loads(backend.to_str()).items() if key not in {"padding", "truncation"}}
        if backend is not None
        else {"vocabulary": tokenizer.get_vocab(), "class": type(tokenizer).__name__}
    )
    tokens = [tokenizer.bos_token, tokenizer.eos_token]
    content = json.dumps([described, tokens, tokenizer.chat_template], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def _split_rows(encoded: Mapping[str, EncodedFile], spec: DataSpec, seed: int) -> Splits:
    rows = encoded["train"].rows
    held_out = shares(spec)
    places = divide([encoded_row.row for encoded_row in rows], held_out, seed=seed, group=spec.group)
    divided = {
        split: [row for row, place in zip(rows, places, strict=True) if place == split]
        for split in ("train", *held_out)
    }
    explicit = {split: file.rows for split, file in encoded.items() if split != "train"}
    return {split: {**divided, **explicit}[split] for split in SPLITS}


def _describe(  # noqa: PLR0913, PLR0917
    splits: Splits,
    dropped: tuple[BadRow, ...],
    spec: DataSpec,
    shape: str,
    grading: Grading,
    tokenizer: "PreTrainedTokenizerBase",
) -> Manifest:
    digests = {split: [encoded.row.digest() for encoded in rows] for split, rows in splits.items()}
    answers = [encoded.row.answer for encoded in splits["train"]]
    answer = answer_type(answers, spec, shape=shape)
    labels = {encoded.row.answer for rows in splits.values() for encoded in rows} if answer == "label" else set()
    longest = 0 if answer == "none" else max(encoded.tokens.completion_length for encoded in splits["train"])
    return Manifest(
        rows={split: len(rows) for split, rows in splits.items()},
        sha256={
            **{split: hashlib.sha256("\n".join(found).encode()).hexdigest() for split, found in digests.items()},
            **grading.sha256(),
        },
        dropped=dropped,
        leaks=_leaks(digests),
        answer=answer,
        labels=tuple(sorted(labels)),
        constant_answers=constant_answers(answers, answer),
        stop=end_of_turn([encoded.rendered for encoded in splits["train"]], answers, tokenizer),
        max_new_tokens=max(MIN_NEW_TOKENS, 2 * longest),
        label_by=spec.label_by,
        json_schema=grading.json_schema,
        sql_schema=grading.sql_schema,
        grader=None if grading.grader is None else grading.grader.function,
    )


def _leaks(digests: Mapping[str, Sequence[str]]) -> Mapping[str, int]:
    seen: set[str] = set()
    leaks: dict[str, int] = {}
    for split in SPLITS:
        if split != "train":
            leaks[split] = sum(digest in seen for digest in digests[split])
        seen.update(digests[split])
    return leaks
