"""Whether programs that a model wrote may run, and where: the one place that decides.

Tasks whose programs are graded by `code_eval` run them in a sandbox. Any other task that runs code does so by itself,
with the user's rights, and is refused before anything of it is loaded, unless the study allows it by name. That
permission also lets graded programs run where this machine has no sandbox to offer; where it has one, it is used.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from evals.code.code_eval import GRADER, NAME, CodeEval, Grader
from evals.code.sandbox import Sandbox
from evals.code.selftest import choose_sandbox
from evals.code.unprotected import Unprotected
from evals.errors import TaskError
from evals.spec import ScoringSpec

# Metrics of the `evaluate` library that run programs do nothing without this variable.
SWITCH = "HF_ALLOW_CODE_EVAL"
# Folders of lm-evaluation-harness whose tasks run code through `code_eval` and in no other way.
_SANDBOXED_FOLDERS = frozenset({"humaneval", "humaneval_infilling", "mbpp"})


def is_sandboxed(defined_in: Path | None) -> bool:
    """Whether a task that runs code, defined in a file, runs it through `code_eval` only."""
    harness = find_spec("lm_eval")
    if defined_in is None or harness is None or harness.origin is None:
        return False
    tasks = Path(harness.origin).parent / "tasks"
    return defined_in.parent in {tasks / folder for folder in _SANDBOXED_FOLDERS}


def refuse_unsafe(task: str, scoring: ScoringSpec, *, sandboxed: bool) -> None:
    """Raise TaskError for a task that runs programs, unless they can be isolated or the study allows it."""
    if sandboxed:
        _choose(task, scoring)
    elif not scoring.allow_unsafe_code:
        raise TaskError(
            f"{task}: this task runs programs that the model wrote in a way that cannot be isolated. Leave it out, or "
            "set evaluation.scoring.allow_unsafe_code: true where nothing can be harmed."
        )


def _choose(task: str, scoring: ScoringSpec) -> Sandbox:
    try:
        return choose_sandbox()
    except TaskError as error:
        if scoring.allow_unsafe_code:
            return Unprotected()
        raise TaskError(
            f"{task}: {error}, or set evaluation.scoring.allow_unsafe_code: true where nothing can be harmed."
        ) from error


@contextmanager
def code_execution(scoring: ScoringSpec, prompts: Mapping[str, str] | None = None) -> Iterator[None]:
    """Let metrics grade programs while the block runs: `code_eval` in a sandbox, others where the study allows it."""
    import evaluate

    grader = Grader(partial(_choose, "scoring", scoring), prompts or {})
    token = GRADER.set(grader)
    load = evaluate.load
    evaluate.load = _without_fetching(load, is_local=scoring.data_root is not None)
    try:
        with _switched_on(scoring):
            yield
    finally:
        evaluate.load = load
        GRADER.reset(token)


def _without_fetching(load: Callable[..., object], *, is_local: bool) -> Callable[..., object]:
    def load_metric(path: str, *arguments: object, **keywords: object) -> object:
        if path == NAME:
            return CodeEval()
        # A metric of the `evaluate` library is Python code, taken from the newest state of a repository on the Hub.
        if not is_local and not Path(path).exists():
            raise TaskError(
                f"the metric {path!r} is code from the Hub, which is not run unread. Fetch it with sweep prefetch, "
                "read it, and set evaluation.scoring.data_root (--data_root for sweep eval)."
            )
        return load(path, *arguments, **keywords)

    return load_metric


@contextmanager
def _switched_on(scoring: ScoringSpec) -> Iterator[None]:
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
