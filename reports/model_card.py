"""A card for each method's finalist: what it is, what it scores, how sure that is, and how to make it again.

Publishing a model means putting one seed's checkpoint beside its card: `README.md` with the Hub's metadata, in which
`model-index` holds every score, and `.eval_results/`, from which the Hub's leaderboards read benchmarks. Both are
written by the Hub's own library. A score on one's own rows stands in the first alone: no leaderboard knows them.
"""

import re
from collections.abc import Mapping, Sequence
from io import StringIO

from huggingface_hub import EvalResult, EvalResultEntry, ModelCardData, eval_result_entries_to_yaml
from ruamel.yaml import YAML

from evals.spec import RENDERED_TASKS, TaskSpec
from reports import card_text, markdown
from reports.benchmarks import HUB_NAME, Benchmark, read_benchmarks
from reports.gather import Gathered
from reports.statistics import Estimate
from reports.summary import MethodSummary, Summary
from reports.verdict import Verdict

TASK_TYPE, TASK_NAME = "text-generation", "Text Generation"
MAIN_METRICS = ("exact_match,strict-match", "exact_match", "acc", "pass@1", "prompt_level_strict_acc")
"""What a benchmark is known by, the first that it has; leaderboards show one number a task."""
PERCENT = 100


def build_cards(gathered: Gathered, summary: Summary, verdicts: Sequence[Verdict] = ()) -> dict[str, str]:
    """Texts by path within the report: `cards/METHOD/README.md`, and a file for each benchmark beside it."""
    files = {}
    for method in summary.methods:
        if not method.scored or summary.split != "test":
            continue
        place = f"cards/{method.name}"
        sources = _benchmarks(gathered, method)
        body = markdown.render(card_text.build(gathered, summary, method, verdicts), to_run="../../../")
        files[f"{place}/README.md"] = f"---\n{_metadata(gathered, method, sources)}\n---\n\n{body}"
        for task, text in _leaderboard_files(gathered, method, sources).items():
            files[f"{place}/.eval_results/{re.sub(r'[^A-Za-z0-9_.-]', '_', task)}.yaml"] = text
    return files


def _metadata(gathered: Gathered, method: MethodSummary, sources: Mapping[str, Benchmark]) -> str:
    spec, kind = gathered.spec, method.records.spec.kind
    results = [_result(metric, found, gathered, sources) for metric, found in sorted(method.scores.items())]
    data = ModelCardData(
        base_model=_hub_name(spec.model.model_name_or_path),
        # A full model is no adapter of its base; the Hub tells the two apart by this.
        base_model_relation="finetune" if method.records.spec.peft is None else "adapter",
        library_name="transformers" if method.records.spec.peft is None else "peft",
        pipeline_tag=TASK_TYPE,
        tags=["finetune-sweep", kind],
        model_name=f"{spec.name}-{method.name}",
        eval_results=results,
    )
    return data.to_yaml()


def _result(metric: str, found: Estimate, gathered: Gathered, sources: Mapping[str, Benchmark]) -> EvalResult:
    task, _, name = metric.partition("/")
    source, spec = sources.get(task), gathered.spec
    own = task in RENDERED_TASKS
    fewshot = _fewshot(gathered, task)
    args: dict[str, object] = {} if fewshot is None else {"num_few_shot": fewshot}
    if own and "test" in gathered.data_sha256:
        args["sha256"] = gathered.data_sha256["test"]
    interval = found.interval
    return EvalResult(
        task_type=TASK_TYPE,
        task_name=TASK_NAME,
        dataset_type=source.dataset if source is not None else (spec.name if own else task),
        dataset_name=f"held-out rows of {spec.data.train}" if own else task,
        dataset_config=None if source is None else source.config,
        dataset_split="test" if own else (None if source is None else source.split),
        dataset_revision=None if source is None else source.revision,
        dataset_args=args or None,
        metric_type=name.partition(",")[0],
        metric_name=metric,
        metric_value=found.value,
        metric_args={
            "items": found.items,
            "seeds": found.seeds,
            "stderr": found.item_stderr,
            "low_95": None if interval is None else interval.low,
            "high_95": None if interval is None else interval.high,
        },
    )


def _leaderboard_files(gathered: Gathered, method: MethodSummary, sources: Mapping[str, Benchmark]) -> dict[str, str]:
    """One file a benchmark that was scored whole and whose data are on the Hub."""
    files = {}
    for task in gathered.spec.evaluation.confirm:
        source = sources.get(task.task)
        metric = next((name for name in MAIN_METRICS if f"{task.task}/{name}" in method.scores), None)
        if source is None or metric is None or task.limit is not None:
            continue
        found = method.scores[f"{task.task}/{metric}"]
        entry = EvalResultEntry(
            dataset_id=source.dataset,
            # As the data set's eval.yaml names it, which a report without a network cannot see.
            task_id=source.config or "default",
            value=PERCENT * found.value,
            dataset_revision=source.revision,
            date=max(record.started_at for record in method.scored).strftime("%Y-%m-%dT%H:%M:%SZ"),
            notes=_notes(metric, found, task, gathered),
        )
        stream = StringIO()
        yaml = YAML(typ="safe", pure=True)
        yaml.default_flow_style = False
        yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
        yaml.dump(eval_result_entries_to_yaml([entry]), stream)
        files[task.task] = stream.getvalue()
    return files


def _notes(metric: str, found: Estimate, task: TaskSpec, gathered: Gathered) -> str:
    fewshot = _fewshot(gathered, task.task)
    error = None if found.item_stderr is None else f"standard error {PERCENT * found.item_stderr:.2f} points"
    seeds = f"mean of {found.seeds} seeds" if found.seeds > 1 else None
    parts = [
        f"{metric} in percent",
        None if fewshot is None else f"{fewshot}-shot",
        "chat template" if task.apply_chat_template else None,
        seeds,
        error,
        "lm-evaluation-harness",
    ]
    return ", ".join(part for part in parts if part is not None)


def _benchmarks(gathered: Gathered, method: MethodSummary) -> dict[str, Benchmark]:
    return read_benchmarks(gathered.directory(method.scored[0]).eval)


def _fewshot(gathered: Gathered, task: str) -> int | None:
    scored = [record.evaluation for record in gathered.records if record.evaluation is not None]
    return next((found.num_fewshot[task] for found in scored if task in found.num_fewshot), None)


def _hub_name(name: str) -> str | None:
    return name if HUB_NAME.match(name) else None
