"""Small studies to be killed: of a toy that takes no time, or of a tiny Llama that is really trained; also over Ray."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sweep.store import RunDirectory

TREE = Path(__file__).parents[2]
TOYS = [sys.executable, str(TREE / "tests" / "toys" / "sweep_with_toys.py")]
REAL = [sys.executable, "-P", "-c", "import sys; from sweep.start import main; sys.exit(main())"]
ROWS = 40

TOY_STUDY = """\
name: study
model: {model_name_or_path: toy}
data: {train: rows.jsonl}
methods: [lora, full]
training: {validations: 2}
search_space: {training.learning_rate: {min: 1.0e-5, max: 1.0e-1, log: true}}
budget: {trials_per_method: 3, confirm_seeds: 1}
sampler: {name: tpe, n_startup_trials: 2}
pruner: {name: none}
"""
REAL_STUDY = """\
name: study
model: {model_name_or_path: MODEL, dtype: float32}
data: {train: rows.jsonl, validation: 0.2, test: 0.2}
training: {max_steps: 80, effective_batch_size: 8, max_length: 64, validations: 2, learning_rate: 1.0e-3}
evaluation:
  search: [{task: own, generate: false}]
  confirm: [{task: own, generate: false}]
  general_text: false
  noise_floor: false
sampler: {name: random}
pruner: {name: none}
tracking: {mlflow: false}
"""
LLAMA_STUDY = (
    REAL_STUDY + "methods: {lora: {peft: {lora_r: 4, lora_dropout: 0.1}}, full: {}}\n"
    "search_space: {training.learning_rate: {min: 5.0e-4, max: 2.0e-3, log: true}}\n"
    "budget: {trials_per_method: 2, confirm_seeds: 1}\nlanes: 1\nsave_seconds: 0.05\n"
)


def hear_ctrl_c() -> None:
    """A shell that starts this in the background has it, and what it starts, ignore what is to be tried."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@dataclass(frozen=True)
class Workload:
    """A study, and how it is run."""

    name: str
    study: str
    command: list[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    arguments: tuple[str, ...] = ("run", "study.yaml")
    is_away: bool = False
    """Whether its trials run on a Ray cluster."""
    last_phase: str = "end"
    """Which `phase_of` tells when all is done."""
    tolerance: float = 0.0
    """Relative difference from an uninterrupted run that counts as none."""

    @property
    def is_real(self) -> bool:
        """Whether a model is trained."""
        return self.command is REAL

    def lay_out(self, place: Path, model: Path) -> RunDirectory:
        """Write the study and its rows; gives where it will run."""
        (place / "cache").mkdir(parents=True)
        rows = ({"prompt": f"{n} + 1 =", "completion": f" {n + 1}"} for n in range(ROWS))
        (place / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (place / "study.yaml").write_text(self.study.replace("MODEL", str(model)))
        return RunDirectory(place / "runs" / "study")

    def start(self, place: Path, mark: str, address: str | None = None) -> "subprocess.Popen[bytes]":
        """`sweep run` in a session of its own; it speaks to `said`. `mark` is how its processes are known.

        Its trials run on the Ray cluster at `address`, where there is one.
        """
        inherited = {name: os.environ[name] for name in ("PATH", "HOME", "OMP_NUM_THREADS") if name in os.environ}
        environment = {
            **inherited,
            **self.environment,
            "PYTHONPATH": str(TREE),
            "HF_HUB_OFFLINE": "1",
            "TOKENIZERS_PARALLELISM": "false",
            "SWEEP_CACHE": str(place / "cache"),
            "COLUMNS": "200",
            "KILLED_STUDY": mark,
        }
        hear_ctrl_c()
        with (place / "said").open("ab") as said:
            return subprocess.Popen(
                [*self.command, *self.arguments, *(("--pool", "ray", "--address", address) if address else ())],
                cwd=place,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                start_new_session=True,
            )


BARE = Workload(
    "bare",
    TOY_STUDY,
    [sys.executable, str(TREE / "tests" / "toys" / "run_toy_study.py")],
    arguments=("runs/study", "calls", "0.1", "tpe"),
    last_phase="report",
)
"""A toy's phases alone, without the command and the report."""
WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload("toy", TOY_STUDY + "tracking: {mlflow: false}\n", TOYS, {"TOY_SECONDS": "0.2"}),
        Workload("tracked", TOY_STUDY, TOYS, {"TOY_SECONDS": "0.2"}),
        # Whoever sits beside a lane decides how sums are rounded.
        Workload(
            "lanes",
            REAL_STUDY + "methods: [lora]\n"
            "search_space: {training.learning_rate: {min: 5.0e-4, max: 2.0e-3, log: true}}\n"
            "budget: {trials_per_method: 6, confirm_seeds: 1}\nlanes: 3\nsave_seconds: 0.1\n",
            REAL,
            tolerance=2e-3,
        ),
        Workload("llama", LLAMA_STUDY, REAL),
        # Until Ray takes a node for dead there are two workers: a sampler that learns would depend on who is first.
        Workload(
            "toy over Ray",
            TOY_STUDY.replace("{name: tpe, n_startup_trials: 2}", "{name: random}") + "tracking: {mlflow: false}\n",
            TOYS,
            {"TOY_SECONDS": "0.2"},
            is_away=True,
        ),
        Workload("llama over Ray", LLAMA_STUDY, REAL, is_away=True),
    )
}
