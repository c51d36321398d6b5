"""How much a program may use; all of it is enforced from outside the program."""

from evals.spec import Spec

_MIB = 1 << 20


class Limits(Spec):
    """Bounds of one box."""

    wall_seconds: float = 3.0
    """From the moment a program is handed over; the stock runner's own bound."""
    cpu_seconds: int = 4
    """Processor time of all threads, the interpreter's start included."""
    memory_bytes: int = 1024 * _MIB
    """Address space. There is one process, so this is its memory."""
    threads: int = 8
    """Threads, the first included. No process can be started."""
    file_bytes: int = 16 * _MIB
    """Longest file."""
    disk_bytes: int = 64 * _MIB
    """All files together; they live in memory and go with the box."""
    output_bytes: int = _MIB
    """What is printed. More ends the program."""
    message_bytes: int = 64 * _MIB
    """Longest argument or result."""
    start_seconds: float = 30.0
    """Until the walls stand; only a machine that is overloaded comes near."""
