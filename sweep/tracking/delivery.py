"""The process that talks to MLflow, so that the driver never waits for it, imports it or shares its settings.

It reads one JSON line at a time from standard input: first a greeting with the study, then `{"deliver": …}` whenever a
record was written, last `{"finish": status}`. It answers with JSON lines: what was delivered, what a person should
know, and what is still owed when it ends. When the driver dies the input ends, and this process with it.
"""

import json
import os
import queue
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from filelock import FileLock, Timeout

from sweep.addresses import is_server_database
from sweep.database import check_database
from sweep.errors import RunDirectoryError
from sweep.spec import ReportSpec
from sweep.store import RunDirectory
from sweep.tracking.addresses import MAX_MESSAGE_CHARACTERS, brief, split_credentials
from sweep.tracking.ledger import Ledger, Pending, study_id, tracking_directory
from sweep.tracking.payload import Artifact, describe

if TYPE_CHECKING:
    from sweep.tracking.mlflow_store import MlflowStore, StudyRun

# A server that fails twice in a row is down; one record that it chokes on must not hold up the others.
FAILURES_IN_A_ROW = 2
LOCK_SECONDS = 30.0

Say = Callable[[dict[str, object]], None]


@dataclass(slots=True)
class Courier:
    """Brings records that MLflow was not told to MLflow."""

    run: RunDirectory
    study: str
    study_texts: dict[str, str]
    connect: Callable[[], "MlflowStore"]
    ledger: Ledger
    say: Say
    report: ReportSpec | None = None
    uri: str = ""
    """The store's address, whose secrets no message of its errors may repeat."""
    store: "MlflowStore | None" = None
    parent: "StudyRun | None" = None
    failing: bool = False
    behind: bool = True
    """Records may be on disk that nobody told of, or that were told of and not taken."""
    told: list[str] = field(default_factory=list)
    """Directories whose records were written since the last delivery."""
    complained: set[str] = field(default_factory=set)

    def deliver(self) -> None:
        """Send everything that is owed, until the server proves to be down."""
        failures = 0
        owed = self._owed()
        for item in owed:
            if failures == FAILURES_IN_A_ROW:
                return
            taken = self._attempt(item.key, partial(self._deliver_one, item))
            failures = 0 if taken else failures + 1
            self.behind = self.behind or not taken

    def finish(self, status: str) -> None:
        """Send what is owed and end the study's own run."""
        self.behind = True
        self.deliver()
        report = [
            Artifact(path, path.parent.relative_to(self.run.path).as_posix())
            for path in sorted(self.run.report.rglob("*"))
            if path.is_file()
        ]
        if not self.failing:
            self._attempt("study", lambda: self._close(status, report))

    def owed_keys(self) -> list[str]:
        """Records that are still to be sent."""
        return [item.key for item in self.ledger.pending()]

    def _owed(self) -> list[Pending]:
        # The parent run is opened even when nothing is owed yet, so that the study can be seen from its start.
        # An open one proves nothing: the server may have gone since, and whoever heard so need not hear it again.
        if self.parent is None and not self._attempt("study", self._open):
            return []
        told, self.told = self.told, []
        if not self.behind:
            # A study's thousandth record costs what its first did: the others are not looked at again.
            return [item for key in dict.fromkeys(told) if (item := self.ledger.record_of(key)) is not None]
        self.behind = False
        return self.ledger.pending()

    def _attempt(self, key: str, action: Callable[[], None]) -> bool:
        try:
            action()
        except RunDirectoryError as error:
            self._complain(key, f"MLflow is not told about {key}: {error}")
            return True
        except Exception as error:  # noqa: BLE001  (whatever a server or its client does costs one warning)
            if not self.failing:
                self._complain(
                    key,
                    f"MLflow did not take {key} ({brief(str(error), self.uri)}); "
                    "the study goes on and what is missing is sent later.",
                )
            self.failing = True
            return False
        self.failing = False
        return True

    def _complain(self, key: str, message: str) -> None:
        if key not in self.complained:
            self.complained.add(key)
            self.say({"warning": message})

    def _open(self) -> None:
        self.store = self.store or self.connect()
        self.parent = self.store.open_study(self.study, study_id(self.run))
        if self.parent.is_new:
            self.ledger.forget()
        self.ledger.set_study(None)

    def _deliver_one(self, item: Pending) -> None:
        record = item.directory.read_record()
        if record is None or self.store is None or self.parent is None:
            return
        payload = describe(record, item.directory, self.report)
        fingerprint = record.config_fingerprint
        self.store.log_trial(self.parent, study_id(self.run), item.key, fingerprint, payload)
        self._report_rejected(item.key)
        self.ledger.add(item)
        self.say({"delivered": item.key})

    def _close(self, status: str, report: list[Artifact]) -> None:
        if self.store is not None and self.parent is not None:
            self.store.close_study(self.parent, status, report, self.study_texts)
            self.ledger.set_study(status)
            self._report_rejected("study")

    def _report_rejected(self, key: str) -> None:
        if self.store is not None and self.store.rejected:
            names = ", ".join(self.store.rejected)[:MAX_MESSAGE_CHARACTERS]
            self.store.rejected.clear()
            self._complain(f"{key} values", f"MLflow refused values of {key} ({names}); the rest was taken.")


