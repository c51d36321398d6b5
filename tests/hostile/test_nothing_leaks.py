"""A study among secrets: none is written anywhere, nobody else can read its files, and nothing listens.

Real driver, workers, MLflow store and report; only the trials are toys, one of which ends in an error that repeats
every secret of the environment.
"""

import contextlib
import os
import sqlite3
import stat
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import psutil
import pytest
from toy_runner import ToyRunner, build_toy, toy_study

from sweep import api
from sweep.events import Event
from sweep.record import TrialRecord
from sweep.secrets import hide_secrets
from sweep.spec import StudySpec, TrackingSpec
from sweep.store import RunDirectory
from sweep.study.phases import Workers, run_study
from sweep.tracking.tracker import Patience, Tracker

SECRETS = (
    *("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "PGPASSWORD"),
    *("AWS_SECRET_ACCESS_KEY", "OPENAI_API_KEY", "MY_JUDGE_KEY", "WANDB_API_KEY", "DB_PASSWD"),
)
TAG = "CANARY"


@dataclass
class Watched:
    """What a study left, and what was seen while it ran."""

    root: Path
    run: RunDirectory
    events: list[Event] = field(default_factory=list)
    listening: set[tuple[int, object]] = field(default_factory=set)
    looked: int = 0

    def look(self, event: Event) -> None:
        """Note every socket that this process and those below it listen on."""
        self.events.append(event)
        found = ears()
        self.listening |= pairs(found)
        self.looked += len(found.keys() - {os.getpid()})


def ears() -> dict[int, set[object]]:
    """What this process and those below it listen on, of each that could be asked."""
    found: dict[int, set[object]] = {}
    for process in (psutil.Process(), *psutil.Process().children(recursive=True)):
        with contextlib.suppress(psutil.Error):
            sockets = process.net_connections("inet")
            found[process.pid] = {one.laddr for one in sockets if one.status == psutil.CONN_LISTEN}
    return found


def pairs(found: dict[int, set[object]]) -> set[tuple[int, object]]:
    return {(pid, address) for pid, addresses in found.items() for address in addresses}


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Watched:
    root = tmp_path_factory.mktemp("watched")
    seen = Watched(root, RunDirectory(root / "runs" / "toy"))
    # Other tests' servers may be up.
    others = pairs(ears())
    with pytest.MonkeyPatch.context() as patch:
        for name in SECRETS:
            patch.setenv(name, f"{TAG}/of {name}&+")
        before = os.umask(0o077)
        try:
            _study(toy_study(sampler={"name": "random"}, tracking=TrackingSpec(mlflow=True)), seen)
            api.build_report(seen.run)
        finally:
            os.umask(before)
    seen.listening -= others
    return seen


def _study(spec: StudySpec, seen: Watched) -> None:
    tracker = Tracker(spec, seen.run, on_warning=print, patience=Patience(finish_seconds=120))
    runner = ToyRunner(seen.root / "calls", seconds=0.2, blabs=("lora/1", "full/1"))
    run_study(
        spec,
        run=seen.run,
        data_root=seen.root,
        cache=seen.root,
        on_event=seen.look,
        tracker=tracker,
        workers=Workers(partial(build_toy, runner), (None,)),
    )


def test_no_secret_is_in_any_file(watched: Watched) -> None:
    files = [path for path in watched.root.rglob("*") if path.is_file()]
    told = [path for path in files if TAG.encode() in path.read_bytes()]

    assert told == []
    assert {path.name for path in files} >= {"record.json", "mlflow.db", "optuna.db", "index.html", "report.json"}


def test_what_a_worker_printed_is_kept_without_them(watched: Watched) -> None:
    printed = (watched.run.path / "worker-0.log").read_text()

    for begin in ("", "from below Python: "):
        assert f"\n{begin}401 Unauthorized for https://***@host/v1?token=*** " in printed


def test_the_error_that_repeated_them_is_kept_without_them(watched: Watched) -> None:
    record = watched.run.search_trial("lora", 1).read_record()

    assert isinstance(record, TrialRecord)
    assert record.failure is not None
    assert record.failure.message.startswith("ConnectionError: 401 Unauthorized for https://***@host/v1?token=*** ")
    assert "HF_TOKEN=*** or ***" in record.failure.message
    assert "ConnectionError" in str(record.failure.traceback)


def test_mlflow_was_told_of_it_and_knows_none(watched: Watched) -> None:
    with closing(sqlite3.connect(watched.root / "runs" / "mlflow.db")) as store:
        tags = dict(store.execute("SELECT key, value FROM tags WHERE key LIKE 'sweep.failure%'").fetchall())

    assert "401 Unauthorized" in tags["sweep.failure_message"]


def test_no_secret_is_shown(watched: Watched) -> None:
    assert len(watched.events) > 10
    assert TAG not in repr(watched.events)


def test_nothing_listens(watched: Watched) -> None:
    assert watched.looked > 10
    assert watched.listening == set()


def test_nobody_else_can_read_what_a_private_mask_keeps_private(watched: Watched) -> None:
    paths = [watched.run.path, *watched.run.path.rglob("*")]
    open_to_others = [path for path in paths if stat.S_IMODE(path.lstat().st_mode) & 0o077]

    assert len(paths) > 50
    assert open_to_others == []


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("key sk-12345678 refused", "key *** refused"),
        ("a%2Fb%20c%26%2B or a/b c&+", "*** or ***"),
        ("postgresql://me:pw@host/db", "postgresql://***@host/db"),
        ("level 3 of 1", "level 3 of 1"),
        ("a token of thanks", "a token of thanks"),
        ("header b'Bearer of-a-file\\n' refused", "header b'Bearer ***\\n' refused"),
        ("hunter22 and hunter33 at /srv/me/work", "*** and *** at /srv/me/work"),
    ],
)
def test_secrets_are_hidden_by_their_values(text: str, shown: str) -> None:
    environment = {
        "OPENAI_API_KEY": "sk-12345678",
        "db_password": "a/b c&+",
        "TOKENS": "3",
        "HOME": "thanks",
        "API_TOKEN": "of-a-file\n",
        "DB_PASS": "hunter22",
        "MYSQL_PWD": "hunter33",
        "PWD": "/srv/me/work",
        "OLDPWD": "/srv/me/work",
        "COMPASS": "/srv/me",
    }

    assert hide_secrets(text, environment) == shown
