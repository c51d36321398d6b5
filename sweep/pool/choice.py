"""Which pool a study's trials run in, as a person asks for it."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sweep.data.source import input_files
from sweep.events import Notice, OnEvent
from sweep.options import PoolName
from sweep.plan.devices import grouped, most_processes
from sweep.pool.local import LocalPool, cuda_devices
from sweep.protocol import Pool, Runner
from sweep.spec import StudySpec
from sweep.store import RunDirectory


@dataclass(frozen=True, slots=True)
class Workers:
    """Where trials run."""

    build_runner: Callable[[], Runner]
    """Makes what does the work inside a worker process; it is pickled."""
    devices: Sequence[str | None] = (None,)
    """One worker for each: what CUDA_VISIBLE_DEVICES is in it, None for as it is."""
    threads: int | None = None
    """Threads that each computes with; none leaves that to the libraries."""
    cluster: Callable[[RunDirectory, Callable[[str], None]], Pool] | None = None
    """Makes a pool of other machines' devices, where trials are to run there; it is given what tells a person."""

    def open(self, run: RunDirectory, on_event: OnEvent, *, silence_seconds: float | None = None) -> Pool:
        """The pool of these workers. None starts before it has something to do; one that says nothing is ended."""
        if self.cluster is not None:
            return self.cluster(run, lambda text: on_event(Notice(text)))
        return LocalPool(
            self.build_runner,
            logs=run.path,
            devices=self.devices,
            threads=self.threads,
            silence_seconds=silence_seconds,
        )


def choose_workers(  # noqa: PLR0913, PLR0917
    pool: PoolName,
    build_runner: Callable[[], Runner],
    spec: StudySpec,
    data_root: Path,
    devices: Sequence[str] | None = None,
    address: str = "auto",
    workers: int | None = None,
) -> Workers:
    """A worker for each group of GPUs, of this machine or of a Ray cluster; else `workers` on the CPU of each."""
    if pool == "ray":
        join = partial(_ray_pool, build_runner, spec, data_root.resolve(), address, workers or 1)
        return Workers(build_runner, cluster=join)
    found = grouped(cuda_devices() if devices is None else devices, spec.methods)
    if found or workers is None:
        return Workers(build_runner, devices=found or (None,))
    return Workers(build_runner, devices=(None,) * workers, threads=max(1, (os.cpu_count() or 1) // workers))


def _ray_pool(  # noqa: PLR0913, PLR0917
    build_runner: Callable[[], Runner],
    spec: StudySpec,
    data_root: Path,
    address: str,
    workers: int,
    run: RunDirectory,
    say: Callable[[str], None],
) -> Pool:
    from sweep.pool.cluster import ClusterPool
    from sweep.pool.ray import RayCluster
    from sweep.pool.roster import Roster

    join = partial(RayCluster, address, run=run.path, inputs=study_inputs(spec, data_root))
    roster = Roster(
        join,
        build_runner,
        run=run.path,
        workers=workers,
        gpus_per_worker=most_processes(spec.methods)[1],
        silence_seconds=spec.silence_seconds,
        say=say,
    )
    return ClusterPool(roster)


def study_inputs(spec: StudySpec, data_root: Path) -> list[Path]:
    """All files and directories of this machine that a study's trials read, which a node has to have as they are."""
    scoring, text = spec.evaluation.scoring, spec.evaluation.general_text
    judged = None if scoring.judge is None else scoring.judge.against
    beside = [text if isinstance(text, str) else None, scoring.data_root, judged]
    named = [Path(spec.model.model_name_or_path), *(data_root / name for name in beside if name is not None)]
    found = [*input_files(spec.data, data_root), *(path for path in named if path.exists())]
    return [path.absolute() for path in found]
