"""Which programs may run, and where."""

import os
from pathlib import Path

import evaluate
import lm_eval.tasks
import pytest

from evals.code import policy
from evals.code.code_eval import GRADER, CodeEval
from evals.code.policy import SWITCH, code_execution, is_sandboxed, refuse_unsafe
from evals.code.unprotected import Unprotected
from evals.errors import TaskError
from evals.spec import ScoringSpec

ALLOWED = ScoringSpec(allow_unsafe_code=True)
TASKS = Path(lm_eval.tasks.__file__).parent


@pytest.fixture
def _no_sandbox(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise TaskError("no isolation here")

    monkeypatch.setattr(policy, "choose_sandbox", refuse)


def test_a_task_that_cannot_be_isolated_is_refused_with_the_key_that_would_allow_it() -> None:
    with pytest.raises(TaskError, match=r"longproc: .*evaluation\.scoring\.allow_unsafe_code: true"):
        refuse_unsafe("longproc", ScoringSpec(), sandboxed=False)
    refuse_unsafe("longproc", ALLOWED, sandboxed=False)


@pytest.mark.usefixtures("_no_sandbox")
def test_without_a_sandbox_a_task_is_refused_with_the_reason_and_never_run_bare_by_itself() -> None:
    with pytest.raises(TaskError, match=r"humaneval: no isolation here, or .*allow_unsafe_code: true"):
        refuse_unsafe("humaneval", ScoringSpec(), sandboxed=True)
    with code_execution(ScoringSpec()), pytest.raises(TaskError, match="no isolation here"):
        GRADER.get().prepare()


@pytest.mark.usefixtures("_no_sandbox")
def test_without_a_sandbox_permission_runs_programs_unprotected() -> None:
    refuse_unsafe("humaneval", ALLOWED, sandboxed=True)
    with code_execution(ALLOWED):
        assert isinstance(GRADER.get().sandbox, Unprotected)


def test_only_tasks_known_to_use_the_metric_count_as_isolated(tmp_path: Path) -> None:
    assert is_sandboxed(TASKS / "humaneval" / "humaneval_64.yaml")
    assert is_sandboxed(TASKS / "mbpp" / "mbpp.yaml")
    assert not is_sandboxed(TASKS / "longproc" / "pseudo_to_code_2k.yaml")
    assert not is_sandboxed(tmp_path / "humaneval" / "humaneval.yaml")
    assert not is_sandboxed(None)


def test_the_metric_is_ours_within_the_block_and_the_library_is_put_back() -> None:
    before = evaluate.load
    with code_execution(ScoringSpec()):
        assert isinstance(evaluate.load("code_eval"), CodeEval)
    assert evaluate.load is before
    assert GRADER.get(None) is None


def test_running_code_is_switched_on_only_where_allowed_and_only_for_the_block(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(SWITCH, raising=False)

    with code_execution(ScoringSpec()):
        assert SWITCH not in os.environ
    with code_execution(ALLOWED):
        assert os.environ[SWITCH] == "1"
    assert SWITCH not in os.environ


def test_an_earlier_setting_is_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SWITCH, "0")

    with code_execution(ALLOWED):
        pass

    assert os.environ[SWITCH] == "0"


def test_a_metric_that_is_code_from_the_hub_is_not_run_unread(tmp_path) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "own.py").write_text("raise ZeroDivisionError('it ran')\n")

    with code_execution(ScoringSpec()):
        with pytest.raises(TaskError, match=r"'exact_match' is code from the Hub, which is not run unread"):
            evaluate.load("exact_match")
        with pytest.raises(ZeroDivisionError, match="it ran"):
            evaluate.load(str(tmp_path / "own"))
