"""Load one model and score it, as `sweep eval` does."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from evals.errors import TaskError
from evals.result import EvalResult
from evals.score import score_model
from evals.spec import ModelSpec, ScoringSpec, TaskSpec

SCORE = """
import sys
from pathlib import Path
from evals.score import score_model
from evals.spec import ModelSpec, ScoringSpec, TaskSpec
model, output = sys.argv[1:]
tasks = [TaskSpec(task="gsm8k", num_fewshot=1, limit=2), TaskSpec(task="mmlu_abstract_algebra", limit=3)]
model, scoring, cache = ModelSpec(model_name_or_path=model), ScoringSpec(batch_size=2), Path(output)
result = score_model(model, tasks, scoring, cache=cache, output=cache / "eval")
print(result.model_dump_json())
"""


def test_a_model_is_loaded_and_scored_in_one_call(tiny_model: Path, write_own, tmp_path: Path) -> None:
    own = write_own([("a", "b"), ("c", "d")], "text")

    result = score_model(
        ModelSpec(model_name_or_path=str(tiny_model)),
        [TaskSpec(task="own")],
        ScoringSpec(batch_size=2),
        cache=tmp_path,
        output=tmp_path / "eval",
        own=own,
    )

    assert result.metrics["own/loss"].n == 2
    assert (tmp_path / "eval" / result.samples["own"]).is_file()


def test_a_task_that_cannot_be_asked_is_refused_before_the_model_is_loaded(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="no data of the user's"):
        score_model(
            ModelSpec(model_name_or_path="nobody/no-model"),
            [TaskSpec(task="own")],
            ScoringSpec(),
            cache=tmp_path,
            output=tmp_path / "eval",
        )


@pytest.mark.shared
@pytest.mark.slow
def test_benchmarks_are_read_from_folders_named_like_their_data_sets(
    tiny_model: Path, shared_data: Path, tmp_path: Path
) -> None:
    # `datasets` keys its cache by names and not by contents, so it gets one of its own.
    environment = {**os.environ, "HF_DATASETS_CACHE": str(tmp_path / "datasets"), "PYTHONPATH": str(Path.cwd())}
    done = subprocess.run(
        [sys.executable, "-c", SCORE, str(tiny_model), str(tmp_path)],
        cwd=shared_data / "hub",
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    result = EvalResult.model_validate_json(done.stdout.splitlines()[-1])
    assert {name: metric.n for name, metric in result.metrics.items()} == {
        "gsm8k/exact_match,strict-match": 2,
        "gsm8k/exact_match,flexible-extract": 2,
        "mmlu_abstract_algebra/acc": 3,
    }
    samples = (tmp_path / "eval" / result.samples["mmlu_abstract_algebra"]).read_text().splitlines()
    assert len(samples) == 3
    assert json.loads(samples[0])["doc"]["subject"] == "abstract_algebra"
    assert "not a git repository" not in done.stderr
