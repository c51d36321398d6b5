"""What a trial saved, scored: by itself after it was trained alone, or where it cannot be scored beside others."""

from collections.abc import Callable
from pathlib import Path

import torch

from evals.harness import score
from evals.models.scored import load_lm
from evals.models.source import local_model
from evals.result import EvalResult
from evals.tasks.library import TaskLibrary
from sweep.config import TrialConfig
from sweep.data.prepared import PreparedData
from sweep.method_rules import quantization_of
from sweep.progress import Progress
from sweep.store import TrialDirectory


def score_checkpoint(  # noqa: PLR0913
    config: TrialConfig,
    directory: TrialDirectory,
    prepared: PreparedData,
    *,
    cache: Path,
    device: torch.device,
    library: TaskLibrary | None,
    on_progress: Callable[[Progress], None],
) -> EvalResult:
    """Score what a trial saved, or the base model as it is, on the trial's tasks. Raises as loading and scoring do."""
    method, checkpoint = config.method_spec, directory.checkpoint
    tuned_whole = method is not None and method.kind == "full"
    lm = load_lm(
        local_model(config.model, config.scoring.data_root),
        cache=cache,
        device=device,
        batch_size=config.scoring.batch_size,
        quantization=None if method is None else quantization_of(method),
        adapter=None if method is None or tuned_whole else checkpoint,
        checkpoint=checkpoint if tuned_whole else None,
        backend=config.scoring.backend,
    )
    return score(
        lm,
        config.tasks,
        config.scoring,
        own=prepared.own(config.split),
        output=directory.eval,
        library=library,
        on_progress=lambda done, total: on_progress(Progress("score", done, total, None)),
        repeat=config.repeat,
    )
