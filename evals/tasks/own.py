"""A user's held-out rows as a task of lm-evaluation-harness.

Prompts are rendered already, so this task has no few-shot examples and never meets the chat template. Each row is
asked up to three things: a generated answer, the likelihood of the right completion, and the likelihood of every
label. The answer comes first, because readers of sample files take the first response for the model's answer.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.task import Task
from lm_eval.config.task import TaskConfig
from pydantic import ValidationError

from evals.errors import TaskError
from evals.models.scored import COMPLETION_REQUEST
from evals.result import Metric
from evals.spec import OWN, OwnDataSpec, OwnRow, ScoringSpec, TaskSpec
from evals.tasks.aggregate import AGGREGATIONS
from evals.tasks.answers import Grade, Grades, grade

MAX_RANKED_LABELS = 64
"""With more labels than this, asking for the likelihood of each costs more than a generated answer."""
TIE = 1e-6
"""Log-likelihoods closer than this are the same: in bfloat16 many are exactly so."""
NOT_FOR_CONSTANTS = frozenset({"loss", "bits_per_byte", "no_answer", "tied"})


class OwnTask(Task):  # type: ignore[misc]  # lm_eval is untyped
    """The user's rows, asked and graded."""

    VERSION = 1
    DATASET_PATH = OWN

    def __init__(
        self, own: OwnDataSpec, rows: Sequence[OwnRow], *, generate: bool, max_new_tokens: int, name: str = OWN
    ) -> None:
        self.own = own
        self.name = name
        self.rows = [row.model_dump() for row in rows]
        self.generates = generate and own.answer != "none"
        self.ranked_labels = own.labels if len(own.labels) <= MAX_RANKED_LABELS and own.answer == "label" else ()
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
            grades |= grade(self.own.answer, doc["answer"], remaining.pop(0), self.own.labels)
        grades |= grade_completion(doc["prompt"], doc["completion"], *remaining.pop(0))
        if self.ranked_labels:
            grades |= grade_ranking(doc["answer"], self.ranked_labels, [logprob for logprob, _ in remaining])
        return grades

    def aggregation(self) -> dict[str, Any]:
        """How each metric's values become one number."""
        return {name: aggregation.value for name, aggregation in AGGREGATIONS.items()}

    def higher_is_better(self) -> dict[str, bool]:
        """Direction of each metric."""
        return {name: aggregation.higher_is_better for name, aggregation in AGGREGATIONS.items()}

    def metrics(self, samples: Sequence[Mapping[str, Any]]) -> dict[str, Metric]:
        """Metrics with their errors, which lm-evaluation-harness knows for plain means only, by `task/metric`."""
        names = [name for name in AGGREGATIONS if name in samples[0]]
        found = {f"{OWN}/{name}": AGGREGATIONS[name].metric([sample[name] for sample in samples]) for name in names}
        return {name: metric for name, metric in found.items() if math.isfinite(metric.value)}

    def constants(self, samples: Sequence[Mapping[str, Any]]) -> dict[str, Metric]:
        """The same metrics for the best constant answer."""
        best = best_constants(self.own, [sample["doc"] for sample in samples], list(samples[0]))
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
    given = leading[0] if leading else ""
    return {
        "accuracy": float(given == expected.strip()),
        "macro_f1": (expected.strip(), given),
        "tied": float(len(leading) > 1),
    }


def best_constants(own: OwnDataSpec, rows: Sequence[Mapping[str, Any]], metrics: Sequence[str]) -> dict[str, Metric]:
    """The best that one and the same answer to every row would score, for each metric that answers have."""
    scored: dict[str, list[Metric]] = {}
    for candidate in own.constant_answers:
        graded = [grade(own.answer, row["answer"], candidate, own.labels) for row in rows]
        for name in graded[0].keys() & set(metrics) - NOT_FOR_CONSTANTS:
            scored.setdefault(name, []).append(AGGREGATIONS[name].metric([grades[name] for grades in graded]))
    return {name: max(found, key=lambda metric: metric.value) for name, found in sorted(scored.items())}
