"""Run lm-evaluation-harness without its bars and warnings, and hear how far it is.

It draws progress bars wherever it loops and offers no switch, so its modules' `tqdm` is exchanged for the time of a
call. Its warnings speak of settings that we choose on purpose; what could go wrong is checked by us.
"""

import importlib
import logging
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import datasets
from transformers.utils import logging as transformers

OnProgress = Callable[[int, int], None]
"""Called with the requests answered and those asked, for each kind of request in turn."""

SILENT_MODULES = ("lm_eval.api.task", "lm_eval.api.model")
MODEL_MODULE = "lm_eval.models.huggingface"
LOGGERS = ("lm_eval", "transformers.generation.utils", "transformers.generation.configuration_utils")


class Bar:
    """Stands in for `tqdm`: draws nothing, and passes on how far the loop is."""

    def __init__(
        self,
        iterable: Iterable[Any] = (),
        total: int | None = None,
        on_progress: OnProgress | None = None,
        **_: object,
    ) -> None:
        self.iterable = iterable
        self.total = total
        self.done = 0
        self.on_progress = on_progress

    def __iter__(self) -> Iterator[Any]:
        return iter(self.iterable)

    def update(self, n: int = 1) -> None:
        """Count further steps."""
        self.done += n
        if self.on_progress is not None and self.total is not None:
            self.on_progress(self.done, self.total)

    def close(self) -> None:
        """Nothing is held."""


@contextmanager
def quietly(on_progress: OnProgress | None = None) -> Iterator[None]:
    """Silence lm-evaluation-harness, transformers' generation and `datasets` while the block runs."""
    with ExitStack() as stack:
        for name in SILENT_MODULES:
            stack.enter_context(_exchanged(name, "tqdm", Bar))
        stack.enter_context(_exchanged(MODEL_MODULE, "tqdm", partial(Bar, on_progress=on_progress)))
        stack.enter_context(_exchanged("lm_eval.evaluator", "get_git_commit_hash", _git_commit))
        for name in LOGGERS:
            stack.enter_context(_level(logging.getLogger(name), logging.ERROR))
        stack.enter_context(_without_bars())
        yield


@contextmanager
def _exchanged(module_name: str, name: str, value: object) -> Iterator[None]:
    module = importlib.import_module(module_name)
    before = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, before)


def _git_commit() -> str | None:
    """The working directory's commit for the result file, without git's complaint where there is none."""
    git = shutil.which("git")
    if git is None:
        return None
    found = subprocess.run([git, "describe", "--always"], capture_output=True, text=True, check=False)  # noqa: S603
    return found.stdout.strip() or None


@contextmanager
def _level(logger: logging.Logger, level: int) -> Iterator[None]:
    before = logger.level
    logger.setLevel(level)
    try:
        yield
    finally:
        logger.setLevel(before)


@contextmanager
def _without_bars() -> Iterator[None]:
    switches: list[tuple[bool, Callable[[], None], Callable[[], None]]] = [
        (not datasets.are_progress_bars_disabled(), datasets.disable_progress_bars, datasets.enable_progress_bars),
        (transformers.is_progress_bar_enabled(), transformers.disable_progress_bar, transformers.enable_progress_bar),
    ]
    drawn = [(disable, enable) for is_drawn, disable, enable in switches if is_drawn]
    for disable, _ in drawn:
        disable()
    try:
        yield
    finally:
        for _, enable in drawn:
            enable()
