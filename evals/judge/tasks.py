"""The user's rows, answered by the model and judged by another one.

`judge_pairs` sets the answer beside an opponent's, in both orders: judges favour a place (arXiv 2306.05685), so an
answer wins only where both orders say so, and orders that disagree are a tie. `judge_score` grades it from 1 to 10. An
item whose judge failed has no score; it is counted in `judge_error`, and the others' mean is over fewer items.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from lm_eval.api.instance import Instance

from evals.errors import TaskError
from evals.items import read_items
from evals.judge.client import Judge, Verdict
from evals.judge.metrics import JUDGE_ERROR, METRICS
from evals.judge.prompts import PAIR, PAIR_VERDICT, SCORE, SCORE_VERDICT
from evals.result import Metric
from evals.spec import JudgeSpec, OwnDataSpec, ScoringSpec, TaskSpec
from evals.tasks.aggregate import SHARE, SHARE_AMISS
from evals.tasks.own import OwnTask, answer_length, read_rows

Judged = tuple[float | None, list[Verdict]]
"""An item's score, none where the judge failed, and everything that was asked for it."""
CANDIDATE_FIRST = {"A": 1.0, "B": 0.0, "C": 0.5}
TIE = 0.5


class JudgedTask(OwnTask):
    """The user's rows: the model's answers, and what the judge says of them."""

    def __init__(
        self,
        name: str,
        own: OwnDataSpec,
        *,
        max_new_tokens: int,
        judge: Judge,
        opponents: Mapping[int, str],
    ) -> None:
        super().__init__(own, read_rows(own), generate=True, max_new_tokens=max_new_tokens, name=name)
        self.judge = judge
        self._opponents = opponents
        self._judged: dict[int, Judged] = {}

    def construct_requests(
        self, doc: Mapping[str, Any], ctx: str, *, metadata: tuple[str, int, int], **_: object
    ) -> list[Instance]:
        """One generated answer."""
        arguments = (ctx, dict(self.config.generation_kwargs))
        return [Instance(request_type="generate_until", doc=doc, arguments=arguments, idx=0, metadata=metadata)]

    def apply_filters(self) -> None:
        """Judge all answers, several at a time, once all are there."""
        super().apply_filters()
        answered = [(instance.doc, str(instance.filtered_resps["none"])) for instance in self.instances]
        with ThreadPoolExecutor(self.judge.spec.parallel) as pool:
            judged = list(pool.map(lambda asked: self._judge(*asked), answered))
        self._judged = {doc["row"]: found for (doc, _), found in zip(answered, judged, strict=True)}

    def process_results(self, doc: Mapping[str, Any], results: Sequence[Any]) -> dict[str, Any]:  # noqa: ARG002
        """The item's score, whether the judge failed, and what it was asked and said."""
        score, verdicts = self._judged[doc["row"]]
        judge = {"model": self.judge.spec.model, "verdicts": [verdict.recorded() for verdict in verdicts]}
        return {METRICS[self.name]: score, JUDGE_ERROR: float(score is None), "judge": judge}

    def aggregation(self) -> dict[str, Any]:
        """How values become one number in lm-evaluation-harness's own file."""
        return {METRICS[self.name]: _mean_of_judged, JUDGE_ERROR: SHARE_AMISS.value, "judge": lambda _: math.nan}

    def higher_is_better(self) -> dict[str, bool]:
        """Direction of each metric."""
        return {METRICS[self.name]: True, JUDGE_ERROR: False, "judge": True}

    def metrics(self, samples: Sequence[Mapping[str, Any]]) -> dict[str, Metric]:
        """Mean over the items that were judged, and the share that was not."""
        name = METRICS[self.name]
        judged = [sample[name] for sample in samples if sample[name] is not None]
        errors = SHARE_AMISS.metric([sample[JUDGE_ERROR] for sample in samples])
        found = {f"{self.name}/{name}": SHARE.metric(judged)} if judged else {}
        return {**found, f"{self.name}/{JUDGE_ERROR}": errors}

    def constants(self, samples: Sequence[Mapping[str, Any]]) -> dict[str, Metric]:  # noqa: ARG002
        """No constant answer is judged."""
        return {}

    def _judge(self, doc: Mapping[str, Any], answer: str) -> Judged:
        return JUDGED[self.name](self.judge, doc, answer, self._opponents.get(doc["row"], doc["answer"]))


def build_judged(task: TaskSpec, scoring: ScoringSpec, own: OwnDataSpec | None) -> JudgedTask:
    """A judged task over the rows. Raises TaskError where there is no judge, no rows, or rows without answers."""
    if scoring.judge is None:
        raise TaskError(f"{task.task}: no judge is named. Set evaluation.scoring.judge: {{base_url: …, model: …}}.")
    if own is None or own.answer == "none":
        raise TaskError(f"{task.task}: it judges answers to the user's rows, which have none. Give some.")
    if task.num_fewshot or task.gen_kwargs:
        raise TaskError(f"{task.task}: the user's rows are asked as they are. Leave num_fewshot and gen_kwargs out.")
    return JudgedTask(
        task.task,
        own,
        max_new_tokens=answer_length(scoring, own),
        judge=Judge(scoring.judge),
        opponents=_opponents(scoring.judge),
    )


def _opponents(judge: JudgeSpec) -> dict[int, str]:
    if judge.against is None:
        return {}
    answers = {item.row: item.answer for item in read_items(judge.against) if item.row is not None}
    if not answers:
        raise TaskError(f"judge.against: {judge.against} holds no answers to the user's rows. Name an eval directory.")
    return answers


def _judge_pair(judge: Judge, doc: Mapping[str, Any], answer: str, opponent: str) -> Judged:
    question = str(doc["prompt"]).strip()
    verdicts = [
        judge.ask(PAIR.format(question=question, first=first, second=second), PAIR_VERDICT)
        for first, second in ((answer, opponent), (opponent, answer))
    ]
    ahead, behind = (verdict.verdict for verdict in verdicts)
    if ahead is None or behind is None:
        return None, verdicts
    both = {CANDIDATE_FIRST[ahead], 1.0 - CANDIDATE_FIRST[behind]}
    return (both.pop() if len(both) == 1 else TIE), verdicts


def _judge_score(judge: Judge, doc: Mapping[str, Any], answer: str, opponent: str) -> Judged:  # noqa: ARG001
    prompt = SCORE.format(question=str(doc["prompt"]).strip(), reference=doc["answer"], answer=answer)
    verdict = judge.ask(prompt, SCORE_VERDICT)
    return (None if verdict.verdict is None else float(verdict.verdict)), [verdict]


def _mean_of_judged(values: Sequence[float | None]) -> float:
    judged = [value for value in values if value is not None]
    return SHARE.value(judged) if judged else math.nan


JUDGED: Mapping[str, Callable[[Judge, Mapping[str, Any], str, str], Judged]] = {
    "judge_pairs": _judge_pair,
    "judge_score": _judge_score,
}
