"""`sweep eval`: the stock tool's flags, however they are spelt, and what comes of them."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from evals.result import EvalResult
from evals.spec import ModelSpec, ScoringSpec, TaskSpec
from sweep import api, cli

Heard = dict[str, object]
NOTHING = EvalResult(metrics={}, task_versions={}, samples={}, seconds={})


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> Heard:
    """What the command asks to be scored; nothing is."""
    asked: Heard = {}

    def score_model(model: object, tasks: object, **settings: object) -> EvalResult:
        asked.update(settings, model=model, tasks=tasks)
        return NOTHING

    monkeypatch.setattr(api, "score_model", score_model)
    return asked


FLAGS: Mapping[str, str | None] = {
    "--tasks": "mmlu,gsm8k",
    "--num_fewshot": "5",
    "--limit": "0.25",
    "--batch_size": "4",
    "--apply_chat_template": None,
    "--trust_remote_code": None,
    "--gen_kwargs": r'temperature=0.5,until=["\n"]',
    "--output_path": "out",
    "--data_root": "hub",
}


@pytest.mark.parametrize("spelling", ["underscores", "dashes"])
def test_the_stock_tools_flags_are_taken_with_underscores_and_with_dashes(
    heard: Heard, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, spelling: str
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ["eval", "some/model"]
    for flag, value in FLAGS.items():
        arguments.append("--" + flag[2:].replace("_", "-") if spelling == "dashes" else flag)
        arguments += [] if value is None else [value]

    assert cli.main(arguments) == 0

    generation = {"temperature": 0.5, "until": ("\n",)}
    assert heard["tasks"] == tuple(
        TaskSpec(task=name, num_fewshot=5, limit=0.25, apply_chat_template=True, gen_kwargs=generation)
        for name in ("mmlu", "gsm8k")
    )
    assert heard["scoring"] == ScoringSpec(batch_size=4, data_root=tmp_path / "hub")
    assert heard["output"] == Path("out")
    assert heard["model"] == ModelSpec(model_name_or_path="some/model", dtype="bfloat16", trust_remote_code=True)


def test_a_limit_is_a_number_from_one_on(heard: Heard) -> None:
    assert cli.main(["eval", "some/model", "--tasks", "mmlu", "--limit", "10"]) == 0

    assert heard["tasks"] == (TaskSpec(task="mmlu", limit=10),)


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        (["--limit", "2.5"], "limit is 2.5; it must be a share below 1 or a whole number"),
        (["--limit", "0"], "--limit"),
        (["--gen_kwargs", "hot"], "--gen_kwargs: 'hot' is not name=value"),
    ],
)
def test_a_flag_that_makes_no_sense_is_one_line_and_exit_code_2(
    heard: Heard, capsys: pytest.CaptureFixture[str], flags: list[str], complaint: str
) -> None:
    assert cli.main(["eval", "some/model", "--tasks", "mmlu", *flags]) == 2

    told = capsys.readouterr().err
    assert complaint in told
    assert len(told.strip().splitlines()) == 1
    assert heard == {}


@pytest.mark.shared
def test_a_model_is_scored_from_a_directory_of_benchmarks(
    tiny_model: Path, shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--tasks", "gsm8k", "--limit", "2", "--gen_kwargs", "max_gen_toks=4", "--num-fewshot", "0"]
    places = ["--data_root", str(shared_data / "hub"), "--output_path", str(tmp_path / "out"), "--cache", str(tmp_path)]

    assert cli.main(["eval", str(tiny_model), "--dtype", "float32", *arguments, *places]) == 0

    assert "per-item answers:" in capsys.readouterr().out
    results = json.loads(next((tmp_path / "out").glob("results_*.json")).read_text("utf-8"))
    assert results["configs"]["gsm8k"]["dataset_path"] == "openai/gsm8k"
    assert {"exact_match,strict-match", "exact_match,flexible-extract"} <= results["results"]["gsm8k"].keys()
    assert results["config"]["limit"] == 2.0


def test_tasks_may_be_separated_by_spaces_as_the_stock_tool_takes_them(heard: Heard) -> None:
    assert cli.main(["eval", "some/model", "--tasks", "mmlu", "gsm8k", "--limit", "3"]) == 0

    assert heard["tasks"] == (TaskSpec(task="mmlu", limit=3), TaskSpec(task="gsm8k", limit=3))
