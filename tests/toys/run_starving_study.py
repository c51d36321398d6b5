"""Run a toy study whose workers the kernel ends for want of memory: `run_starving_study.py ROOT CONTROL_GROUP`.

A trial that reads more than two rows at a time takes all the memory that it can get.
"""

import os
import sys
from pathlib import Path

from lab import Lab, random_study


def main(root: str, group: str) -> None:
    # Whatever is started from here on is in the group too.
    (Path(group) / "cgroup.procs").write_text(str(os.getpid()))
    space = {"training.learning_rate": {"min": 1e-5, "max": 1e-1, "log": True}}
    spec = random_study(search_space=space, budget={"trials_per_method": 2, "confirm_seeds": 0})
    Lab(Path(root)).start(spec, most_rows=2, eats=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
