"""Plan a study: what it will do, what it needs and how long it takes, and what of that is not known.

Rows are prepared as for training and the model is read from its configuration, so what is wrong with either is found
here too. No GPU is touched.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from evals.errors import ModelError
from evals.models.source import local_model
from sweep.data.prepared import PreparedData
from sweep.errors import DataError
from sweep.plan.check import prepared_of
from sweep.plan.devices import devices as find_devices
from sweep.plan.fit import UNKNOWN_ROWS, device_fit, method_memory
from sweep.plan.hours import earlier_records
from sweep.plan.lengths import row_lengths
from sweep.plan.result import Seating, StudyPlan
from sweep.plan.schedule import Schedule, is_measured, notes, schedule
from sweep.record import TrialRecord
from sweep.shape import Device, DeviceKind, Facts, ModelShape, RowLengths
from sweep.spec import StudySpec
from sweep.store import RunDirectory

PRUNING = (
    "Expected under the pruner: the median rule ends half of what it may judge, halving and Hyperband keep one in "
    "reduction_factor, and spared_share is never judged; low and high are all that may be pruned at its first rung, "
    "and none."
)
UNMEASURED = (
    "Where it is not known what training together saves, hours are those of trials alone: how many lanes pay is "
    "measured while they train, and no more are used."
)
SMALLER = (
    "A trial that runs out of memory is trained again in smaller micro-batches, then with recomputed activations; that "
    "takes longer than is reckoned here."
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
    from sweep.data.for_model import prepare_for
    from sweep.plan.inspect import inspect_model

    hub = None if spec.evaluation.scoring.data_root is None else data_root / spec.evaluation.scoring.data_root
    model = local_model(spec.model, hub)
    shape = inspect_model(model, cache=cache, config_file=model_config)
    found = find_devices(devices)
    try:
        # As for training, into a directory of their own: nothing is guessed from characters.
        prepared = prepare_for(
            model,
            spec.data,
            data_root=data_root,
            max_length=spec.training.max_length,
            directory=cache / "plan",
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


def plan_study(
    spec: StudySpec,
    basis: Basis,
    *,
    runs: Path,
    probed: Sequence[TrialRecord] = (),
    seating: Sequence[Seating] = (),
) -> StudyPlan:
    """Plan from what was read. Hours come from a probe, or from earlier runs of the same model below `runs`.

    `seating` says which trials are trained together (`sweep.study.seating`).
    """
    kind = basis.devices[0].kind
    memory = [method_memory(spec, method, basis.shape, basis.train, kind) for method in spec.methods]
    earlier = [record for device in basis.devices for record in earlier_records(runs, spec.model, device)]
    laid_out = Schedule(seating=tuple(seating))
    if basis.prepared is not None:
        records = list(probed) or earlier
        laid_out = schedule(
            spec, basis.lengths, basis.prepared, records, seating=seating, compared=earlier, count_items=not probed
        )
    fits = tuple(
        device_fit(spec, needs, basis.shape, basis.train, device) for needs in memory for device in basis.devices
    )
    may_run_out = any(fit.fit not in {"fits", "likely"} for fit in fits)
    return StudyPlan(
        study=spec.name,
        model=spec.model.model_name_or_path,
        parameters=basis.shape.total_parameters,
        devices=basis.devices,
        rows=basis.lengths,
        work=laid_out.work,
        memory=tuple(memory),
        fits=fits,
        seating=laid_out.seating,
        hours=laid_out.hours,
        timed_from=_source(laid_out, probed, earlier),
        price_per_hour=spec.report.price_per_hour,
        currency=spec.report.currency,
        assumptions=(
            PRUNING,
            TOGETHER,
            *((SMALLER,) if may_run_out else ()),
            *_of_seats(laid_out),
            *_of_processes(spec, kind),
        ),
        missing=(*basis.missing, *notes(spec, laid_out), *_unknown_layers(basis.shape)),
    )


def facts_of(basis: Basis) -> Facts:
    """What a worker on the first device would find out."""
    return Facts(basis.shape, basis.devices[0], basis.lengths)


def _source(laid_out: Schedule, probed: Sequence[TrialRecord], earlier: Sequence[TrialRecord]) -> str | None:
    if not is_measured(laid_out):
        return "the budget alone" if any(part.hours is not None for part in laid_out.hours) else None
    return f"a probe of {len(probed)} short trials" if probed else f"{len(earlier)} trials of earlier runs"


def _of_seats(laid_out: Schedule) -> list[str]:
    """What hours say of trials that are trained together where nothing tells what that saves."""
    shared = [seat for seat in laid_out.seating if seat.seats.high > 1]
    if not shared or all(seat.time_ratio is not None for seat in shared):
        return []
    return [UNMEASURED]


def _of_processes(spec: StudySpec, kind: DeviceKind) -> list[str]:
    """What is divided among how many devices."""
    processes = {name: method.training.num_processes for name, method in spec.methods.items()}
    divided = [f"{name} over {count}" for name, count in processes.items() if count > 1]
    if not divided:
        return []
    what = "processes of this machine, whose memory is added up" if kind == "cpu" else "GPUs, memory of each"
    whole = (
        " The base model is read into the machine's own memory first: once, or by each process in 4 bits and where an "
        "adapter's start reads it."
    )
    others = ""
    if kind == "cuda" and min(processes.values()) < max(processes.values()):
        others = (
            f" Every worker holds {max(processes.values())} GPUs; methods of fewer processes leave some of them idle."
        )
    return [f"Trained alone, in parts ({what}): {', '.join(divided)}.{whole}{others}"]


def _unknown_layers(shape: ModelShape) -> list[str]:
    if shape.is_known:
        return []
    guess = (
        f"What the layers of {shape.architecture} keep for the backward pass is taken from a Llama's and may be off by "
        "half: low and high are set far apart."
    )
    return [guess]
