"""Whether the scores of several runs may be put beside each other, and where not, why.

A score is comparable with another when both models answered the same questions, asked in the same way. What differs is
said in sentences, by run; nothing is left out of the tables for it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from evals.spec import RENDERED_TASKS
from reports import wording
from reports.gather import Gathered
from reports.summary import Summary
from sweep.record import TrialRecord

SHA_CHARACTERS = 12


@dataclass(frozen=True, slots=True)
class Compiled:
    """One of several runs."""

    label: str
    """What it is called among the others."""
    path: str
    """The way from the combined report to it."""
    gathered: Gathered
    summary: Summary

    @property
    def record(self) -> TrialRecord | None:
        """A record that the scores come from."""
        base = self.gathered.confirm_baseline if self.summary.split == "test" else self.gathered.baseline
        scored = [record for method in self.summary.methods for record in method.scored]
        return next((one for one in (*scored, base) if one is not None and one.evaluation is not None), None)


def common_metrics(runs: Sequence[Compiled]) -> list[str]:
    """Metrics that every run has scores of, in the first run's order."""
    return [name for name in runs[0].summary.metrics if all(name in run.summary.metrics for run in runs)]


def differences(runs: Sequence[Compiled], metrics: Sequence[str]) -> list[str]:
    """Sentences on what keeps rows of different runs from being compared; none where nothing does."""
    tasks = sorted({metric.partition("/")[0] for metric in metrics})
    texts = [
        _differ(runs, lambda run: run.gathered.spec.model.model_name_or_path, "The base models differ ({found})."),
        _differ(runs, _settings_of_model, "The base models were loaded in different ways ({found})."),
        _differ(runs, lambda run: run.summary.split, "Scores come from different splits ({found})."),
    ]
    if set(tasks) & RENDERED_TASKS:
        texts.append(
            _differ(
                runs,
                lambda run: run.gathered.data_sha256.get(run.summary.split, "unknown")[:SHA_CHARACTERS],
                "The own rows differ, so scores on them cannot be compared (fingerprints {found}).",
            )
        )
    for task in tasks:
        texts += [_differ(runs, _asked(name, task), f"{task}: {text}") for name, text in ASKED.items()]
    texts += [
        _differ(runs, _scoring, "Scoring settings differ ({found})."),
        _differ(runs, _device, "They ran on different hardware, so times and speeds cannot be compared ({found})."),
    ]
    return [text for text in texts if text is not None]


ASKED: Mapping[str, str] = {
    "doc_sha256": "different questions were asked (fingerprints {found}).",
    "num_fewshot": "with different numbers of examples ({found}).",
    "chat_template_sha256": "through different chat templates ({found}).",
    "task_versions": "in different versions of the task ({found}).",
}
"""What a record says of how a task was asked, by the name of its field."""


def _differ(runs: Sequence[Compiled], value: Callable[[Compiled], str], text: str) -> str | None:
    found: dict[str, list[str]] = {}
    for run in runs:
        found.setdefault(value(run), []).append(run.label)
    if len(found) == 1:
        return None
    parts = [f"{wording.listed(labels)}: {shown or 'none'}" for shown, labels in found.items()]
    return text.replace("{found}", "; ".join(parts))


def _asked(name: str, task: str) -> Callable[[Compiled], str]:
    def value(run: Compiled) -> str:
        record = run.record
        if record is None or record.evaluation is None:
            return "unknown"
        return str(getattr(record.evaluation, name).get(task, "unknown"))[:SHA_CHARACTERS]

    return value


def _settings_of_model(run: Compiled) -> str:
    model = run.gathered.spec.model
    parts = [model.dtype, model.attn_implementation, model.revision, model.gguf_file]
    return ", ".join(part for part in parts if part is not None)


def _scoring(run: Compiled) -> str:
    scoring = run.gathered.spec.evaluation.scoring
    return f"batch size {scoring.batch_size}, seed {scoring.seed}"


def _device(run: Compiled) -> str:
    environment = run.gathered.environment
    return environment.get("gpu") or environment.get("cpu") or "unknown"
