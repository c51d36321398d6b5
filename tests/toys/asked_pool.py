"""Trials for a pool of toy workers, and the answers to them."""

import time
from collections.abc import Callable
from pathlib import Path

from toy_runner import toy_study

from sweep.config import configure
from sweep.protocol import Message, Pool, PrepareData, Progressed, RungReached, RunTrial, Verdict

PATIENCE_SECONDS = 60.0


def toy_trials(place: Path) -> Callable[..., RunTrial]:
    """Gives the toy study's trials by their numbers, each with a directory of its own."""
    spec = toy_study()

    def build(number: int, memory_bytes: float | None = None) -> RunTrial:
        config = configure(spec, "lora", {}, phase="search", number=number, seed=0, data_root=place)
        data = PrepareData(spec.model, spec.data, place, 64, place / "data", seed=3)
        return RunTrial(config, place / f"trial-{number}", data, memory_bytes=memory_bytes)

    return build


def until_answered(pool: Pool, job: int, *, prune: bool = False) -> list[Message]:
    """All messages of one job, every rung answered."""
    heard: list[Message] = []
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        for report in pool.wait(1.0):
            if report.job != job:
                continue
            heard.append(report.message)
            if isinstance(report.message, RungReached):
                pool.reply(job, Verdict(prune=prune))
            elif not isinstance(report.message, Progressed):
                return heard
    raise AssertionError(f"no answer; heard {heard}")


def pid_of_call(pool: Pool, calls: Path) -> int:
    """The process that runs the latest trial, from the toy runner's file, once there is a line in it."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        if calls.exists() and (lines := calls.read_text().splitlines()):
            return int(lines[-1].split()[-1])
        pool.wait(0.1)
    raise AssertionError("no trial was begun")
