"""How long a whole sweep takes: as people glue it together today, and by `sweep run`, on the same configs.

    python tests/benchmarks/makespan.py [--configs 8] [--parts glued alone lanes] [--save makespan.jsonl]

- glued: for each config a fresh `trl sft` process and then a fresh `lm_eval run` process;
- alone: one `sweep run` whose trials are trained one after another (`lanes: 1`);
- lanes: one `sweep run` whose trials are trained together;
- halving: the same with trials ended early by successive halving.

Each part trains LoRA adapters of SmolLM2-135M-Instruct in bfloat16 on the same rows in the same order, and scores each
on the same generated answers and MMLU questions. (The file is not called `sweep.py`: it would hide the package.)
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import yaml
from parity import packaged_model
from workload import Config, Workload

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared" / "data"
PARTS = ("glued", "alone", "lanes", "halving")
OURS = "import sys; from sweep.cli import main; sys.exit(main())"


@dataclass(frozen=True)
class Measured:
    """One part."""

    part: str
    seconds: float
    train_seconds: float
    score_seconds: float
    scores: dict[str, float] = field(default_factory=dict)
    """Exact matches by config."""
    order: int = 0
    """Of the configs."""
    pruned: int = 0
    """Configs that were ended early."""
    winner: str = ""
    """The config with the best score."""


def parsed(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=SHARED)
    parser.add_argument("--parts", nargs="*", default=["glued", "alone", "lanes"], choices=PARTS)
    parser.add_argument("--configs", type=int, default=8)
    parser.add_argument("--order", type=int, default=0, help="another order of the configs")
    parser.add_argument("--rows", type=int, default=96, help="training rows")
    parser.add_argument("--answers", type=int, default=40, help="rows whose answers are generated and scored")
    parser.add_argument("--questions", type=int, default=10, help="MMLU questions of each of two subjects")
    parser.add_argument("--max-length", type=int, default=256, help="tokens of a row, at most")
    parser.add_argument("--micro-batch", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=16, help="of scoring, for all parts")
    parser.add_argument("--lanes", type=int, default=8)
    parser.add_argument("--device", default="cpu", help="of the process-per-step side; a study takes the first GPU")
    parser.add_argument("--model", type=Path, help="a model's directory [default: SmolLM2-135M from its package]")
    parser.add_argument("--save", type=Path, help="add what was measured to this file, a line for each part")
    return parser.parse_args(arguments)


def main() -> None:
    options = parsed(sys.argv[1:])
    with tempfile.TemporaryDirectory() as scratch:
        place = Place(Workload(options, Path(scratch)))
        for part in options.parts:
            measured = place.glued() if part == "glued" else place.ours(part)
            winner = max(measured.scores, key=measured.scores.__getitem__)
            measured = replace(measured, order=options.order, winner=winner)
            say(json.dumps(asdict(measured)))
            if options.save:
                with options.save.open("a", encoding="utf-8") as stream:
                    stream.write(json.dumps(asdict(measured)) + "\n")


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


class Place:
    """Runs each side of a workload, and keeps the time."""

    def __init__(self, workload: Workload) -> None:
        self.workload = workload
        self.path = workload.path
        workload.prepare()

    def glued(self) -> Measured:
        """A process to train and a process to score, config after config."""
        steps = [self.glued_config(config) for config in self.workload.configs]
        trained, scored = (sum(getattr(step, name) for step in steps) for name in ("train_seconds", "score_seconds"))
        scores = {name: score for step in steps for name, score in step.scores.items()}
        return Measured("glued", trained + scored, trained, scored, scores)

    def glued_config(self, config: Config) -> Measured:
        """One config of that."""
        model = self.workload.options.model or packaged_model()
        output = self.path / "glued" / config.name
        trained = self.run(self.workload.trl(config, model, output / "adapter"), f"glued-{config.name}-train")
        scored = self.run(self.workload.lm_eval(model, output), f"glued-{config.name}-score")
        score = exact_matches(output / "eval", "answers")
        return Measured("glued", trained + scored, trained, scored, {config.name: score})

    def ours(self, part: str) -> Measured:
        """One `sweep run`."""
        study = self.path / f"{part}.yaml"
        study.write_text(yaml.safe_dump(self.workload.study(part), sort_keys=False), encoding="utf-8")
        command = [sys.executable, "-c", OURS, "run", str(study), "--runs", str(self.path / "runs")]
        seconds = self.run(command, part)
        run = self.path / "runs" / part
        records = [json.loads(path.read_text("utf-8")) for path in sorted(run.glob("search/lora/*/record.json"))]
        scores = {}
        for record in records:
            method = record["config"]["method_spec"]
            config = Config(method["training"]["learning_rate"], method["peft"]["lora_r"])
            if record["state"] == "COMPLETE":
                scores[config.name] = record["evaluation"]["metrics"]["own/exact_match"]["value"]
        parts = [record["seconds"] for record in records]
        trained = sum(value for found in parts for name, value in found.items() if name not in {"score", "load"})
        pruned = sum(record["state"] == "PRUNED" for record in records)
        scored = sum(found.get("score", 0.0) for found in parts)
        return Measured(part, seconds, trained, scored, scores, pruned=pruned)

    def run(self, command: list[str], name: str) -> float:
        """Seconds of one process. Raises RuntimeError with the end of what it said."""
        log = self.path / f"{name}.log"
        environment = os.environ | {
            "HF_HUB_OFFLINE": "1",
            "TOKENIZERS_PARALLELISM": "false",
            "HF_DATASETS_CACHE": str(self.path / "cache"),
            "PYTHONPATH": str(ROOT),
        }
        began = time.monotonic()
        with log.open("w") as stream:
            done = subprocess.run(
                command, cwd=self.path, env=environment, stdout=stream, stderr=subprocess.STDOUT, check=False
            )
        if done.returncode:
            raise RuntimeError(f"{name} ended with {done.returncode}:\n{log.read_text('utf-8')[-3000:]}")
        seconds = time.monotonic() - began
        sys.stderr.write(f"{name}: {seconds:.0f} s\n")
        return seconds


def exact_matches(directory: Path, task: str) -> float:
    """The stock tool's score, whatever it calls its file."""
    found = next(directory.rglob("results_*.json"))
    results = json.loads(found.read_text("utf-8"))["results"][task]
    return next(value for name, value in results.items() if re.fullmatch(r"exact_match,\w+", name))


if __name__ == "__main__":
    main()
