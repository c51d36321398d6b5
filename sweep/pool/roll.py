"""The nodes of a cluster, as its head told them last: a thread asks, so that nobody waits for a head that is gone."""

import threading
import time
from collections.abc import Callable, Mapping

from sweep.errors import ClusterLostError
from sweep.pool.nodes import Node

ASK_SECONDS = 1.0
LOST_SECONDS = 40.0
"""How long the head may say nothing. After 60 s Ray ends this process, wherever it is."""


class Roll:
    """Calls the roll of a cluster's nodes again and again."""

    def __init__(self, ask: Callable[[], Mapping[str, Node]], *, lost_seconds: float = LOST_SECONDS) -> None:
        """`ask` may take as long as it likes, or never come back; the first time it is waited for."""
        self._ask = ask
        self._lost_seconds = lost_seconds
        self._ended = threading.Event()
        self._is_lost = False
        self._told, self._heard = ask(), time.monotonic()
        threading.Thread(target=self._call, daemon=True).start()

    def is_lost(self) -> bool:
        """Whether the head has said nothing for too long, which is for good. Waits for seconds before it says so."""
        if not self._is_lost and self._is_silent:
            # A process that was stopped for a while has to ask once more.
            time.sleep(3 * ASK_SECONDS)
            self._is_lost = self._is_silent
        return self._is_lost

    @property
    def _is_silent(self) -> bool:
        return time.monotonic() - self._heard > self._lost_seconds

    def nodes(self) -> Mapping[str, Node]:
        """Nodes by their identifiers. Raises ClusterLostError where the head has said nothing for too long."""
        if self.is_lost():
            raise ClusterLostError(
                f"the head of the cluster has not answered for {self._lost_seconds:.0f} s. Everything that ended is "
                "saved; start the cluster and run the study again."
            )
        return self._told

    def end(self) -> None:
        """Ask no more."""
        self._ended.set()

    def _call(self) -> None:
        while not self._ended.wait(ASK_SECONDS):
            try:
                self._told = self._ask()
            except Exception:  # noqa: BLE001, S112 - whatever a library raises then, nothing was heard
                continue
            self._heard = time.monotonic()
