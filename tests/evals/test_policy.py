"""Refusing to run programs that a model wrote."""

import os

import pytest

from evals.code.policy import SWITCH, code_execution, refuse_unsafe
from evals.errors import TaskError
from evals.spec import ScoringSpec

ALLOWED = ScoringSpec(allow_unsafe_code=True)


def test_refusal_names_the_key_that_would_allow_it() -> None:
    with pytest.raises(TaskError, match=r"humaneval: .*evaluation\.scoring\.allow_unsafe_code: true"):
        refuse_unsafe("humaneval", ScoringSpec())
    refuse_unsafe("humaneval", ALLOWED)


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
