"""Score several adapters over one resident base model, mixed in one batch.

Requests are the same for every adapter: they are built and tokenized once, answered for all adapters in one go, and
the answers handed to the harness adapter by adapter. What each adapter scores is what it would score alone.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lm_eval.models.huggingface import HFLM

from evals.errors import ModelError
from evals.harness import score
from evals.models.answering import answer_generations, answer_loglikelihoods, is_plain_greedy, is_shareable
from evals.models.bank import LoraBank, read_lora
from evals.models.engine import Engine
from evals.models.scored import ScoredModel
from evals.quiet import OnProgress, quietly
from evals.result import EvalResult
from evals.spec import OwnDataSpec, ScoringSpec, TaskSpec
from evals.tasks.library import TaskLibrary


def score_adapters(  # noqa: PLR0913
    base_lm: HFLM,
    adapters: Mapping[str, Path],
    tasks: Sequence[TaskSpec],
    scoring: ScoringSpec,
    *,
    own: OwnDataSpec | None,
    output: Path | Mapping[str, Path],
    library: TaskLibrary | None = None,
    on_progress: OnProgress | None = None,
) -> dict[str, EvalResult]:
    """Score plain LoRA adapters on one base model; files of each go to `output / name`, or where `output` names.

    A forward holds up to `batch_size` rows of each adapter, so memory bounds `batch_size * len(adapters)`. Raises
    ModelError where an adapter is no plain LoRA, or where the base model or the tasks cannot share a batch.
    """
    if not adapters:
        raise ModelError("adapters: none given. Name at least one.")
    bank = LoraBank([read_lora(path, base_lm.device) for path in adapters.values()])
    library = library or TaskLibrary()
    results = {}
    with bank.attached(base_lm.model):
        answers = _Answers(Engine(base_lm.model, bank))
        for number, name in enumerate(adapters):
            with quietly():
                lm = _AdapterView(base_lm, answers, number)
            results[name] = score(
                lm,
                tasks,
                scoring,
                own=own,
                output=output[name] if isinstance(output, Mapping) else output / name,
                library=library,
                on_progress=on_progress,
            )
    return _with_time_shared(results)


def _with_time_shared(results: Mapping[str, EvalResult]) -> dict[str, EvalResult]:
    """Whoever is asked first waits for all; each gets an equal share of the time."""
    tasks = next(iter(results.values())).seconds
    seconds = {task: sum(result.seconds[task] for result in results.values()) / len(results) for task in tasks}
    return {name: result.model_copy(update={"seconds": seconds}) for name, result in results.items()}


class _Answers:
    """Answers of all adapters to the same requests."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._known: dict[tuple[str, str], Sequence[Any]] = {}

    def get(self, kind: str, asked: Sequence[Any], answer: Callable[[], Sequence[Any]]) -> Sequence[Any]:
        """What all adapters answer to these requests, computed when the first of them is asked."""
        key = (kind, hashlib.sha256(repr(asked).encode()).hexdigest())
        if key not in self._known:
            self._known[key] = answer()
        return self._known[key]


class _AdapterView(ScoredModel):
    """One of the adapters, as the harness sees it."""

    def __init__(self, base: HFLM, answers: _Answers, number: int) -> None:
        super().__init__(
            pretrained=base.model, tokenizer=base.tokenizer, batch_size=base.batch_size, softmax_dtype="float32"
        )
        self.engine = answers.engine
        self.answers = answers
        self.number = number
        if not is_shareable(self):
            name = getattr(self.config, "_name_or_path", "") or "the base model"
            raise ModelError(f"{name}: this architecture cannot mix adapters in a batch. Score each adapter alone.")

    def loglikelihood(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:  # noqa: FBT001, FBT002
        """This adapter's answers."""

        def answer() -> Sequence[Any]:
            # Encodes the requests, and leaves them with the answers of all adapters.
            super(_AdapterView, self).loglikelihood(requests, disable_tqdm)
            return self._latest

        return list(self.answers.get("loglikelihood", [request.args for request in requests], answer)[self.number])

    def _loglikelihood_tokens(
        self,
        requests: Sequence[tuple[Any, list[int], list[int]]],
        disable_tqdm: bool = False,  # noqa: ARG002, FBT001, FBT002
        override_bs: int | None = None,  # noqa: ARG002
    ) -> list[tuple[float, bool]]:
        self._latest = self.answers.get("tokens", requests, lambda: answer_loglikelihoods(self, requests))
        return list(self._latest[self.number])

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:  # noqa: ARG002, FBT001, FBT002
        """This adapter's texts. Raises ModelError for anything but greedy generation."""
        if not all(is_plain_greedy(self, request.args[1]) for request in requests):
            raise ModelError(
                "adapters: a task generates by sampling, and only greedy answers share a batch. Score alone."
            )
        asked = [request.args for request in requests]
        return list(self.answers.get("generation", asked, lambda: answer_generations(self, requests))[self.number])

    def count_completion_tokens(self, prompt: str, completion: str) -> int:
        """Counted once for all adapters."""
        asked = (prompt, completion)
        return int(
            self.answers.get("count", asked, lambda: [super(_AdapterView, self).count_completion_tokens(*asked)])[0]
        )
