"""Load one model and score it: what `sweep eval` does, and what a notebook would call."""

from collections.abc import Sequence
from pathlib import Path

import torch

from evals.harness import load_tasks, score
from evals.models.load import default_device
from evals.models.scored import load_lm
from evals.models.source import local_model
from evals.offline import reading_from
from evals.quiet import OnProgress
from evals.result import EvalResult
from evals.spec import ModelSpec, OwnDataSpec, QuantizationSpec, ScoringSpec, TaskSpec
from evals.tasks.library import TaskLibrary


def score_model(  # noqa: PLR0913
    model: ModelSpec,
    tasks: Sequence[TaskSpec],
    scoring: ScoringSpec,
    *,
    cache: Path,
    output: Path,
    own: OwnDataSpec | None = None,
    adapter: Path | None = None,
    checkpoint: Path | None = None,
    quantization: QuantizationSpec | None = None,
    device: torch.device | None = None,
    on_progress: OnProgress | None = None,
    repeat: int = 1,
) -> EvalResult:
    """Score a base model, a base model with a PEFT adapter, or a full checkpoint on tasks.

    Files go to `output`, which is replaced whole; with `repeat` the model is scored so many times, to see the noise.
    Raises TaskError and ModelError for what cannot be asked or loaded.
    """
    library = TaskLibrary()
    # Tasks are checked first: loading a large model only to hear of a misspelt task would be a pity.
    load_tasks(tasks, scoring, own=own, library=library)
    with reading_from(scoring.data_root):
        lm = load_lm(
            local_model(model, scoring.data_root),
            cache=cache,
            device=device or default_device(),
            batch_size=scoring.batch_size,
            quantization=quantization,
            adapter=adapter,
            checkpoint=checkpoint,
            backend=scoring.backend,
        )
    return score(lm, tasks, scoring, own=own, output=output, library=library, on_progress=on_progress, repeat=repeat)
