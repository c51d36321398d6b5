"""A user's held-out rows as a task of lm-evaluation-harness.

Prompts are rendered already, so this task has no few-shot examples and never meets the chat template. Each row is
asked up to three things: a generated answer, the likelihood of the right completion, and the likelihood of every
label. The answer comes first, because readers of sample files take the first response for the model's answer.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.task import Task
from lm_eval.config.task import TaskConfig
from pydantic import ValidationError

from evals.errors import TaskError
from evals.models.completion import COMPLETION_REQUEST
from evals.result import Metric
from evals.spec import OWN, OwnDataSpec, OwnRow, ScoringSpec, TaskSpec
from evals.tasks.aggregate import AGGREGATIONS, NO_LABEL, aggregation_of
from evals.tasks.answers import AnswerGrader, Grade, Grades, build_grader

MAX_RANKED_LABELS = 64
"""With more labels than this, asking for the likelihood of each costs more than a generated answer."""
TIE = 1e-6
"""Log-likelihoods closer than this are the same: in bfloat16 many are exactly so."""
NOT_FOR_CONSTANTS = frozenset({"loss", "bits_per_byte", "no_answer", "unjudged", "grader_error", "tied"})


class OwnTask(Task):  # type: ignore[misc]  # lm_eval is untyped
    """The user's rows, asked and graded."""

    VERSION = 1
    DATASET_PATH = OWN

    def __init__(
        self, own: OwnDataSpec, rows: Sequence[OwnRow], *, generate: bool, max_new_tokens: int, name: str = OWN
    ) -> None:
        self.own = own
        self.name = name
        self.rows = [row.model_dump(exclude_none=True) for row in rows]
        # A user's own grader can judge the continuation of plain text, which has no answer to compare with.
        self.generates = generate and (own.answer != "none" or own.grader is not None)
        self.ranked_labels = own.labels if _are_ranked(own) else ()
        self.grader = build_grader(own, rows)
        self._names = dict.fromkeys(AGGREGATIONS)
        generation = {"until": list(own.stop), "max_gen_toks": max_new_tokens, "do_sample": False, "temperature": 0.0}
        super().__init__()
        # The base class would take a whole configuration for the task's name.
        self._config = TaskConfig(
            task=name,
            num_fewshot=0,
            output_type="generate_until" if self.generates else "loglikelihood",
            generation_kwargs=generation if self.generates else None,
            metadata={"version": self.VERSION, "answer": own.answer},
        )

    def download(self, *_: object, **__: object) -> None:
        """The rows are here already."""

    def has_training_docs(self) -> bool:
        """No examples are drawn."""
        return False

    def has_validation_docs(self) -> bool:
        """Rows are held-out rows, whichever split they come from."""
        return False

    def has_test_docs(self) -> bool:
        """The rows."""
        return True

    def test_docs(self) -> list[dict[str, Any]]:
        """The rows, as plain mappings."""
        return self.rows

    def doc_to_text(self, doc: Mapping[str, Any]) -> str:
        """The rendered prompt."""
        return str(doc["prompt"])

    def doc_to_target(self, doc: Mapping[str, Any]) -> str:
        """The answer as the user wrote it."""
        return str(doc["answer"])

    def construct_requests(
        self, doc: Mapping[str, Any], ctx: str, *, metadata: tuple[str, int, int], **_: object
    ) -> list[Instance]:
        """The answer first where one is generated, then the completion's likelihood, then each label's."""
        arguments: list[tuple[str, tuple[Any, ...]]] = [(COMPLETION_REQUEST, (ctx, doc["completion"]))]
        if self.generates:
            arguments.insert(0, ("generate_until", (ctx, dict(self.config.generation_kwargs))))
        arguments += [(COMPLETION_REQUEST, (ctx, completion_for(doc, label))) for label in self.ranked_labels]
        return [
            Instance(request_type=kind, doc=doc, arguments=asked, idx=index, metadata=metadata)
            for index, (kind, asked) in enumerate(arguments)
        ]

    def process_results(self, doc: Mapping[str, Any], results: Sequence[Any]) -> dict[str, Grade]:
        """Grade one row: generated answer, loss, and the most likely label."""
        remaining = list(results)
        grades: dict[str, Grade] = {}
        if self.generates:
            grades |= self.grader(OwnRow.model_validate(doc), remaining.pop(0))
        grades |= grade_completion(doc["prompt"], doc["completion"], *remaining.pop(0))
        if self.ranked_labels:
            ranked = grade_ranking(doc["answer"], self.ranked_labels, [logprob for logprob, _ in remaining])
            # Generated text that names no label is shown even where it does not count.
            grades |= {**ranked, "no_answer": max(grades.get("no_answer", 0.0), ranked["no_answer"])}
        self._names |= dict.fromkeys(grades)
        return grades

    def take_notices(self) -> list[str]:
        """What a person should know of the grading since this was last asked."""
        errors = dict(self.grader.errors)
        self.grader.forget_errors()
        if not errors:
            return []
        row, first = next(iter(errors.items()))
        return [f"{OWN}: the grader failed on {len(errors)} rows, which its metrics leave out; row {row}: {first}"]

    def aggregation(self) -> dict[str, Any]:
        """How each metric's values become one number."""
        return {name: aggregation_of(name).value for name in self._names}

    def higher_is_better(self) -> dict[str, bool]:
        """Direction of each metric."""
        return {name: aggregation_of(name).higher_is_better for name in self._names}

    def metrics(self, samples: Sequence[Mapping[str, Any]]) -> dict[str, Metric]:
        """Metrics with their errors, which lm-evaluation-harness knows for plain means only, by `task/metric`."""
        graded = [{name: sample[name] for name in sample["metrics"]} for sample in samples]
        return {f"{self.name}/{name}": metric for name, metric in own_metrics(graded).items()}

    def constants(self, samples: Sequence[Mapping[str, Any]]) -> dict[str, Metric]:
        """The same metrics for the best constant answer."""
        names = dict.fromkeys(name for sample in samples for name in sample["metrics"])
        best = best_constants(self.own, self.grader, [sample["doc"] for sample in samples], names)
        # What the user's function makes of a constant answer is no news about the model.
        self.take_notices()
        return {f"{OWN}/{name}": metric for name, metric in best.items()}


