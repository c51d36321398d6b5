"""Where the `sweep` command begins, before anything is imported that takes time."""

from sweep.interrupts import leaving_at_once


def main() -> int:
    """Run the command and give its exit code."""
    with leaving_at_once():
        from sweep.cli import main as command
    return command()
