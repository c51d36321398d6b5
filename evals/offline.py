"""Read benchmarks from a directory in the Hub's layout, and nothing from the network.

`datasets` keys its cache by a folder's last name and its README, neither by path nor by content: two roots that hold
data sets of one name give the first one's rows, silently. So each folder gets a cache directory named after a hash of
its content. Tasks keep naming their data as the Hub does; only the moment of loading looks elsewhere.
"""

import hashlib
import importlib
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import datasets
from datasets.packaged_modules import _PACKAGED_DATASETS_MODULES
from lm_eval.api.task import ConfigurableTask, Task

from evals.errors import TaskError

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

    Loading a task whose data are not there raises TaskError.
    """
    if data_root is None:
        yield
        return
    with ExitStack() as stack:
        for name in OFFLINE_VARIABLES:
            stack.enter_context(_variable(name, "1"))
        for module, name in OFFLINE_SWITCHES:
            stack.enter_context(exchanged(importlib.import_module(module), name, value=True))
        digests: dict[Path, str] = {}
        for kind in (Task, ConfigurableTask):
            stack.enter_context(exchanged(kind, "download", value=_redirected(kind.download, data_root, digests)))
        yield


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


def _redirected(download: Callable[..., None], data_root: Path, digests: dict[Path, str]) -> Callable[..., None]:
    """A task's `download` that reads the folder under `data_root` in place of the data set on the Hub."""

    def read_local(task: Task, dataset_kwargs: dict[str, object] | None = None, **arguments: object) -> None:
        name = task.DATASET_PATH
        if not _is_on_the_hub(name) or callable(getattr(task.config, "custom_dataset", None)):
            download(task, dataset_kwargs, **arguments)
            return
        folder = (data_root / name).resolve()
        if not folder.is_dir():
            raise TaskError(
                f"{task.config.task}: its data {name!r} are not in the data root: no folder {folder}. Fetch them with "
                "sweep prefetch, or put them there in the Hub's layout."
            )
        if folder not in digests:
            digests[folder] = content_sha256(folder)
        cache = Path(datasets.config.HF_DATASETS_CACHE) / f"data-root-{digests[folder][:16]}"
        task.DATASET_PATH = str(folder)
        try:
            download(task, {**(dataset_kwargs or {}), "cache_dir": str(cache)}, **arguments)
        finally:
            task.DATASET_PATH = name

    return read_local


def _is_on_the_hub(name: str | None) -> bool:
    """Whether a task's data are a data set's name: not a file format such as `json`, and not a path."""
    return name is not None and name not in _PACKAGED_DATASETS_MODULES and not name.startswith((".", "/", "~"))


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
