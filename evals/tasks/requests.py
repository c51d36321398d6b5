"""Build a benchmark's requests once, and ask them of every model of a study.

Drawing examples and rendering contexts takes longer than scoring a small model's choices, and gives the same each time.
Settings that decide what is asked are compared on every call, and what a model was answered is never kept.
"""

import copy
import dataclasses
from collections.abc import Callable
from typing import Any

from lm_eval.api.instance import Instance


class BuiltOnce:
    """Stands in for a task's `build_all_requests`: builds for new settings, and gives fresh copies after that."""

    def __init__(self, task: Any) -> None:  # noqa: ANN401  # lm_eval is untyped
        self._task = task
        self._build = task.build_all_requests
        self._settings: object = None
        self._built: list[Instance] = []

    def __call__(self, *, chat_template: Callable[..., str] | None = None, **settings: object) -> None:
        """Give the task its requests."""
        asked = (settings, _template(chat_template), dict(self._task.config.generation_kwargs or {}))
        if asked != self._settings:
            self._build(chat_template=chat_template, **settings)
            # Other settings take the place of those before: a study asks a task in one way.
            self._built, self._settings = [_fresh(instance) for instance in self._task.instances], copy.deepcopy(asked)
        self._task._instances = [_fresh(instance) for instance in self._built]  # noqa: SLF001


def _template(chat_template: Callable[..., str] | None) -> object:
    """What tells one chat template from another; the callable itself belongs to one model."""
    tokenizer = getattr(getattr(chat_template, "__self__", None), "tokenizer", None)
    return None if chat_template is None else getattr(tokenizer, "chat_template", chat_template)


def _fresh(instance: Instance) -> Instance:
    """The request without answers; its settings are its own, since whoever answers may change them."""
    return dataclasses.replace(instance, arguments=copy.deepcopy(instance.arguments), resps=[], filtered_resps={})
