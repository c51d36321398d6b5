"""Run a toy study in a process of its own, to be killed: `run_toy_study.py RUN_DIRECTORY CALLS SECONDS SAMPLER`."""

import signal
import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from toy_runner import ToyRunner, build_toy, toy_study

from sweep.store import RunDirectory
from sweep.study.phases import Workers, run_study


def main(run: str, calls: str, seconds: str, sampler: str) -> None:
    spec = toy_study(sampler={"name": sampler, "n_startup_trials": 2})
    runner = ToyRunner(Path(calls), seconds=float(seconds))
    try:
        run_study(
            spec,
            run=RunDirectory(Path(run)),
            data_root=Path(run),
            cache=Path(run),
            on_event=lambda _: None,
            workers=Workers(partial(build_toy, runner)),
        )
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    # A shell that starts this in the background has it ignore Ctrl-C, which is what is to be tried.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    main(*sys.argv[1:])
