"""Tables in a terminal of 80 columns: what a person came for is not cut."""

import io
from pathlib import Path

import pytest
from rich.console import Console
from toy_runner import record, toy_study

from sweep.budget import Spending
from sweep.config import configure
from sweep.display import status_table, study_summary
from sweep.events import Event, PhaseStarted, StudyEnded
from sweep.live import study_display
from sweep.options import PlainConsole
from sweep.spec import StudySpec
from sweep.status import MethodStatus, RunStatus

RATE = "methods.lora.training.learning_rate"
RANK = "methods.lora.peft.lora_r"


def _shown(what: object, width: int = 80) -> str:
    console = Console(width=width)
    with console.capture() as shown:
        console.print(what)
    return shown.get()


def _status(spec: StudySpec) -> RunStatus:
    params = {RATE: 0.000448123, RANK: 16}
    best = record(configure(spec, "lora", params, phase="search", number=1, seed=0, data_root=Path()), value=5.5)
    method = MethodStatus({"complete": 10, "pruned": 2}, Spending(trials=12), best, 1, 60.0)
    return RunStatus(spec, "search", {"lora": method}, 120.0, ())


def test_the_params_of_the_best_trial_are_shown_whole() -> None:
    shown = _shown(status_table(_status(toy_study(budget={"trials_per_method": 12, "confirm_seeds": 2}))))

    assert "learning_rate=0.000448" in shown
    assert "lora_r=16" in shown
    assert "1 of 2" in shown
    assert "…" not in shown


def test_one_seed_and_one_method_are_not_several() -> None:
    lora = {"kind": "lora", "peft": {}, "training": {}}
    spec = toy_study(methods={"lora": lora}, budget={"trials_per_method": 1, "confirm_seeds": 1})
    shown = _shown(study_summary(spec), 200)

    assert "1 method (lora), 1 trial each by own/loss, then 1 fresh seed for each method's best config." in shown


@pytest.mark.parametrize("is_terminal", [False, True])
def test_a_study_that_had_nothing_left_to_run_says_so(*, is_terminal: bool) -> None:
    def said(*events: Event) -> str:
        console = PlainConsole(file=io.StringIO(), width=100, force_terminal=is_terminal)
        with study_display(toy_study(), console) as show:
            for event in events:
                show(event)
        return console.file.getvalue()

    assert "Nothing was left to run. A larger budget in the study file goes on from here." in said(StudyEnded("toy"))
    assert "Nothing" not in said(PhaseStarted("confirm", 1), StudyEnded("toy"))
