"""One of the processes that train a trial together: it joins the others, trains its part, says how that ended.

It ends with the worker that started it, whatever it is doing: a thread waits for the end of a pipe of which the worker
alone holds the other side. It ignores signals that are sent to every process of a machine or a terminal, because what
they mean is for the worker to decide.
"""

import os
import re
import signal
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from multiprocessing.connection import Connection
from pathlib import Path

import torch
from torch import distributed

from evals.models.load import load_tokenizer
from evals.offline import reading_from
from sweep.adapters import load_trainee
from sweep.course import failure_of
from sweep.errors import InputError
from sweep.method_rules import starts_without_weights
from sweep.models import without_loading_bars
from sweep.progress import Progress
from sweep.protocol import Progressed, Refused, RungReached, Verdict
from sweep.resources import ResourceWatch
from sweep.sharded.order import Failed, Order, Trained
from sweep.training.outcome import TrainingOutcome
from sweep.training.ranks import Ranks
from sweep.training.solo import train

ECHO = re.compile(r"gloo|nccl|connection (closed|reset)|broken pipe|timed? ?out waiting|socket", re.IGNORECASE)
"""What torch says where another process of a group is gone or late."""
Tell = Callable[[object], None]


def serve(  # noqa: PLR0913, PLR0917 - what a process starts with
    number: int, count: int, order: Order, meeting: Path, worker: Connection, lifeline: Connection, patience: float
) -> None:
    """Train one part and report to the worker. The processes find each other through the file `meeting`."""
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    threading.Thread(target=_end_with_worker, args=(lifeline,), daemon=True).start()
    said: object
    try:
        said = _train(_join(number, count, order, meeting, patience), order, worker)
    except InputError as error:
        said = Refused(type(error).__name__, str(error))
    except Exception as error:  # noqa: BLE001 - whatever it is, the worker must hear of it
        is_echo = isinstance(error, distributed.DistError) or (
            isinstance(error, RuntimeError) and ECHO.search(str(error)) is not None
        )
        said = Failed(failure_of(error), is_echo)
    worker.send(said)
    # The worker ends all of them; tearing the group down by oneself waits for the others.
    threading.Event().wait()


def _end_with_worker(lifeline: Connection) -> None:
    with suppress(EOFError, OSError):
        lifeline.recv_bytes()
    os._exit(0)


def _join(number: int, count: int, order: Order, meeting: Path, patience: float) -> Ranks:
    """Become one of the processes. Whoever waits longer than `patience` seconds for the others fails."""
    first_loads = starts_without_weights(order.method)
    # What accelerate's launcher sets; the sockets of gloo and nccl stay on this machine's own interface.
    os.environ.update(
        RANK=str(number), LOCAL_RANK=str(number), WORLD_SIZE=str(count), LOCAL_WORLD_SIZE=str(count),
        ACCELERATE_USE_FSDP="true", FSDP_CPU_RAM_EFFICIENT_LOADING=str(first_loads).lower(),
        MASTER_ADDR="127.0.0.1", GLOO_SOCKET_IFNAME="lo", NCCL_SOCKET_IFNAME="lo",
    )  # fmt: skip
    on_gpu = torch.cuda.is_available()
    device = torch.device(f"cuda:{number}" if on_gpu else "cpu")
    if on_gpu:
        torch.cuda.set_device(device)
    else:
        torch.set_num_threads(max(1, torch.get_num_threads() // count))
    distributed.init_process_group(
        "cuda:nccl,cpu:gloo" if on_gpu else "gloo",
        init_method=meeting.absolute().as_uri(),
        rank=number,
        world_size=count,
        timeout=timedelta(seconds=patience),
    )
    return Ranks(number, count, device, first_loads)


def _train(ranks: Ranks, order: Order, worker: Connection) -> Trained:
    assert ranks.device is not None  # noqa: S101
    with (
        tempfile.TemporaryDirectory() as scratch,
        ResourceWatch(ranks.device) as watch,
        without_loading_bars(),
        reading_from(order.hub),
    ):
        began = time.monotonic()
        tokenizer = load_tokenizer(order.model, cache=order.cache)
        # On the CPU, because the whole of it need not fit a GPU; FSDP moves it there part by part.
        cpu = torch.device("cpu")
        trainee = load_trainee(order.model, order.method, seed=order.seed, cache=order.cache, device=cpu)
        seconds = {"load": time.monotonic() - began}
        outcome: TrainingOutcome = train(
            trainee,
            tokenizer,
            order.prepared,
            order.method.training,
            seed=order.seed,
            output=order.output if ranks.is_first else Path(scratch) / "checkpoint",
            steps_file=order.steps if ranks.is_first else Path(scratch) / "steps.jsonl",
            on_rung=lambda rung, loss: _judged(worker, RungReached(rung, loss) if ranks.is_first else None),
            on_progress=lambda progress: _report(worker, progress, ranks),
            deadline=order.deadline,
            ranks=ranks,
        )
        return Trained(outcome, seconds, watch.peak())


def _judged(worker: Connection, reached: RungReached | None) -> bool:
    """What the driver says of a rung: the same to all processes, of which the first one asks."""
    if reached is not None:
        worker.send(reached)
    verdict: Verdict = worker.recv()
    return verdict.prune


def _report(worker: Connection, progress: Progress, ranks: Ranks) -> None:
    if ranks.is_first:
        worker.send(Progressed(progress))
