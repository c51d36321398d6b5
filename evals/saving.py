"""Write lm-evaluation-harness's own result and sample files, and make sure that they were written.

Its tracker turns every error while saving into a log line, puts a timestamp into names, appends to sample files and
adds a directory named after the model. So each score gets a fresh directory, the files are counted line by line, and
the directory appears under its name only when it is complete.
"""

import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lm_eval.loggers import EvaluationTracker

from evals.errors import RunError
from evals.outside import make_public

TRACKED = "tracked"


@contextmanager
def replaced(output: Path) -> Iterator[Path]:
    """A scratch directory that takes the place of `output`, whole, when the block ends without an error."""
    output.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{output.name}-"
    for left_behind in output.parent.glob(f"{prefix}*"):
        shutil.rmtree(left_behind, ignore_errors=True)
    scratch = Path(tempfile.mkdtemp(dir=output.parent, prefix=prefix))
    try:
        yield scratch
        make_public(scratch)
        if output.exists():
            output.rename(Path(tempfile.mkdtemp(dir=output.parent, prefix=prefix)) / output.name)
        scratch.rename(output)
    finally:
        for left_behind in output.parent.glob(f"{prefix}*"):
            shutil.rmtree(left_behind, ignore_errors=True)


def start_tracker(directory: Path) -> EvaluationTracker:
    """lm-evaluation-harness's tracker for one call, writing below the directory."""
    return EvaluationTracker(output_path=str(directory / TRACKED))


def write_files(
    tracker: EvaluationTracker, directory: Path, results: dict[str, Any], samples: Mapping[str, Sequence[Any]]
) -> dict[str, str]:
    """Write one results file and a sample file for each task into the directory; give the latter's names by task.

    Raises RunError where a file is missing or short.
    """
    tracker.save_results_aggregated(results=results, samples=samples)
    for task, rows in samples.items():
        tracker.save_results_samples(task_name=task, samples=rows)
    stamp = getattr(tracker, "date_id", "")
    tracked = next((directory / TRACKED).glob("*"), directory / TRACKED)
    names = {task: f"samples_{task}_{stamp}.jsonl" for task in samples}
    for task, rows in samples.items():
        _check_lines(tracked / names[task], expected=len(rows))
    _check_lines(tracked / f"results_{stamp}.json", expected=1)
    for path in tracked.iterdir():
        path.rename(directory / path.name)
    shutil.rmtree(directory / TRACKED)
    return names


def _check_lines(path: Path, *, expected: int) -> None:
    if not path.is_file():
        raise RunError(f"{path.name}: lm-evaluation-harness did not write this file. Is the disk full or read-only?")
    with path.open(encoding="utf-8") as lines:
        found = sum(1 for _ in lines)
    if found < expected or (path.suffix == ".jsonl" and found != expected):
        raise RunError(f"{path.name}: holds {found} items of {expected} after writing. Is the disk full?")
