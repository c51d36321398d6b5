"""`sweep compare` on what the stock lm-evaluation-harness wrote, and on trials and methods of a run."""

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from lm_eval.__main__ import cli_evaluate
from rich.console import Console
from transformers import AutoModelForCausalLM, AutoTokenizer

from evals.errors import InputError
from reports.compare import Comparison, compare, short_names
from reports.comparison_table import rendered
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
def scored(models: list[Path], tasks: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two stock output directories, as a user of the stock tool has them."""
    directory = tmp_path_factory.mktemp("stock")
    return [stock(model, tasks, directory / model.name, "--log_samples") for model in models]


@pytest.fixture(scope="module")
def otherwise(models: list[Path], tasks: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The second model asked in another way, and on fewer items."""
    output = tmp_path_factory.mktemp("otherwise")
    more = ("--log_samples", "--num_fewshot", "1", "--apply_chat_template", "--limit", "10")
    return stock(models[1], tasks, output, *more, names="toy_sums")


def reported(output: Path, task: str, key: str) -> float:
    (path,) = output.glob("*/results_*.json")
    return float(json.loads(path.read_text())["results"][task][key])


def named(found: Comparison) -> dict[str, Contrast]:
    return {verdict.contrast.metric: verdict.contrast for verdict in (*found.verdicts, *found.parts)}


def test_two_stock_directories_are_compared_on_all_that_are_means(scored: list[Path]) -> None:
    found = compare(*scored)

    contrasts = named(found)
    assert set(contrasts) == {
        "toy_choices/acc",
        *(f"{task}/{metric}" for task in ("toy_north", "toy_south") for metric in ("acc", "acc_norm")),
        "toy_sums/exact_match,strict-match",
        "toy_sums/exact_match,flexible-extract",
    }
    for metric, (task, key) in {
        "toy_choices/acc": ("toy_choices", "acc,none"),
        "toy_south/acc_norm": ("toy_south", "acc_norm,none"),
        "toy_sums/exact_match,strict-match": ("toy_sums", "exact_match,strict-match"),
    }.items():
        assert contrasts[metric].scores == pytest.approx([reported(output, task, key) for output in scored])
    assert contrasts["toy_choices/acc"].items == 2 * QUESTIONS
    assert contrasts["toy_north/acc"].part_of == "toy_choices"
    assert found.warnings == ()
    assert any("toy_text/bits_per_byte" in note for note in found.notes)
    assert {verdict.correction for verdict in found.verdicts} == {"Benjamini-Hochberg"}


def test_filters_of_one_task_are_compared_each_by_itself(scored: list[Path], tmp_path: Path) -> None:
    edited = shutil.copytree(scored[1], tmp_path / "edited")
    (samples,) = edited.glob("*/samples_toy_sums_*.jsonl")
    (results,) = edited.glob("*/results_*.json")
    lines = [json.loads(line) for line in samples.read_text().splitlines()]
    right = [line for line in lines if line["filter"] == "flexible-extract"][:9]
    for line in right:
        line["exact_match"] = 1.0
    samples.write_text("".join(json.dumps(line) + "\n" for line in lines))
    told = json.loads(results.read_text())
    told["results"]["toy_sums"]["exact_match,flexible-extract"] = 9 / QUESTIONS
    results.write_text(json.dumps(told))

    contrasts = named(compare(edited, scored[0]))

    assert contrasts["toy_sums/exact_match,flexible-extract"].difference == pytest.approx(9 / QUESTIONS)
    assert contrasts["toy_sums/exact_match,flexible-extract"].p_value == pytest.approx(2 / 2**9)
    assert contrasts["toy_sums/exact_match,flexible-extract"].test == "exact McNemar"
    assert contrasts["toy_sums/exact_match,strict-match"].difference == 0


def test_what_was_asked_otherwise_is_said(scored: list[Path], otherwise: Path) -> None:
    found = compare(scored[1], otherwise)

    said = " ".join(found.warnings)
    assert "the number of examples differs (0 against 1)" in said
    assert "the chat template differs" in said
    assert f"{QUESTIONS - 10} items only in" in said
    assert "10 shared items asked with another prompt" in said
    assert any("toy_choices" in note or "toy_north" in note for note in found.notes)


def test_the_command_prints_a_table_or_json_and_ends_well(
    scored: list[Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert cli.main(["compare", *map(str, scored), "--metric", "toy_choices/acc"]) == 0
    shown = capsys.readouterr().out
    assert "toy_choices/acc" in shown
    assert "toy_sums" not in shown.split("Only")[0].split("Left out")[0]

    assert cli.main(["compare", *map(str, scored), "--json", "--margin", "0.2"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {row["metric"] for row in told["verdicts"]} >= {"toy_choices/acc"}
    assert told["verdicts"][0]["margin"] == 0.2


def test_what_cannot_be_compared_is_one_line_and_exit_code_2(
    scored: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    bare = shutil.copytree(scored[0], tmp_path / "bare")
    for samples in bare.glob("*/samples_*"):
        samples.unlink()
    shutil.copytree(scored[0], tmp_path / "two", dirs_exist_ok=True)
    shutil.copytree(scored[1], tmp_path / "two", dirs_exist_ok=True)
    cases = [
        ([scored[0], tmp_path / "gone"], "no such file or directory"),
        ([scored[0], tmp_path / "empty"], "no scores here"),
        ([scored[0], bare], "Score again with --log_samples"),
        ([scored[0], tmp_path / "two"], "holds the scores of several models"),
        ([*scored, "--metric", "toy_choices/f1"], "both were not scored by it"),
        ([*scored, "--margin", "0"], "is not above 0"),
    ]
    for arguments, complaint in cases:
        assert cli.main(["compare", *map(str, arguments)]) == 2
        told = capsys.readouterr().err
        assert complaint in told
        assert len(told.splitlines()) == 1


@pytest.mark.parametrize(("width", "has"), [(80, False), (160, True)])
def test_a_narrow_terminal_gets_fewer_columns_and_no_cut_ones(
    width: int,
    has: bool,
    finished_run: RunDirectory,
) -> None:
    found = compare(finished_run.path / "confirm/lora", finished_run.path / "confirm/full")
    console = Console(width=width)
    with console.capture() as shown:
        console.print(rendered(found))
    table = shown.get().partition("lora scored")[0]

    assert "…" not in table
    assert "own/exact_match ↑" in table
    assert "difference" in table
    assert "verdict" in table
    assert ("unpaired" in table) is has


def test_two_that_answered_other_rows_of_one_study_are_told_which_rows(finished_run: RunDirectory) -> None:
    with pytest.raises(InputError, match=r"items of own, .*: no two are the same item\. In a run directory, search/"):
        compare(finished_run.path / "confirm/lora/seed-1", finished_run.path / "baseline")


def test_a_methods_seeds_are_one_side(finished_run: RunDirectory) -> None:
    confirm = finished_run.path / "confirm"

    found = named(compare(confirm / "lora", confirm / "full"))["own/exact_match"]

    assert (found.one, found.other, found.seeds, found.seed_noise) == ("lora", "full", (3, 3), "measured")
    assert found.difference == pytest.approx(2 / 60)


def test_a_trial_its_evaluation_and_its_results_file_are_the_same(finished_run: RunDirectory) -> None:
    trial = finished_run.path / "confirm" / "lora" / "seed-1"
    (results,) = (trial / "eval").glob("results_*.json")
    base = finished_run.path / "confirm" / "baseline"

    found = [named(compare(place, base))["own/exact_match"] for place in (trial, trial / "eval", results)]

    assert len({(one.difference, one.p_value, one.interval) for one in found}) == 1
    assert found[0].seed_noise == "unknown"


def test_paths_are_named_by_what_tells_them_apart() -> None:
    assert short_names(Path("r/confirm/lora"), Path("r/confirm/full")) == ("lora", "full")
    assert short_names(Path("a/eval"), Path("b/eval")) == ("a", "b")
    assert short_names(Path("a"), Path("a")) == ("a", "a again")