def main() -> int:
    """Serve the driver at the other end of standard input until it has finished or gone."""
    answers, sys.stdout = sys.stdout, sys.stderr
    say = _speaker(answers)
    lines: queue.Queue[str] = queue.Queue()
    greeting = json.loads(sys.stdin.readline())
    threading.Thread(target=_listen, args=(lines,), daemon=True).start()
    run = RunDirectory(Path(greeting["run"]))
    try:
        # A killed driver leaves a delivery that is still ending: two at once would create runs twice.
        with FileLock(tracking_directory(run) / "lock", timeout=LOCK_SECONDS):
            _serve(_courier(greeting, run, say), lines, say)
    except Timeout:
        say({"warning": "Another process is still logging this study to MLflow; what is missing is sent later."})
    except Exception as error:  # noqa: BLE001  (the driver must hear about it in one line, whatever it is)
        reason = brief(str(error), greeting["uri"])
        say({"warning": f"Logging to MLflow ended ({reason}); what is missing is sent later."})
    return 0


def _courier(greeting: dict[str, Any], run: RunDirectory, say: Say) -> Courier:
    uri, credentials = split_credentials(greeting["uri"])
    root = None if greeting["artifact_root"] is None else Path(greeting["artifact_root"])
    _settle(credentials, greeting["request_seconds"], greeting["retries"])

    def connect() -> "MlflowStore":
        if is_server_database(uri):
            # MLflow itself would try for minutes, and say at length why not.
            check_database(uri, key="tracking.tracking_uri")
        # MLflow takes seconds to import and reads its settings then: first settle them, and only where it is needed.
        from sweep.tracking import mlflow_store

        return mlflow_store.connect(uri, artifact_root=root)

    ledger = Ledger(run, greeting["uri"])
    return Courier(run, greeting["study"], greeting["texts"], connect, ledger, say, _report_spec(run), greeting["uri"])


def _report_spec(run: RunDirectory) -> ReportSpec | None:
    """What an hour costs; a study that cannot be read has no price, and its records are delivered all the same."""
    try:
        return run.read_study().report
    except RunDirectoryError:
        return None


def _settle(credentials: dict[str, str], request_seconds: int, retries: int) -> None:
    """Set MLflow's settings in this process alone; what the user has set stays."""
    os.environ.update(credentials)
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", str(request_seconds))
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", str(retries))
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "1")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")


def _serve(courier: Courier, lines: "queue.Queue[str]", say: Say) -> None:
    finish: str | None = None
    while finish is None:
        courier.deliver()
        # During an outage messages pile up; one look at the disk answers all of them.
        waiting = [lines.get()]
        while not lines.empty():
            waiting.append(lines.get())
        messages = [json.loads(line) for line in waiting]
        courier.told += [message["deliver"] for message in messages if "deliver" in message]
        finish = next((message["finish"] for message in messages if "finish" in message), None)
    courier.finish(finish)
    say({"owed": courier.owed_keys()})


def _listen(lines: "queue.Queue[str]") -> None:
    for line in sys.stdin:
        lines.put(line)
    # The driver is gone, and may be started again at any moment: whoever is told what then is up to the next delivery.
    os._exit(0)


def _speaker(stream: TextIO) -> Say:
    def say(message: dict[str, object]) -> None:
        try:
            stream.write(json.dumps(message) + "\n")
            stream.flush()
        except BrokenPipeError:
            # The driver is gone and needs no answer; the ledger knows what was delivered.
            return

    return say


if __name__ == "__main__":
    sys.exit(main())
