"""Run a toy study in a process of its own, to be killed: `run_toy_study.py RUN_DIRECTORY CALLS SECONDS SAMPLER`.

With the ADDRESS of a Ray cluster behind these, such as `ray_nodes` starts, its trials run there. A sampler with `,slow`
behind its name has trials that never get done with saving their states.
"""

import signal
import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from sweep.interrupts import leave_at_once, leaving_at_once

if __name__ == "__main__":
    # A shell that starts this in the background has it ignore Ctrl-C, which is what is to be tried.
    signal.signal(signal.SIGINT, signal.default_int_handler)

with leaving_at_once():
    from toy_runner import ToyRunner, build_toy, toy_study

    from sweep.pool.choice import choose_workers
    from sweep.store import RunDirectory
    from sweep.study.phases import run_study


def main(run: str, calls: str, seconds: str, sampler: str, address: str = "") -> None:
    name, _, slow = sampler.partition(",")
    spec = toy_study(sampler={"name": name, "n_startup_trials": 2})
    runner = partial(build_toy, ToyRunner(Path(calls), seconds=float(seconds), saves_for_ever=bool(slow)))
    try:
        run_study(
            spec,
            run=RunDirectory(Path(run)),
            data_root=Path(run),
            cache=Path(run),
            on_event=lambda _: None,
            workers=choose_workers("ray" if address else "local", runner, spec, Path(run), (), address),
        )
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main(*sys.argv[1:])
    leave_at_once()