def build_own(task: TaskSpec, scoring: ScoringSpec, own: OwnDataSpec | None) -> OwnTask:
    """The user's rows as a task. Raises TaskError where there are none or they cannot be asked so."""
    if own is None:
        raise TaskError(f"{OWN}: no data of the user's were given. Name a data file, or leave this task out.")
    if task.num_fewshot:
        raise TaskError(f"{OWN}: num_fewshot is {task.num_fewshot}, but the user's rows are asked as they are.")
    if task.gen_kwargs:
        raise TaskError(
            f"{OWN}: gen_kwargs are given, but answers are greedy here. Set scoring.max_new_tokens instead."
        )
    return OwnTask(own, read_rows(own), generate=task.generate, max_new_tokens=answer_length(scoring, own))


def answer_length(scoring: ScoringSpec, own: OwnDataSpec) -> int:
    """Longest generated answer in tokens."""
    return scoring.max_new_tokens or own.max_new_tokens


def read_rows(own: OwnDataSpec) -> list[OwnRow]:
    """Read the rows' file. Raises TaskError where it is missing, empty or holds something else."""
    if not own.rows.is_file():
        raise TaskError(f"{own.rows}: no such file of held-out rows.")
    rows = []
    with own.rows.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                rows.append(OwnRow.model_validate_json(line))
            except ValidationError as error:
                reason = error.errors()[0]["msg"]
                raise TaskError(f"{own.rows}:{number}: not a row as this version writes them: {reason}.") from error
    if not rows:
        raise TaskError(f"{own.rows}: no held-out rows to score. Hold out more rows, or leave the task {OWN!r} out.")
    return rows


def completion_for(doc: Mapping[str, Any], label: str) -> str:
    """The row's completion with another label in the answer's place, its end-of-turn marker kept."""
    answer = doc["answer"].strip()
    before, found, after = doc["completion"].rpartition(answer) if answer else ("", "", "")
    return f"{before}{label}{after}" if found else label


def grade_completion(prompt: str, completion: str, logprob: float, tokens: int) -> Grades:
    """Negative log-likelihood over tokens (nats) and over UTF-8 bytes (bits)."""
    scored = prompt[len(prompt.rstrip()) :] + completion
    return {
        "loss": (-logprob, tokens),
        "bits_per_byte": (-logprob / math.log(2), len(scored.encode())),
    }


def grade_ranking(expected: str, labels: Sequence[str], logprobs: Sequence[float]) -> Grades:
    """The most likely label against the expected one. Of tied labels the first in the list counts."""
    best = max(logprobs)
    leading = [label for label, logprob in zip(labels, logprobs, strict=True) if best - logprob <= TIE]
    # A diverged model's log-likelihoods are not numbers, and lead nobody.
    given = leading[0] if leading else NO_LABEL
    return {
        "accuracy": float(given == expected.strip()),
        "macro_f1": (expected.strip(), given),
        "no_answer": float(not leading),
        "tied": float(len(leading) > 1),
    }


def own_metrics(graded: Sequence[Mapping[str, Any]]) -> dict[str, Metric]:
    """Metrics with their errors, which lm-evaluation-harness knows for plain means only.

    A metric is taken over the rows that have it; one that is not a finite number is left out, as it says nothing.
    """
    found = dict.fromkeys(name for grades in graded for name in grades)
    metrics = {
        name: aggregation_of(name).metric([grades[name] for grades in graded if name in grades]) for name in found
    }
    return {name: metric for name, metric in metrics.items() if math.isfinite(metric.value)}


def best_constants(
    own: OwnDataSpec, grader: AnswerGrader, rows: Sequence[Mapping[str, Any]], metrics: Iterable[str]
) -> dict[str, Metric]:
    """The best that one and the same answer to every row would score, for each metric that answers have."""
    asked = set(metrics) - NOT_FOR_CONSTANTS
    graded: list[list[Grades]] = [[] for _ in own.constant_answers]
    for row in map(OwnRow.model_validate, rows):
        # Row by row, because what an answer is compared with may be dear to make.
        for grades, candidate in zip(graded, own.constant_answers, strict=True):
            grades.append(grader(row, candidate))
    best: dict[str, Metric] = {}
    for scored in map(own_metrics, graded):
        for name, metric in scored.items():
            if name in asked and (name not in best or metric.value > best[name].value):
                best[name] = metric
    return dict(sorted(best.items()))


def _are_ranked(own: OwnDataSpec) -> bool:
    return own.answer == "label" and own.label_by == "likelihood" and len(own.labels) <= MAX_RANKED_LABELS
