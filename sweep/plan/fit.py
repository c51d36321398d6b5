"""Whether a config fits a device, and what would make it fit.

A config is refused only where the low end of what it needs is more than all of the device's memory: what might fit is
tried. Everything here is arithmetic, so that the driver can ask before it hands a trial out.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from evals.spec import ModelSpec
from sweep.config import TrialConfig
from sweep.method_rules import complaints, sharding_complaints
from sweep.plan.memory import MemoryEstimate, estimate
from sweep.plan.result import DeviceFit, Fit, MethodMemory
from sweep.plan.space_ends import Ends, ends
from sweep.shape import Device, DeviceKind, Facts, ModelShape, RowLengths
from sweep.spec import MethodSpec, StudySpec

GIGABYTE = 10**9
SAFE_SHARE = 0.9
"""Of a device's free memory, what may be planned with."""
UNKNOWN_ROWS = RowLengths(rows=0, tokens=0, longest=2**40, learned=0)
"""Rows that nothing is known of: as long as the study allows, and perhaps far shorter."""
Change = tuple[str, Callable[[MethodSpec], MethodSpec]]
"""What is changed, as a person would write it, and how."""


def method_memory(spec: StudySpec, method: str, shape: ModelShape, rows: RowLengths, kind: DeviceKind) -> MethodMemory:
    """Memory of a method's cheapest config, its own, and its dearest."""
    needed = partial(_estimate, spec.model, shape, rows, kind)
    found = method_ends(spec, method, shape, rows, kind)
    return MethodMemory(method, needed(found.least), needed(found.own), needed(found.most), dict(found.most_params))


def method_ends(spec: StudySpec, method: str, shape: ModelShape, rows: RowLengths, kind: DeviceKind) -> Ends:
    """The cheapest and the dearest config of a method."""
    return ends(spec, method, lambda config: _estimate(spec.model, shape, rows, kind, config).peak.expected)


def device_fit(spec: StudySpec, memory: MethodMemory, shape: ModelShape, rows: RowLengths, device: Device) -> DeviceFit:
    """Judge a method on a device."""
    size = device.memory_bytes
    fit: Fit = "unlikely"
    if memory.least.peak.low > size:
        fit = "none"
    elif memory.most.peak.low > size:
        fit = "some"
    elif memory.most.peak.high <= size:
        fit = "fits"
    elif memory.most.peak.expected <= size:
        fit = "likely"
    if fit in {"fits", "likely"}:
        return DeviceFit(memory.method, device, fit, None)
    dearest = method_ends(spec, memory.method, shape, rows, device.kind).most
    return DeviceFit(memory.method, device, fit, advice(spec.model, dearest, shape, rows, device))


def refusal(config: TrialConfig, facts: Facts) -> str | None:
    """Why a trial cannot fit its device, in a sentence; none where it might."""
    method, shape, device = config.method_spec, facts.shape, facts.device
    if method is None or shape is None:
        return None
    rows = facts.lengths.get("train", UNKNOWN_ROWS)
    low = _estimate(config.model, shape, rows, device.kind, method).peak.low
    if low <= device.memory_bytes:
        return None
    counsel = advice(config.model, method, shape, rows, device)
    return (
        f"This config needs at least {low / GIGABYTE:.1f} GB, and {device.name} has "
        f"{device.memory_bytes / GIGABYTE:.1f} GB. {counsel or 'Nothing that was tried makes it fit.'}"
    )


def memory_needed(config: TrialConfig, facts: Facts) -> float | None:
    """Bytes of device memory that a trial is expected to need by itself; none where that is not known."""
    method, shape = config.method_spec, facts.shape
    if method is None or shape is None:
        return None
    rows = facts.lengths.get("train", UNKNOWN_ROWS)
    return _estimate(config.model, shape, rows, facts.device.kind, method).peak.expected


def lanes_that_fit(config: TrialConfig, facts: Facts) -> int | None:
    """How many trials like this one a device holds over one base model; none where that is not known.

    A second base model, which trials are scored on, has to fit beside the one that they are trained on.
    """
    method, shape, device = config.method_spec, facts.shape, facts.device
    if method is None or shape is None:
        return None
    rows = facts.lengths.get("train", UNKNOWN_ROWS)
    needed = _estimate(config.model, shape, rows, device.kind, method)
    shared = needed.parts["weights"].expected + needed.parts["overhead"].expected
    room = SAFE_SHARE * device.free_bytes - needed.parts["weights"].expected - shared
    each = max(1.0, needed.peak.expected - shared)
    return max(1, int(room // each))


def advice(model: ModelSpec, method: MethodSpec, shape: ModelShape, rows: RowLengths, device: Device) -> str | None:
    """The first change, or set of changes, with which the config fits as expected; none where none does."""
    for changes in _changes(method):
        changed = method
        for _, change in changes:
            changed = change(changed)
        if complaints(changed) or sharding_complaints(changed):
            continue
        needed = _estimate(model, shape, rows, device.kind, changed).peak.expected
        if needed <= device.memory_bytes:
            what = " and ".join(name for name, _ in changes)
            return f"With {what} it takes about {needed / GIGABYTE:.1f} GB."
    return None


def _changes(method: MethodSpec) -> Iterator[Sequence[Change]]:
    """Changes one after another, the cheapest in quality and time first, then more and more of them together."""
    training = method.training
    sizes = [size for size in (8, 4, 2, 1) if size < training.micro_batch_size]
    smaller = [
        (f"per_device_train_batch_size {size}", _with_training(per_device_train_batch_size=size)) for size in sizes
    ]
    others: list[Change] = []
    if not training.gradient_checkpointing:
        others.append(("gradient_checkpointing", _with_training(gradient_checkpointing=True)))
    if method.kind == "lora" and not method.load_in_4bit:
        others.append(("load_in_4bit", _in_four_bits))
    if method.kind == "full" and "8bit" not in training.optim and training.optim != "auto":
        others.append(("optim paged_adamw_8bit", _with_training(optim="paged_adamw_8bit")))
    yield from ([change] for change in (*smaller, *others))
    together = [*smaller[-1:], *others]
    yield from (together[:count] for count in range(2, len(together) + 1))


def _with_training(**values: object) -> Callable[[MethodSpec], MethodSpec]:
    return lambda method: method.model_copy(update={"training": method.training.model_copy(update=values)})


def _in_four_bits(method: MethodSpec) -> MethodSpec:
    return method.model_copy(update={"load_in_4bit": True})


def _estimate(
    model: ModelSpec, shape: ModelShape, rows: RowLengths, kind: DeviceKind, method: MethodSpec
) -> MemoryEstimate:
    return estimate(model, method, shape, rows, kind)
