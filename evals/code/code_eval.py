"""Stands in for the metric `code_eval` of the `evaluate` library, which runs programs on the host.

lm-evaluation-harness's tasks for code fetch that metric from the Hub when their module is imported, and keep it. They
are given this one instead: same calls, same answers, no network, and programs that run in a sandbox.
"""

import os
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cached_property

from evals.code.grade import Problem, Verdict, grade, mean_pass_at_k
from evals.code.limits import Limits
from evals.code.sandbox import Sandbox
from evals.errors import RunError

NAME = "code_eval"
# As many as the stock metric's.
_WORKERS = 4

Results = dict[int, list[tuple[int, dict[str, object]]]]


@dataclass
class Grader:
    """Where programs run, and what their data set says of them."""

    choose: Callable[[], Sandbox]
    """Finds the sandbox when the first program is to be run. Raises TaskError."""
    prompts: Mapping[str, str] = field(default_factory=dict)
    """The data set's beginning of a program, by its test."""
    limits: Limits = field(default_factory=Limits)

    @cached_property
    def sandbox(self) -> Sandbox:
        """Where programs run."""
        return self.choose()

    def prepare(self) -> None:
        """Find the sandbox now, before threads ask for it. Raises TaskError."""
        _ = self.sandbox

    def grade(self, test: str, program: str) -> Verdict:
        """Whether a program passes a test."""
        # Trusted because the data set says it, whatever the program begins with.
        prompt = self.prompts.get(test, "")
        return grade(self.sandbox, program, Problem(test=test, prompt=prompt), limits=self.limits)


# The metric is made once, when a task's module is imported, and outlives any study: what it uses is set around a call.
GRADER: ContextVar[Grader] = ContextVar("GRADER")


class CodeEval:
    """The metric, with the calls that tasks make."""

    def compute(
        self,
        *,
        references: Sequence[str],
        predictions: Sequence[Sequence[str]],
        k: Sequence[int] = (1, 10, 100),
        **ignored: object,
    ) -> tuple[dict[str, float], Results]:
        """Grade each problem's programs; pass@k over the problems, and every verdict. Time and workers are ours."""
        del ignored
        grader = GRADER.get(None)
        if grader is None:
            raise RunError("A program was to be graded outside of scoring. Score through evals.harness.score.")
        grader.prepare()
        asked = [
            (problem, number, test, program)
            for problem, (test, programs) in enumerate(zip(references, predictions, strict=True))
            for number, program in enumerate(programs)
        ]
        workers = min(_WORKERS, os.cpu_count() or 1, max(1, len(asked)))
        with ThreadPoolExecutor(workers) as pool:
            verdicts = list(pool.map(lambda one: grader.grade(one[2], one[3]), asked))
        results: Results = defaultdict(list)
        counts = [(len(programs), 0) for programs in predictions]
        for (problem, number, *_), verdict in zip(asked, verdicts, strict=True):
            results[problem].append((number, _told(problem, number, verdict)))
            samples, passed = counts[problem]
            counts[problem] = (samples, passed + verdict.passed)
        means = {f"pass@{size}": mean_pass_at_k(counts, size) for size in k}
        return {name: mean for name, mean in means.items() if mean is not None}, results


def _told(problem: int, number: int, verdict: Verdict) -> dict[str, object]:
    result = "passed" if verdict.passed else f"failed: {verdict.reason}"
    return {"task_id": problem, "passed": verdict.passed, "result": result, "completion_id": number}
