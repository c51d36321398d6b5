"""The driver's side of tracking: say that a record was written, and go on.

Delivery happens in a process of its own (`sweep.tracking.delivery`). The records on disk are its outbox, so a message
only wakes it: whatever is lost on the way is found again by the next message, or the next `sweep run`.
"""

import json
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from sweep.addresses import is_server_database, with_driver
from sweep.record import TrialRecord
from sweep.spec import StudySpec
from sweep.store import RunDirectory, TrialDirectory
from sweep.tracking.ledger import Ledger
from sweep.tracking.payload import RunStatus, run_name

NAMED_IN_A_WARNING = 3


@dataclass(frozen=True, slots=True)
class Patience:
    """How long tracking waits for a server."""

    request_seconds: int = 10
    """For one answer."""
    retries: int = 1
    """Times a request is repeated."""
    finish_seconds: float = 20.0
    """For everything that is left when the study ends."""
    stop_seconds: float = 2.0
    """The same where the study was told to stop: all that is saved is sent by the next run."""


class Tracker:
    """Tells MLflow about a study. No method raises or waits, but for `finish`, which waits a bounded time."""

    def __init__(
        self,
        spec: StudySpec,
        run: RunDirectory,
        *,
        on_warning: Callable[[str], None],
        patience: Patience | None = None,
        uri: str | None = None,
    ) -> None:
        """`uri` is the store's address with its variables filled in; without it, as the study has it."""
        self._spec = spec
        self._run = RunDirectory(run.path.resolve())
        self._on_warning = on_warning
        self._patience = patience or Patience()
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        self._owed: dict[str, str] = {}
        self._settled = False
        self._uri = with_driver(uri or spec.tracking.tracking_uri or f"sqlite:///{self._beside.as_posix()}/mlflow.db")

    def start(self) -> None:
        """Begin; what an earlier run could not deliver is sent first."""
        if not Ledger(self._run, self._uri).is_settled:
            self._open()

    def _open(self) -> None:
        if not self._spec.tracking.mlflow or self._process is not None:
            return
        try:
            self._process = _open_delivery()
        except OSError as error:
            self._on_warning(f"Logging to MLflow could not start ({error}); what is missing is sent later.")
            return
        self._reader = threading.Thread(target=self._listen, args=(self._process,), daemon=True)
        self._reader.start()
        self._send(self._greeting())

    def log(self, record: TrialRecord, directory: TrialDirectory) -> None:
        """Say that a trial's record has been written."""
        key = directory.path.resolve().relative_to(self._run.path).as_posix()
        self._owed[key] = run_name(record)
        self._open()
        self._send({"deliver": key})

    def finish(self, status: RunStatus = "FINISHED") -> None:
        """End the study's run, waiting a bounded time for what is still on its way."""
        process, reader = self._process, self._reader
        if process is None or reader is None:
            return
        self._process = None
        self._send({"finish": status}, process)
        try:
            patience = self._patience
            process.wait(patience.stop_seconds if status == "KILLED" else patience.finish_seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        reader.join()
        for stream in (process.stdin, process.stdout):
            _close(stream)
        self._warn_about_owed()

    @property
    def _beside(self) -> Path:
        """Where MLflow's own files are put that no server keeps."""
        return self._run.path.parent

    def _greeting(self) -> dict[str, object]:
        # A database holds no files, and MLflow would put them into whatever directory this happens to run in.
        keeps_no_files = self._spec.tracking.tracking_uri is None or is_server_database(self._uri)
        return {
            "run": str(self._run.path),
            "study": self._spec.name,
            "uri": self._uri,
            "artifact_root": str(self._beside / "mlartifacts") if keeps_no_files else None,
            "request_seconds": self._patience.request_seconds,
            "retries": self._patience.retries,
            "texts": {"study.json": self._spec.model_dump_json(indent=2) + "\n"},
        }

    def _send(self, message: dict[str, object], process: "subprocess.Popen[str] | None" = None) -> None:
        target = process or self._process
        if target is None or target.stdin is None:
            return
        try:
            target.stdin.write(json.dumps(message) + "\n")
            target.stdin.flush()
        except (OSError, ValueError):
            # The process has ended and has said why, or will be missed by finish; records are found again later.
            return

    def _listen(self, process: "subprocess.Popen[str]") -> None:
        for line in process.stdout or ():
            try:
                message = json.loads(line)
            except ValueError:
                # Killed in the middle of a line.
                continue
            if "warning" in message:
                self._on_warning(message["warning"])
            if "delivered" in message:
                self._owed.pop(message["delivered"], None)
            if "owed" in message:
                self._settled = True
                self._owed = {key: self._owed.get(key, key) for key in message["owed"]}

    def _warn_about_owed(self) -> None:
        if self._settled and not self._owed:
            return
        names = list(self._owed.values())
        some = ", ".join(names[:NAMED_IN_A_WARNING]) + (", …" if len(names) > NAMED_IN_A_WARNING else "")
        what = f"{len(names)} records ({some})" if names else "the end of the study"
        self._on_warning(f"MLflow has not been told about {what}; the same `sweep run` again sends what is missing.")


def _open_delivery() -> "subprocess.Popen[str]":
    return subprocess.Popen(
        # -P keeps a folder of the user's that happens to be called `evals` or `sweep` from being imported.
        [sys.executable, "-P", "-m", "sweep.tracking.delivery"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        # MLflow prints addresses and progress there, which belong neither on the driver's terminal nor on disk.
        stderr=subprocess.DEVNULL,
        text=True,
        encoding="utf-8",
        # Ctrl-C is for the driver, which then says what is to become of the study's run.
        start_new_session=True,
    )


def _close(stream: "IO[str] | None") -> None:
    try:
        if stream is not None:
            stream.close()
    except OSError:
        # What was still unwritten had no reader any more.
        return
