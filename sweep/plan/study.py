"""Plan a study: what it will do, what it needs and how long it takes, and what of that is not known.

Rows are prepared as for training and the model is read from its configuration, so what is wrong with either is found
here too. No GPU is touched.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from evals.errors import ModelError
from evals.models.source import local_model
from evals.spec import TaskSpec
from sweep.data.prepared import PreparedData
from sweep.errors import DataError
from sweep.plan.check import prepared_of
from sweep.plan.devices import devices as find_devices
from sweep.plan.fit import UNKNOWN_ROWS, device_fit, method_memory
from sweep.plan.hours import Rates, earlier_records, item_seconds, items_scored, phase_hours, rates_of
from sweep.plan.lengths import prepare_rows, row_lengths
from sweep.plan.result import PhaseHours, PhaseWork, StudyPlan
from sweep.plan.work import study_work
from sweep.record import TrialRecord
from sweep.selection import tasks_of
from sweep.shape import Device, ModelShape, RowLengths
from sweep.spec import StudySpec
from sweep.store import RunDirectory

PRUNING = (
    "Expected under the pruner: the median rule ends half of what it may judge, halving and Hyperband keep one in "
    "reduction_factor, and spared_share is never judged; low and high are all that may be pruned at its first rung, "
    "and none."
)
TOGETHER = "Parts of memory are each at their own most, which is not at one time: the peak is less than their sum."


@dataclass(frozen=True, slots=True)
class Basis:
    """What a plan is made from."""

    shape: ModelShape
    devices: tuple[Device, ...]
    prepared: PreparedData | None
    """None where the rows or the tokenizer are not at hand."""
    lengths: Mapping[str, RowLengths] = field(default_factory=dict)
    missing: tuple[str, ...] = ()

    @property
    def train(self) -> RowLengths:
        """Lengths of the training rows."""
        return self.lengths.get("train", UNKNOWN_ROWS)


def read_basis(
    spec: StudySpec,
    *,
    data_root: Path,
    cache: Path,
    devices: Sequence[str] | None = None,
    model_config: Path | None = None,
) -> Basis:
    """Read the model's configuration, the rows and the devices.

    Raises ModelError where the model's configuration is not to be had, DataError where rows cannot be used.
    """
    # Only here do torch and transformers come in.
    from sweep.plan.inspect import inspect_model

    hub = None if spec.evaluation.scoring.data_root is None else data_root / spec.evaluation.scoring.data_root
    model = local_model(spec.model, hub)
    shape = inspect_model(model, cache=cache, config_file=model_config)
    found = find_devices(devices)
    try:
        prepared = prepare_rows(
            model,
            spec.data,
            data_root=data_root,
            max_length=spec.training.max_length,
            seed=spec.seed,
            cache=cache,
            hub=hub,
        )
    except (ModelError, DataError) as error:
        if model_config is None and isinstance(error, ModelError):
            raise
        return Basis(shape, found, None, missing=(f"Tokens are not known: {error}",))
    return Basis(shape, found, prepared, row_lengths(prepared))


def basis_of_run(run: RunDirectory, *, cache: Path, model_config: Path | None = None) -> Basis:
    """The same of a run that exists: its rows as they were prepared. Raises ModelError as `read_basis` does."""
    from sweep.plan.inspect import inspect_model

    spec, record = run.read_study(), run.baseline.read_record()
    located = spec.evaluation.scoring if record is None else record.config.scoring
    shape = inspect_model(local_model(spec.model, located.data_root), cache=cache, config_file=model_config)
    prepared = prepared_of(run)
    if prepared is None:
        missing = f"Tokens are not known: the rows of this run are not in {run.data} any more."
        return Basis(shape, find_devices(), None, missing=(missing,))
    return Basis(shape, find_devices(), prepared, row_lengths(prepared))


def plan_study(spec: StudySpec, basis: Basis, *, runs: Path, probed: Sequence[TrialRecord] = ()) -> StudyPlan:
    """Plan from what was read. Hours come from a probe, or from earlier runs of the same model below `runs`."""
    kind = basis.devices[0].kind
    memory = [method_memory(spec, method, basis.shape, basis.train, kind) for method in spec.methods]
    earlier = list(probed) or [
        record for device in basis.devices for record in earlier_records(runs, spec.model, device)
    ]
    items = {task: count for record in earlier for task, count in items_scored(record).items()}
    work, hours, missing = _work_and_hours(spec, basis, earlier, {} if probed else items)
    timed = any(phase.hours is not None for phase in hours)
    source = f"a probe of {len(probed)} short trials" if probed else f"{len(earlier)} trials of earlier runs"
    return StudyPlan(
        study=spec.name,
        model=spec.model.model_name_or_path,
        parameters=basis.shape.total_parameters,
        devices=basis.devices,
        rows=basis.lengths,
        work=work,
        memory=tuple(memory),
        fits=tuple(
            device_fit(spec, needs, basis.shape, basis.train, device) for needs in memory for device in basis.devices
        ),
        hours=hours,
        timed_from=source if timed else None,
        price_per_hour=spec.report.price_per_hour,
        currency=spec.report.currency,
        assumptions=(PRUNING, TOGETHER),
        missing=(*basis.missing, *missing, *_unknown_layers(basis.shape)),
    )


def _work_and_hours(
    spec: StudySpec, basis: Basis, earlier: Sequence[TrialRecord], known_items: Mapping[str, int]
) -> tuple[tuple[PhaseWork, ...], tuple[PhaseHours, ...], tuple[str, ...]]:
    if basis.prepared is None:
        return (), (), ()
    work = tuple(study_work(spec, basis.lengths, basis.prepared.manifest, known_items))
    validation = {basis.prepared.sha256["validation"]: basis.lengths["validation"].tokens}
    rates = {
        method: _with_items(rates_of(earlier, None if method is None else spec.methods[method], validation), earlier)
        for method in (None, *spec.methods)
    }
    # The base model reads as fast as any model of its size.
    base = rates[None] or next((found for found in rates.values() if found is not None), None)
    hours = tuple(
        phase_hours(part, _tasks(spec, part), base if part.method is None else rates[part.method]) for part in work
    )
    return work, hours, tuple(_untimed(hours))


def _with_items(rates: Rates | None, earlier: Sequence[TrialRecord]) -> Rates | None:
    """A task that this method was never asked takes as long as it took others."""
    if rates is None:
        return None
    return Rates(
        trials=rates.trials,
        train_token=rates.train_token,
        read_token=rates.read_token,
        fixed=rates.fixed,
        items={**item_seconds(earlier), **rates.items},
    )


def _tasks(spec: StudySpec, part: PhaseWork) -> Sequence[TaskSpec]:
    return tasks_of(spec.evaluation, "search" if part.phase in {"baseline", "search"} else "confirm")


def _untimed(hours: Sequence[PhaseHours]) -> list[str]:
    unknown = sorted({phase.method or "the base model" for phase in hours if phase.hours is None})
    found = []
    if unknown:
        found.append(
            f"How long {', '.join(unknown)} takes is not known: no trial of this model has run on this device. "
            "`sweep plan --probe` trains and scores each method for a few steps to find out."
        )
    tasks = sorted({task for phase in hours if phase.hours is not None for task in phase.untimed})
    if tasks:
        found.append(f"Hours leave out {', '.join(tasks)}: nothing here tells how long an item takes.")
    return found


def _unknown_layers(shape: ModelShape) -> list[str]:
    if shape.is_known:
        return []
    guess = (
        f"What the layers of {shape.architecture} keep for the backward pass is taken from a Llama's and may be off by "
        "half: low and high are set far apart."
    )
    return [guess]
