"""A run that no Optuna knows, its trials run as a worker runs them, with a real model, trainer and scorer."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from evals.spec import ModelSpec, ScoringSpec, TaskSpec
from sweep.config import TrialConfig, configure, configure_baseline
from sweep.easing import Easing
from sweep.protocol import PrepareData, RunTrial
from sweep.rerun.again import rerun
from sweep.rerun.comparison import Comparison, Row
from sweep.spec import BudgetSpec, DataSpec, EvaluationSpec, MethodSpec, PeftSpec, StudySpec, TrainingSpec
from sweep.store import RunDirectory, write_config, write_record, write_study
from sweep.worker import TrialRunner

ROWS = [{"prompt": f"{number} + 1 =", "completion": f" {number + 1}"} for number in range(40)]
SETTINGS = {"num_train_epochs": 1, "effective_batch_size": 8, "learning_rate": 1e-3, "validations": 2, "max_length": 64}
LORA, SEED_1, PRUNED = "search/lora/0000", "confirm/lora/seed-1", "search/full/0001"


@dataclass(frozen=True)
class Place:
    """A run directory of its own, beside its data."""

    root: Path

    @property
    def run(self) -> RunDirectory:
        return RunDirectory(self.root / "runs" / "toy")

    def again(self, trial: str, **options: object) -> Comparison:
        return rerun(self.run, trial, cache=self.root / "cache", **options)  # type: ignore[arg-type]

    def edit(self, trial: str, file: str, change: Callable[[dict], object]) -> None:
        path = self.run.path / trial / file
        values = json.loads(path.read_text())
        change(values)
        path.write_text(json.dumps(values))

    def run_eased(self, number: int, easing: Easing) -> None:
        """Run one more trial of the search, with less memory than it asks for."""
        spec = self.run.read_study()
        config = configure(spec, "lora", {}, phase="search", number=number, seed=0, data_root=self.root)
        put(self, spec, TrialRunner(self.root / "cache"), config, easing=easing)

    def shift(self, trial: str, by: float) -> None:
        """Make a record, items and all, that is off by so many nats a token."""
        (samples,) = (self.run.path / trial / "eval").glob("samples_own_*.jsonl")
        lines = [json.loads(line) for line in samples.read_text().splitlines()]
        for line in lines:
            line["loss"][0] += by * line["loss"][1]
        samples.write_text("".join(json.dumps(line) + "\n" for line in lines))
        total = sum(line["loss"][0] for line in lines) / sum(line["loss"][1] for line in lines)
        self.edit(trial, "record.json", lambda record: record["evaluation"]["metrics"]["own/loss"].update(value=total))


def study(model: Path) -> StudySpec:
    training = TrainingSpec(**SETTINGS)
    own = (TaskSpec(task="own", generate=False),)
    return StudySpec(
        name="toy",
        model=ModelSpec(model_name_or_path=str(model), dtype="float32"),
        data=DataSpec(train="rows.jsonl", validation=0.2, test=0.2),
        methods={
            "lora": MethodSpec(kind="lora", peft=PeftSpec(lora_r=4, lora_dropout=0.1), training=training),
            "full": MethodSpec(kind="full", training=training),
        },
        training=training,
        evaluation=EvaluationSpec(search=own, confirm=own, scoring=ScoringSpec(batch_size=4), noise_floor=True),
        budget=BudgetSpec(confirm_seeds=2),
    )


def write_rows(path: Path, rows: list[dict]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def put(
    place: Place,
    spec: StudySpec,
    runner: TrialRunner,
    config: TrialConfig,
    *,
    prune: bool = False,
    easing: Easing | None = None,
) -> None:
    """Run a trial as a driver has it run."""
    directory = place.run.directory_of(config)
    data = PrepareData(
        config.model, config.data, place.root, config.max_length, place.run.data, spec.seed, scoring=config.scoring
    )
    write_config(directory, config)
    request = RunTrial(config, directory.path, data, easing=easing)
    ended = runner.run(request, on_rung=lambda *_: prune, on_progress=lambda _: None)
    write_record(directory, ended.model_copy(update={"easing": easing}))


def record_run(root: Path, model: Path) -> None:
    """Run the trials into a place; tests copy it."""
    place = Place(root)
    write_rows(place.root / "rows.jsonl", ROWS)
    spec = study(model)
    write_study(place.run, spec)
    record = partial(put, place, spec, TrialRunner(place.root / "cache"))
    for phase in ("baseline", "confirm"):
        record(configure_baseline(spec, phase=phase, data_root=place.root))
    record(configure(spec, "lora", {}, phase="search", number=0, seed=0, data_root=place.root))
    record(configure(spec, "full", {}, phase="search", number=1, seed=0, data_root=place.root), prune=True)
    for number in (1, 2):
        record(configure(spec, "lora", {}, phase="confirm", number=number, seed=1000 + number, data_root=place.root))


def find(comparison: Comparison, name: str) -> Row:
    return next(row for row in comparison.rows if row.name == name)
