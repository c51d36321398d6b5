"""Where the `sweep` command begins, before anything is imported that takes time."""

import os
import sys

from sweep.interrupts import leave_at_once, leave_without_the_end, leaving_at_once


def main() -> int:
    """Run the command and give its exit code."""
    _open_streams()
    with leaving_at_once():
        from sweep.cli import main as command
    code = command()
    # Python's own end takes a while, and what interrupts that has nothing to save either.
    leave_at_once()
    leave_without_the_end(code)
    return code


def _open_streams() -> None:
    """Have the streams that were closed lead nowhere: the first files to be opened would get their numbers."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            stream = open(os.devnull, mode, encoding="utf-8")  # noqa: PTH123, SIM115 - no path, and never closed
            os.set_inheritable(stream.fileno(), True)  # noqa: FBT003 - positional only
            setattr(sys, name, stream)
