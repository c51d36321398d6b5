"""No record, run directory or result file, however wrong, gets anything but one of our errors, or is left out."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hostile_values import VALUES, mutated, written
from hypothesis import given, settings
from hypothesis import strategies as st
from reported_run import build_run, toy_study

from evals.errors import ToolError
from evals.items import read_items, read_sample_file
from reports.benchmarks import read_benchmarks
from reports.scored import read_scored
from reports.sides import read_groups
from sweep.openings import read_openings
from sweep.record import TrialRecord
from sweep.rerun.parts import read_losses
from sweep.store import RunDirectory, read_config, read_record, trained_tokens
from sweep.tracking.payload import read_steps

STAMP = "2026-01-02T03-04-05.000000"
RESULTS: dict[str, Any] = {
    "results": {"own": {"loss,none": 1.0, "loss_stderr,none": "N/A"}, "toy": {"acc,none": 0.5, "alias": "toy"}},
    "higher_is_better": {"own": {"loss": False}, "toy": {"acc": True}},
    "group_subtasks": {"mmlu": ["mmlu_a"], "mmlu_a": []},
    "configs": {"toy": {"dataset_path": "a/b", "num_fewshot": 0, "metadata": {"version": 1.0}}},
    "versions": {"toy": 1.0}, "n-shot": {"toy": 0}, "n-samples": {"toy": {"original": 2, "effective": 2}},
    "config": {"model": "hf", "limit": None},
}  # fmt: skip
SAMPLE: dict[str, Any] = {
    "doc_id": 0, "doc": {"row": 1, "prompt": "p", "group": None}, "target": "1", "arguments": {}, "resps": [["1"]],
    "filtered_resps": ["1"], "filter": "none", "metrics": ["acc", "macro_f1"], "doc_hash": "h", "prompt_hash": "p",
    "target_hash": "t", "acc": 1.0, "macro_f1": ["a", "b"],
}  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    return build_run(tmp_path_factory.mktemp("fuzzed"), toy_study(("lora",), trials=1, seeds=1))


def refused_or_read(read: Callable[[], object]) -> object:
    """What was read, or nothing where it was refused in one line that can be printed."""
    try:
        return read()
    except ToolError as error:
        said = str(error)
        assert len(said) < 5_000
        return None


def text_of(value: object) -> bytes:
    return written(value).encode("utf-8", "surrogatepass")


def test_records(effort: settings, run: RunDirectory, tmp_path: Path) -> None:
    good = json.loads(run.search_trial("lora", 0).record.read_text("utf-8"))
    path = tmp_path / "record.json"

    @effort
    @given(mutated(good).map(text_of) | st.binary(max_size=99))
    def check(content: bytes) -> None:
        path.write_bytes(content)
        read = refused_or_read(lambda: read_record(path))
        assert read is None or isinstance(read, TrialRecord)

    check()


@pytest.mark.parametrize("name", ["study", "config"])
def test_studies_and_configs_of_a_run(effort: settings, run: RunDirectory, tmp_path: Path, name: str) -> None:
    source = run.study_file if name == "study" else run.search_trial("lora", 0).config
    good = yaml.safe_load(source.read_text("utf-8"))
    path = tmp_path / f"{name}.yaml"
    read = RunDirectory(tmp_path).read_study if name == "study" else lambda: read_config(path)

    @effort
    @given(mutated(good).map(text_of) | st.binary(max_size=99))
    def check(content: bytes) -> None:
        path.write_bytes(content)
        refused_or_read(read)

    check()


def test_lines_beside_a_record(effort: settings, run: RunDirectory, tmp_path: Path) -> None:
    copy = RunDirectory(tmp_path / "copy")
    shutil.copytree(run.path, copy.path)
    trial = copy.search_trial("lora", 0)
    good = json.loads(trial.steps.read_text("utf-8").splitlines()[0])
    opening = {"at": "2026-01-02T03:04:05Z", "by": "study", "who": "x", "tasks": ["own"]}

    @effort
    @given(st.lists((mutated(good) | mutated(opening) | VALUES).map(text_of) | st.binary(max_size=30), max_size=4))
    def check(lines: list[bytes]) -> None:
        trial.steps.write_bytes(b"\n".join(lines))
        copy.test_openings.write_bytes(b"\n".join(lines))
        assert trained_tokens(trial) >= 0
        list(read_steps(trial.steps))
        read_losses(trial.steps, "loss")
        read_openings(copy)

    check()


def test_results_and_samples_of_lm_eval(effort: settings, tmp_path: Path) -> None:
    results, samples = tmp_path / f"results_{STAMP}.json", tmp_path / f"samples_toy_{STAMP}.jsonl"
    own = tmp_path / f"samples_own_{STAMP}.jsonl"

    @effort
    @given(mutated(RESULTS), mutated(SAMPLE) | VALUES, mutated(SAMPLE))
    def check(result: object, sample: object, owned: object) -> None:
        results.write_bytes(text_of(result))
        samples.write_bytes(text_of(SAMPLE) + b"\n" + text_of(sample))
        own.write_bytes(text_of(owned))
        refused_or_read(lambda: read_items(tmp_path))
        refused_or_read(lambda: read_sample_file(samples))
        refused_or_read(lambda: read_scored(tmp_path, "one"))
        refused_or_read(lambda: read_benchmarks(tmp_path))
        refused_or_read(lambda: read_groups([tmp_path]))

    check()
