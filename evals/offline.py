"""Read benchmarks from a directory in the Hub's layout, and nothing from the network.

`datasets` keys its cache by a folder's last name and its README, neither by path nor by content: two roots that hold
data sets of one name give the first one's rows, silently. So each folder gets a cache directory named after a hash of
its content. Tasks keep naming their data as the Hub does; only the moment of loading looks elsewhere.
"""

import hashlib
import importlib
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import datasets
import evaluate
from datasets.packaged_modules import _PACKAGED_DATASETS_MODULES

from evals.errors import TaskError

METRICS = "metrics"
"""Folder of a data root that holds the `evaluate` library's metrics."""
OFFLINE_VARIABLES = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "HF_EVALUATE_OFFLINE")
# Each library reads its variable once, when it is imported.
OFFLINE_SWITCHES = (
    ("huggingface_hub.constants", "HF_HUB_OFFLINE"),
    ("datasets.config", "HF_HUB_OFFLINE"),
    ("datasets.config", "HF_DATASETS_OFFLINE"),
    ("evaluate.config", "HF_EVALUATE_OFFLINE"),
)


@contextmanager
def reading_from(data_root: Path | None) -> Iterator[None]:
    """While the block runs, data sets come from `data_root` alone and nothing is fetched; without one, as ever.

    A data set that is not there raises TaskError.
    """
    if data_root is None:
        yield
        return
    with ExitStack() as stack:
        for name in OFFLINE_VARIABLES:
            stack.enter_context(_variable(name, "1"))
        for module, name in OFFLINE_SWITCHES:
            stack.enter_context(exchanged(importlib.import_module(module), name, value=True))
        local = _LocalData(data_root)
        stack.enter_context(exchanged(datasets, "load_dataset", value=local.load_dataset))
        stack.enter_context(exchanged(evaluate, "load", value=local.load_metric))
        try:
            yield
        finally:
            local.is_open = False


def content_sha256(folder: Path) -> str:
    """SHA-256 over the names and bytes of every file below a folder, hidden ones left out."""
    digest = hashlib.sha256()
    for path in visible_files(folder):
        with path.open("rb") as stream:
            content = hashlib.file_digest(stream, "sha256").hexdigest()
        digest.update(f"{path.relative_to(folder).as_posix()}\0{content}\n".encode())
    return digest.hexdigest()


def visible_files(folder: Path) -> list[Path]:
    """Every file below a folder whose path holds no hidden part, sorted."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


@contextmanager
def exchanged(owner: object, name: str, *, value: object) -> Iterator[None]:
    """Give an attribute another value while the block runs."""
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


class _LocalData:
    """Stands in for `load_dataset` and `evaluate.load`: reads the folder under the data root in the Hub's place.

    A module that was imported meanwhile may have taken these functions with it; outside the block they are stock ones.
    """

    def __init__(self, data_root: Path) -> None:
        self._data_root = data_root
        self._digests: dict[Path, str] = {}
        self._load_dataset, self._load_metric = datasets.load_dataset, evaluate.load
        self.is_open = True

    def load_dataset(self, path: str, *arguments: object, **settings: object) -> object:
        if not self.is_open or not is_on_the_hub(path):
            return self._load_dataset(path, *arguments, **settings)
        folder = (self._data_root / path).resolve()
        if not folder.is_dir():
            raise TaskError(
                f"{path}: this data set is not in the data root: no folder {folder}. Fetch it with sweep prefetch, or "
                "put it there in the Hub's layout."
            )
        if folder not in self._digests:
            self._digests[folder] = content_sha256(folder)
        cache = Path(datasets.config.HF_DATASETS_CACHE) / f"data-root-{self._digests[folder][:16]}"
        settings |= {"cache_dir": str(cache), "revision": None}
        return self._load_dataset(str(folder), *arguments, **settings)

    def load_metric(self, path: str, *arguments: object, **settings: object) -> object:
        folder = (self._data_root / METRICS / path).resolve()
        found = str(folder) if self.is_open and folder.is_dir() else path
        return self._load_metric(found, *arguments, **settings)


def is_on_the_hub(name: str) -> bool:
    """Whether a task's data are a data set's name: not a file format such as `json`, and not a path."""
    return name not in _PACKAGED_DATASETS_MODULES and not name.startswith((".", "/", "~"))


@contextmanager
def _variable(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
