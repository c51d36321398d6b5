"""Plan a study or a run, the statistical part included: what `sweep.api` offers as `plan_study` and `plan_run`."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from sweep.events import OnEvent
from sweep.record import TrialRecord
from sweep.scoring import DEFAULT_CACHE
from sweep.spec import StudySpec
from sweep.store import RunDirectory

if TYPE_CHECKING:
    from sweep.plan.result import StudyPlan


def plan_study(  # noqa: PLR0913
    spec: StudySpec,
    *,
    data_root: Path,
    runs: Path = Path("runs"),
    cache: Path | None = None,
    devices: Sequence[str] | None = None,
    model_config: Path | None = None,
    probe: bool = False,
    on_event: OnEvent | None = None,
) -> "StudyPlan":
    """What a study will do, need and be able to show, before any of it is spent.

    Hours come from earlier runs of the same model below `runs`, or from a `probe` that trains and scores each method
    briefly. `model_config` is a config.json to read where the model is not at hand. Raises ModelError and DataError.
    """
    from sweep.plan import study
    from sweep.plan.devices import grouped
    from sweep.study.seating import seatings

    data_root, cache = data_root.resolve(), (cache or DEFAULT_CACHE.expanduser()).resolve()
    basis = study.read_basis(spec, data_root=data_root, cache=cache, devices=devices, model_config=model_config)
    probed: Sequence[TrialRecord] = ()
    if probe:
        from sweep.study.probe import probe as run_probe

        first = grouped(devices, spec.methods)[0] if devices else None
        probed = run_probe(spec, data_root=data_root, cache=cache, device=first, on_event=on_event)
    plan = study.plan_study(spec, basis, runs=runs, probed=probed, seating=seatings(spec, study.facts_of(basis)))
    return _with_differences(spec, plan, runs / spec.name)


def plan_run(path: Path, *, cache: Path | None = None, model_config: Path | None = None) -> "StudyPlan":
    """The plan of a run that exists, and what its trials were estimated to need against what they used.

    Raises RunDirectoryError where there is no run, ModelError where the model's configuration is not to be had.
    """
    from sweep.plan import study
    from sweep.plan.check import check_memory
    from sweep.study.seating import seatings

    run = RunDirectory(path.resolve())
    spec = run.read_study()
    basis = study.basis_of_run(run, cache=(cache or DEFAULT_CACHE.expanduser()).resolve(), model_config=model_config)
    plan = study.plan_study(spec, basis, runs=run.path.parent, seating=seatings(spec, study.facts_of(basis)))
    checks = check_memory(run, basis.shape, basis.train)
    return _with_differences(spec, replace(plan, checks=tuple(checks)), run.path)


def _with_differences(spec: StudySpec, plan: "StudyPlan", run: Path) -> "StudyPlan":
    from reports.plan import detectable_differences, unknown_differences

    found = detectable_differences(spec, plan, run)
    return replace(plan, detectable=tuple(found), missing=(*plan.missing, *unknown_differences(plan, found)))
