"""Task names, read without importing lm-evaluation-harness."""

import subprocess
import sys
from pathlib import Path

import pytest

from evals.errors import TaskError
from evals.tasks.names import known_tasks, refuse_unknown


def test_every_name_that_the_library_knows_is_found(tmp_path: Path) -> None:
    (tmp_path / "base").write_text("tag:\n  - from_list\n  # a remark\n  - 'from_quotes'\n")
    (tmp_path / "one.yaml").write_text('include: base\ntask: plain # a remark\ntag: [ "inline", other ]\n')
    (tmp_path / "two.yaml").write_text("group: bundle\ntask:\n  - plain\n")

    added = known_tasks(tmp_path) - known_tasks()

    assert added >= {"plain", "from_list", "from_quotes", "inline", "other", "bundle"}
    assert known_tasks() >= {"mmlu", "gsm8k", "humaneval", "hellaswag", "mmlu_abstract_algebra", "ai2_arc"}


@pytest.mark.slow
def test_no_name_of_the_library_is_missing() -> None:
    from lm_eval.tasks import TaskManager

    assert known_tasks() >= set(TaskManager().all_tasks)


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(TaskError, match=r"gsm8: no task.*Did you mean 'gsm8k'"):
        refuse_unknown("gsm8", {"gsm8k", "mmlu"})
    with pytest.raises(TaskError, match="lm_eval ls tasks"):
        refuse_unknown("nothing-like-it", {"gsm8k", "mmlu"})


def test_reading_names_and_items_and_grading_import_no_torch() -> None:
    code = (
        "import sys, evals.items, evals.tasks.names, evals.tasks.answers, evals.tasks.aggregate, evals.code.policy; "
        "sys.exit(any(name in sys.modules for name in ('torch', 'lm_eval', 'transformers', 'datasets')))"
    )

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
