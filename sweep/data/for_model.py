"""Prepare the user's rows for a model: by its tokenizer, and no longer than it can read."""

from pathlib import Path

from evals.models.load import context_of, load_tokenizer
from evals.models.source import local_model
from evals.offline import reading_from
from evals.spec import ModelSpec
from sweep.data.prepare import PreparedData, prepare
from sweep.spec import DataSpec


def prepare_for(  # noqa: PLR0913
    model: ModelSpec,
    data: DataSpec,
    *,
    data_root: Path,
    max_length: int,
    directory: Path,
    seed: int,
    cache: Path,
    hub: Path | None,
) -> PreparedData:
    """Render, tokenize and divide the user's rows into `directory`, or read them where that is done already.

    The model is read from `hub` where it is there. Raises ModelError for the model, DataError for the rows.
    """
    found = local_model(model, hub)
    with reading_from(hub):
        return prepare(
            data,
            load_tokenizer(found, cache=cache),
            data_root=data_root,
            max_length=max_length,
            context=context_of(found, cache=cache),
            directory=directory,
            seed=seed,
        )
