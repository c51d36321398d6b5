"""`sweep compare` on what the stock lm-evaluation-harness wrote, and on trials and methods of a run."""

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from lm_eval.__main__ import cli_evaluate
from transformers import AutoModelForCausalLM, AutoTokenizer

from evals.errors import InputError
from reports.compare import compare, short_names
from reports.contrast import Contrast
from sweep import cli
from sweep.store import RunDirectory

QUESTIONS = 24
TASKS = {
    "toy_north": """\
task: toy_north
tag: toys
dataset_path: json
dataset_kwargs: {data_files: {test: DATA/choices-north.jsonl}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{question}}"
doc_to_target: "{{answer}}"
doc_to_choice: "{{choices}}"
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
  - {metric: acc_norm, aggregation: mean, higher_is_better: true}
metadata: {version: 1.0}
""",
    "toy_sums": """\
task: toy_sums
dataset_path: json
dataset_kwargs: {data_files: {test: DATA/sums.jsonl}}
test_split: test
output_type: generate_until
doc_to_text: "{{question}}"
doc_to_target: "{{answer}}"
generation_kwargs: {until: ["\\n"], do_sample: false, max_gen_toks: 6}
filter_list:
  - name: strict-match
    filter: [{function: regex, regex_pattern: "#### (\\\\-?[0-9.,]+)"}, {function: take_first}]
  - name: flexible-extract
    filter: [{function: regex, group_select: -1, regex_pattern: "(.)"}, {function: take_first}]
metric_list:
  - {metric: exact_match, aggregation: mean, higher_is_better: true}
metadata: {version: 3.0}
""",
    "toy_text": """\
task: toy_text
dataset_path: json
dataset_kwargs: {data_files: {test: DATA/sums.jsonl}}
test_split: test
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{question}}"
metric_list:
  - {metric: bits_per_byte, higher_is_better: false}
metadata: {version: 1.0}
""",
    "toy_choices": """\
group: toy_choices
task: [toy_north, toy_south]
aggregate_metric_list:
  - {metric: acc, weight_by_size: true}
metadata: {version: 1.0}
""",
}


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A group of two choice tasks, a task with two filters, and one whose score is no mean over items."""
    directory = tmp_path_factory.mktemp("tasks")
    for name in ("north", "south"):
        rows = [
            {"question": f"{name} {place}?", "choices": [" yes", " no!", " x"], "answer": place % 3}
            for place in range(QUESTIONS)
        ]
        (directory / f"choices-{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    sums = [{"question": f"{place} and {place}?", "answer": "aeiou"[place % 5]} for place in range(QUESTIONS)]
    (directory / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in sums))
    texts = TASKS | {"toy_south": TASKS["toy_north"].replace("north", "south")}
    for name, text in texts.items():
        (directory / f"{name}.yaml").write_text(text.replace("DATA", str(directory)))
    return directory


@pytest.fixture(scope="module")
def models(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two tiny models with other weights; large ones, so that answers differ from item to item."""
    made = []
    for seed in (1, 2):
        directory = tmp_path_factory.mktemp("models") / f"model-{seed}"
        model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
        torch.manual_seed(seed)
        with torch.no_grad():
            for weight in model.parameters():
                if weight.dim() > 1:
                    weight.copy_(torch.randn_like(weight) * 0.3)
        model.save_pretrained(directory)
        AutoTokenizer.from_pretrained(tiny_model).save_pretrained(directory)
        made.append(directory)
    return made


def stock(model: Path, tasks: Path, output: Path, *more: str, names: str = "toy_choices,toy_sums,toy_text") -> Path:
    """Score a model by the stock tool's own command."""
    arguments = ["lm_eval", "run", "--model", "hf", "--model_args", f"pretrained={model},dtype=float32"]
    arguments += ["--tasks", names, "--include_path", str(tasks), "--output_path", str(output), "--device", "cpu"]
    before = sys.argv
    sys.argv = [*arguments, "--batch_size", "8", *more]
    try:
        cli_evaluate()
    finally:
        sys.argv = before
    return output


@pytest.fixture(scope="module")
def scored(models: list[Path], tasks: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Path]]:
    """Two stock output directories, as a user of the stock tool has them."""
    directory = tmp_path_factory.mktemp("stock")
    yield [stock(model, tasks, directory / model.name, "--log_samples") for model in models]


def reported(output: Path, task: str, key: str) -> float:
    (path,) = output.glob("*/results_*.json")
    return float(json.loads(path.read_text())["results"][task][key])


def by_metric(verdicts: object) -> dict[str, Contrast]:
    return {verdict.contrast.metric: verdict.contrast for verdict in verdicts}  # type: ignore[attr-defined]


def test_two_stock_directories_are_compared_on_every_metric_that_is_a_mean(scored: list[Path]) -> None:
    found = compare(*scored)

    contrasts = by_metric(found.verdicts)
    print(found)
