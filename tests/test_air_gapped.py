"""A study whose model, rows and benchmark are the Hub's: fetched by one command, then run whole without a network."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sweep.store import RunDirectory

TOYS = Path(__file__).parent / "toys"
sys.path.insert(0, str(TOYS))

STUDY = """\
name: gapped
model: {model_name_or_path: toys/tiny, dtype: float32}
data: {train: toys/tickets, validation: 0.2, test: 0.2}
methods: [lora]
training: {num_train_epochs: 1, effective_batch_size: 8, max_length: 128, validations: 1}
evaluation:
  confirm: [own, {task: gsm8k, num_fewshot: 1, limit: 2, gen_kwargs: {max_gen_toks: 4}}]
  scoring: {max_new_tokens: 4}
budget: {trials_per_method: 1, confirm_seeds: 1}
"""
FORBIDDEN = 77


def sweep(program: list[str], *arguments: str, cwd: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run the command with nothing in its environment that would keep it from the Hub."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    environment |= {"SWEEP_CACHE": str(cwd / "cache"), "HF_HOME": str(cwd / "home"), "COLUMNS": "160", **settings}
    return subprocess.run(
        [sys.executable, *program, *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=environment,
        timeout=400,
        check=False,
    )


@pytest.fixture
def endpoint(tiny_model: Path) -> Iterator[str]:
    """A Hub on this machine that holds all that the study names."""
    import fake_hub

    tickets = [{"prompt": f"say {n % 7} {n}", "completion": f"digit {n % 7}"} for n in range(60)]
    problems = [{"question": f"What is {n} plus 1?", "answer": f"One more.\n#### {n + 1}"} for n in range(4)]
    lines = ["\n".join(map(json.dumps, rows)).encode() for rows in (tickets, problems)]
    readme = (
        b"---\nconfigs:\n- config_name: main\n  data_files:\n"
        b"  - {split: train, path: main/train.jsonl}\n  - {split: test, path: main/test.jsonl}\n---\n"
    )
    repositories = {
        "models/toys/tiny": {path.name: path.read_bytes() for path in tiny_model.iterdir()},
        "datasets/toys/tickets": {"train.jsonl": lines[0]},
        "datasets/openai/gsm8k": {"README.md": readme, "main/train.jsonl": lines[1], "main/test.jsonl": lines[1]},
    }
    with fake_hub.serving(fake_hub.FakeHub(repositories)) as hub:
        yield hub.endpoint


def test_a_prefetched_study_runs_whole_where_there_is_no_network(endpoint: str, tmp_path: Path) -> None:
    (tmp_path / "gapped.yaml").write_text(STUDY)
    command = ["-c", "import sys; from sweep.cli import main; sys.exit(main())"]
    fetched = sweep(
        command, "prefetch", "gapped.yaml", "--to", "hub", cwd=tmp_path, HF_ENDPOINT=endpoint, HF_HUB_DISABLE_XET="1"
    )
    assert fetched.returncode == 0, fetched.stderr

    ran = sweep(
        [str(TOYS / "without_network.py")],
        *("run", "gapped.yaml", "--set", "evaluation.scoring.data_root=hub"),
        cwd=tmp_path,
    )

    if ran.returncode == FORBIDDEN:
        pytest.skip(f"no user namespaces here: {ran.stderr}")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    run = RunDirectory(tmp_path / "runs" / "gapped")
    finalist = run.confirm_trial("lora", 1).read_record()
    assert finalist is not None
    assert finalist.evaluation is not None
    assert {"own/loss", "gsm8k/exact_match,strict-match"} <= finalist.evaluation.metrics.keys()
    assert (run.report / "index.html").is_file()
