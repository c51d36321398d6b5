"""Whether programs that a model wrote may run, and the one place where running them is switched on.

Some tasks grade a model by running its programs on this machine with the user's rights. They are refused before
anything of theirs is loaded, unless the study says so by name.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from evals.errors import TaskError
from evals.spec import ScoringSpec

# The `code_eval` metric of the `evaluate` library runs nothing without this variable.
SWITCH = "HF_ALLOW_CODE_EVAL"


def refuse_unsafe(task: str, scoring: ScoringSpec) -> None:
    """Raise TaskError for a task that runs generated programs, unless the study allows it."""
    if not scoring.allow_unsafe_code:
        raise TaskError(
            f"{task}: this task runs programs that the model wrote, unprotected, on this machine. Leave it out, or set "
            "evaluation.scoring.allow_unsafe_code: true where nothing can be harmed."
        )


@contextmanager
def code_execution(scoring: ScoringSpec) -> Iterator[None]:
    """Let metrics run generated programs while the block runs, where the study allows it."""
    if not scoring.allow_unsafe_code:
        yield
        return
    before = os.environ.get(SWITCH)
    os.environ[SWITCH] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[SWITCH]
        else:
            os.environ[SWITCH] = before
