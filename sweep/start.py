"""Where the `sweep` command begins, before anything is imported that takes time."""

from sweep.interrupts import leave_at_once, leave_without_the_end, leaving_at_once


def main() -> int:
    """Run the command and give its exit code."""
    with leaving_at_once():
        from sweep.cli import main as command
    code = command()
    # Python's own end takes a while, and what interrupts that has nothing to save either.
    leave_at_once()
    leave_without_the_end(code)
    return code
