"""Whether a study's size costs more than its trials: memory, descriptors and time of many real, tiny ones.

    python tests/benchmarks/flat.py [--trials 300] [--lanes 8] [--every 50]

LoRA trials of a two-layer Llama, trained and scored by a worker as any other, with Optuna and MLflow. Memory and
descriptors are the driver's and its workers'; times are the mean
and the median from one trial's end to the next.
"""

import argparse
import itertools
import json
import os
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "toys")]
MEBIBYTE = 2**20
ROWS = 40


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=300)
    parser.add_argument("--lanes", type=int, default=8)
    parser.add_argument("--every", type=int, default=50, help="trials between two lines of the table")
    return parser.parse_args()


def study(model: Path, options: argparse.Namespace):
    from evals.spec import ModelSpec, TaskSpec
    from sweep.spec import StudySpec

    own = TaskSpec(task="own", generate=False).model_dump()
    training = {"max_steps": 4, "effective_batch_size": 4, "max_length": 64, "validations": 1}
    return StudySpec.model_validate(
        {
            "name": "flat",
            "model": ModelSpec(model_name_or_path=str(model), dtype="float32").model_dump(),
            "data": {"train": "rows.jsonl", "validation": 0.2, "test": 0.1},
            "methods": {"lora": {"kind": "lora", "peft": {"lora_r": 4}, "training": training}},
            "training": training,
            "search_space": {"training.learning_rate": {"min": 1e-5, "max": 1e-2, "log": True}},
            "evaluation": {"search": [own], "confirm": [own], "general_text": False, "noise_floor": False},
            "objective": {"minimize": "own/loss"},
            "budget": {"trials_per_method": options.trials, "confirm_seeds": 0},
            "sampler": {"name": "tpe"},
            "pruner": {"name": "none"},
            "lanes": options.lanes,
        }
    )


class Watch:
    """What the driver and its workers hold after each trial."""

    def __init__(self) -> None:
        import psutil

        self.driver = psutil.Process()
        self.rows: list[tuple[float, int, int, int, int]] = []

    def __call__(self, event: object) -> None:
        from sweep.events import TrialEnded

        if isinstance(event, TrialEnded) and event.record.config.phase == "search":
            if event.record.state != "COMPLETE":
                raise SystemExit(f"trial {event.record.config.number}: {event.record.failure}")
            workers = [one for one in self.driver.children() if "spawn_main" in " ".join(one.cmdline())]
            self.rows.append(
                (
                    time.perf_counter(),
                    self.driver.memory_info().rss,
                    sum(one.memory_info().rss for one in workers),
                    self.driver.num_fds(),
                    sum(one.num_fds() for one in workers),
                )
            )


def main() -> None:
    from tiny_llama import save_tiny_llama

    from sweep.store import RunDirectory
    from sweep.study.phases import Workers, run_study
    from sweep.tracking.tracker import Tracker
    from sweep.worker import TrialRunner

    options, watch = parsed(), Watch()
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        save_tiny_llama(root / "model")
        rows = [{"prompt": f"{number} + 1 =", "completion": f" {number + 1}"} for number in range(ROWS)]
        (root / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        os.chdir(root)
        spec, run = study(root / "model", options), RunDirectory(root / "runs" / "flat")
        run_study(
            spec,
            run=run,
            data_root=root,
            cache=root / "cache",
            on_event=watch,
            tracker=Tracker(spec, run, on_warning=say),
            workers=Workers(partial(TrialRunner, root / "cache")),
        )
    say("| trials | ms a trial | driver, MiB | workers, MiB | driver's descriptors | workers' |\n" + "|---" * 6 + "|")
    for first in range(0, len(watch.rows), options.every):
        part = watch.rows[first : first + options.every]
        gaps = [1000 * (after[0] - before[0]) for before, after in itertools.pairwise(part)]
        # Trials of a wave end together: the mean tells of the wave, the median of what lies between two of them.
        pace = 1000 * (part[-1][0] - part[0][0]) / max(1, len(part) - 1)
        held = [median(row[place] for row in part) for place in range(1, 5)]
        say(
            f"| {first + 1}-{first + len(part)} | {pace:.0f} (median {median(gaps or [0.0]):.0f}) "
            f"| {held[0] / MEBIBYTE:,.0f} | {held[1] / MEBIBYTE:,.0f} | {held[2]:.0f} | {held[3]:.0f} |"
        )


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
