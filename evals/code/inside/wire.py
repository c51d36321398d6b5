"""Messages between the box and its keeper: one letter that says what it is, a length, and the text.

What comes out of a box was written by whoever runs in it. The keeper believes a letter only from a box in which it
makes sense, and never reads the text of a candidate's message: it hands it on.
"""

import os

# From the keeper: what to be.
PROGRAM = b"G"  # run a program to its end
CANDIDATE = b"A"  # load a program, then answer calls to its functions
TEST = b"T"  # run a data set's test, calling the candidate through the keeper
# From the box.
READY = b"R"  # the walls stand
BROKEN = b"B"  # the walls could not be raised, and why
LOADED = b"L"
CALL = b"C"  # a test's call to the candidate; handed on as it is
VALUE = b"V"  # what the candidate returned
RAISED = b"E"  # an exception's type name and message
DONE = b"D"  # the program, or the whole test, ran to its end

HEADER_BYTES = 9


def pack(kind: bytes, payload: bytes) -> bytes:
    """One message as it goes over the wire."""
    return kind + len(payload).to_bytes(HEADER_BYTES - 1, "big") + payload


class Wire:
    """The box's end."""

    __slots__ = ("_hear", "_tell")

    def __init__(self, hear: int, tell: int) -> None:
        self._hear = hear
        self._tell = tell

    def read(self) -> tuple[bytes, bytes]:
        """The next message, its letter and its text. Raises EOFError when the keeper has gone."""
        header = self._read(HEADER_BYTES)
        return header[:1], self._read(int.from_bytes(header[1:], "big"))

    def write(self, kind: bytes, payload: bytes = b"") -> None:
        """Send a message."""
        rest = memoryview(pack(kind, payload))
        while rest:
            rest = rest[os.write(self._tell, rest) :]

    def _read(self, size: int) -> bytes:
        parts = []
        while size:
            part = os.read(self._hear, min(size, 1 << 20))
            if not part:
                raise EOFError
            parts.append(part)
            size -= len(part)
        return b"".join(parts)
