"""A confined interpreter as its keeper holds it: three pipes and a process to kill.

Nothing here waits without a deadline, and what a box prints is read while waiting for anything else, so a program can
neither block its keeper nor be blocked by it. The keeper's ends of the pipes never wait.
"""

import os
import select
import subprocess
import time
from collections.abc import Sequence
from signal import SIGKILL
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Self

from evals.code.inside import wire
from evals.code.limits import Limits
from evals.errors import RunError, TaskError

_CHUNK = 1 << 16
_LAST_SECONDS = 10.0
# Before a box is told what to run nothing hostile has run in it.
_START_BYTES = 4096


class BoxEnded(Exception):  # noqa: N818 - an outcome that is expected of hostile programs
    """The program in a box reached a limit, or is gone."""


class Box:
    """A running box. Leaving its `with` block kills everything in it."""

    def __init__(
        self,
        command: Sequence[str],
        limits: Limits,
        *,
        scratch: TemporaryDirectory[str] | None = None,
        farewell: int = SIGKILL,
    ) -> None:
        """Start a command; `{hear}` and `{tell}` in it become the numbers of its pipes.

        It starts in the scratch directory, which goes with the box, or in the root. The farewell is the signal upon
        which its process ends and leaves nobody behind. Raises TaskError where the command cannot be started; whether
        its walls stand is known later, when it is ready.
        """
        self._limits = limits
        self._farewell = farewell
        self._scratch = scratch
        self.output = b""
        self.walls = ""
        hear, self._tell = os.pipe()
        self._hear, tell = os.pipe()
        self._printed, prints = os.pipe()
        named = {"{hear}": str(hear), "{tell}": str(tell)}
        try:
            # Fork-safe in a process with threads and devices: nothing of ours runs between fork and exec.
            self._process = subprocess.Popen(  # noqa: S603
                [named.get(word, word) for word in command],
                stdin=subprocess.DEVNULL,
                stdout=prints,
                stderr=prints,
                env={},
                cwd=scratch.name if scratch else "/",
                pass_fds=(hear, tell),
                start_new_session=True,
            )
        except OSError as error:
            self._close_pipes()
            raise TaskError(f"{command[0]}: {error.strerror}") from error
        finally:
            for theirs in (hear, tell, prints):
                os.close(theirs)
        for ours in (self._tell, self._hear, self._printed):
            os.set_blocking(ours, False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """The process that stands for the box outside."""
        return self._process.pid

    def wait_until_ready(self) -> None:
        """Wait for the walls, once. Raises TaskError where they cannot be raised."""
        if self.walls:
            return
        deadline = time.monotonic() + self._limits.start_seconds
        try:
            kind, payload = self.receive(deadline)
        except BoxEnded as ended:
            said = self.output.decode(errors="replace").strip().splitlines()
            raise TaskError(f"{ended}{': ' + said[-1] if said else ''}") from None
        text = payload[:_START_BYTES].decode(errors="replace")
        if kind != wire.READY:
            raise TaskError(text)
        self.walls = text

    def send(self, kind: bytes, payload: bytes, deadline: float) -> None:
        """Send a message to a box that is ready. Raises BoxEnded."""
        rest = memoryview(wire.pack(kind, payload))
        while rest:
            self._wait(deadline, writing=True)
            try:
                rest = rest[os.write(self._tell, rest) :]
            except BlockingIOError:
                continue
            except BrokenPipeError:
                raise BoxEnded("the program ended") from None

    def receive(self, deadline: float) -> tuple[bytes, bytes]:
        """The next message. Raises BoxEnded."""
        header = self._read(wire.HEADER_BYTES, deadline)
        size = int.from_bytes(header[1:], "big")
        if size > self._limits.message_bytes:
            raise BoxEnded(f"a result of more than {self._limits.message_bytes} bytes")
        return header[:1], self._read(size, deadline)

    def drain(self, deadline: float) -> None:
        """Read what is printed until nobody in the box can print any more. Raises BoxEnded."""
        while self._printed_until(deadline):
            pass

    def close(self) -> None:
        """Kill all in the box and see them gone. Raises RunError for anything that outlives it."""
        ended = os.pidfd_open(self._process.pid)
        try:
            os.killpg(self._process.pid, self._farewell)
            if not _poll(ended, select.POLLIN, time.monotonic() + _LAST_SECONDS):
                os.killpg(self._process.pid, SIGKILL)
            self._process.wait()
            self._see_the_end(time.monotonic() + _LAST_SECONDS)
        finally:
            os.close(ended)
            self._close_pipes()
            if self._scratch is not None:
                self._scratch.cleanup()

    def _see_the_end(self, deadline: float) -> None:
        # Everybody inside holds the other end of this pipe, but for who closed it on purpose.
        while True:
            ready = _poll(self._hear, select.POLLIN, deadline)
            if not ready:
                raise RunError("A program outlived its sandbox. Look for processes named 'python' and end them.")
            if not os.read(self._hear, _CHUNK):
                return

    def _read(self, size: int, deadline: float) -> bytes:
        parts: list[bytes] = []
        while size:
            self._wait(deadline, writing=False)
            part = os.read(self._hear, min(size, _CHUNK))
            if not part:
                raise BoxEnded("the program ended")
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def _wait(self, deadline: float, *, writing: bool) -> None:
        """Wait until the message pipe is ready, reading what is printed meanwhile."""
        watched, event = (self._tell, select.POLLOUT) if writing else (self._hear, select.POLLIN)
        poll = select.poll()
        poll.register(watched, event)
        poll.register(self._printed, select.POLLIN)
        while True:
            ready = {descriptor for descriptor, _ in poll.poll(_milliseconds(deadline))}
            if not ready:
                raise BoxEnded("out of time")
            if self._printed in ready and not self._take_print():
                poll.unregister(self._printed)
            if watched in ready:
                return

    def _printed_until(self, deadline: float) -> bool:
        if not _poll(self._printed, select.POLLIN, deadline):
            raise BoxEnded("out of time")
        return self._take_print()

    def _take_print(self) -> bool:
        part = os.read(self._printed, _CHUNK)
        self.output += part
        if len(self.output) > self._limits.output_bytes:
            self.output = self.output[: self._limits.output_bytes]
            raise BoxEnded(f"printed more than {self._limits.output_bytes} bytes")
        return bool(part)

    def _close_pipes(self) -> None:
        for ours in (self._tell, self._hear, self._printed):
            os.close(ours)


def _poll(descriptor: int, event: int, deadline: float) -> bool:
    poll = select.poll()
    poll.register(descriptor, event)
    return bool(poll.poll(_milliseconds(deadline)))


def _milliseconds(deadline: float) -> int:
    return max(0, int((deadline - time.monotonic()) * 1000))
