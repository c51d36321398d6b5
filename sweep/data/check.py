"""Read the user's files and fit their rows without a tokenizer: all of `prepare` that `sweep check` can afford.

What it refuses, `prepare` refuses in the same words. Only the length in tokens and the chat template remain unseen.
"""

from collections.abc import Mapping
from pathlib import Path

from sweep.data.answers import answer_type, check_answer_policy
from sweep.data.grading import read_grading
from sweep.data.rows import refuse_too_many
from sweep.data.shapes import FittedRows, fit_rows
from sweep.data.source import Source, find_sources, shares
from sweep.data.split import divide
from sweep.data.template import check_template_policy
from sweep.errors import DataError
from sweep.spec import DataSpec


def check_files(spec: DataSpec, data_root: Path, *, seed: int = 0) -> list[str]:
    """Every complaint about the data that needs no tokenizer, one line each; none where `prepare` may go ahead."""
    problems: list[str] = []
    try:
        sources = find_sources(spec, data_root=data_root)
    except DataError as error:
        return [str(error)]
    try:
        read_grading(spec, data_root)
    except DataError as error:
        problems.append(str(error))
    files: dict[str, FittedRows] = {}
    for split, source in sources.items():
        try:
            files[split] = _fit(spec, source, split)
        except DataError as error:
            problems.append(str(error))
    try:
        if len(files) == len(sources):
            _check_together(spec, files, seed)
    except DataError as error:
        problems.append(str(error))
    return list(dict.fromkeys(problems))


def fit_sources(spec: DataSpec, sources: Mapping[str, Source]) -> Mapping[str, FittedRows]:
    """The rows of each source that fit. Raises DataError for the first thing that `check_files` would name."""
    files = {split: _fit(spec, source, split) for split, source in sources.items()}
    _check_shapes(spec, files)
    return files


def _fit(spec: DataSpec, source: Source, split: str) -> FittedRows:
    # A file of its own needs no group to be divided by, but is told by groups where it has them.
    fitted = fit_rows(source.read(), spec, group_required=split == "train" and bool(shares(spec)))
    refuse_too_many(fitted.file, fitted.bad, total=fitted.total, limit=spec.max_bad_rows)
    if not fitted.rows:
        raise DataError(f"{fitted.file}: no row fits: {fitted.bad[0]}. Mend the rows.")
    return fitted


def _check_together(spec: DataSpec, files: Mapping[str, FittedRows], seed: int) -> None:
    _check_shapes(spec, files)
    rows = files["train"].rows[: spec.max_rows]
    places = divide(rows, shares(spec), seed=seed, group=spec.group)
    train = [row.answer for row, place in zip(rows, places, strict=True) if place == "train"]
    answer_type(train, spec, shape=files["train"].shape.name)


def _check_shapes(spec: DataSpec, files: Mapping[str, FittedRows]) -> None:
    shape = files["train"].shape
    check_template_policy(spec, shape.name)
    check_answer_policy(spec, shape.name)
    for fitted in files.values():
        if fitted.shape is not shape:
            raise DataError(
                f"{fitted.file}: its columns make the shape {fitted.shape}, while those of {files['train'].file} make "
                f"{shape}. Give both the same columns."
            )
