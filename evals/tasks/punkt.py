"""The sentence splitter that IFEval counts sentences and shouted words with.

It is data of NLTK's that is fetched when first used. The task's module tries so when it is imported, carries on where
it fails, and breaks in the middle of scoring, after the model has written every answer. So it is looked for first.
"""

from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from evals.errors import TaskError

SPLITTER = "punkt_tab"
RESOURCE = f"tokenizers/{SPLITTER}/english/"
NLTK_DATA = "nltk_data"
"""Folder of a data root that holds NLTK's data."""


@contextmanager
def sentence_splitter(data_names: Collection[str], data_root: Path | None) -> Iterator[None]:
    """Have the splitter at hand while the block runs, where a task on these data needs it.

    It is read from `data_root` or from NLTK's own places; without a data root it is fetched where it is missing.
    Raises TaskError where it cannot be had.
    """
    if not needs_splitter(data_names):
        yield
        return
    # Imported here: it takes seconds, and no other task needs it.
    import nltk

    with ExitStack() as stack:
        if data_root is not None:
            place = str((data_root / NLTK_DATA).resolve())
            nltk.data.path.insert(0, place)
            stack.callback(nltk.data.path.remove, place)
        elif not _is_there():
            nltk.download(SPLITTER, quiet=True)
        if not _is_there():
            raise TaskError(
                f"{min(data_names)}: grading needs NLTK's sentence splitter {SPLITTER!r}, which is not here "
                "and could not be fetched. Where there is network, use sweep prefetch, or python -m nltk.downloader "
                f"{SPLITTER} and put its folder into {NLTK_DATA}/tokenizers of the data root."
            )
        yield


def needs_splitter(data_names: Collection[str]) -> bool:
    """Whether answers to a task on these data are graded by counting sentences."""
    return any("ifeval" in name.lower() for name in data_names)


def _is_there() -> bool:
    import nltk

    try:
        nltk.data.find(RESOURCE)
    except LookupError:
        return False
    return True
