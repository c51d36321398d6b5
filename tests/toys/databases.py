"""Real database servers for tests, thrown away afterwards: PostgreSQL and MariaDB on loopback, with random passwords.

They refuse to run as root, so they run as the system user that their packages make, in a directory of its own.
"""

import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import pymysql
import pytest
import sqlalchemy
from servers import free_port

PATIENCE_SECONDS = 60.0
# The kernel's asynchronous requests are counted over the whole machine, and may be used up.
PLAIN_IO = "--innodb-use-native-aio=0"


def new_password() -> str:
    """A password as password managers make them: every character that means something in an address is in it."""
    return f"{secrets.token_hex(8)}@/:?#%{{x}} &=+"


@dataclass
class Server:
    """One server on a loopback port; `sweep` may do everything in it."""

    driver: ClassVar[str]
    directory: Path
    port: int = field(default_factory=free_port)
    password: str = field(default_factory=new_password)
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def data(self) -> Path:
        return self.directory / "data"

    def address(self, database: str) -> sqlalchemy.URL:
        return sqlalchemy.URL.create(
            self.driver, "sweep", self.password, host="127.0.0.1", port=self.port, database=database
        )


@dataclass
class Postgres(Server):
    """One cluster, and its superuser."""

    driver = "postgresql+psycopg"
    binaries: Path = field(kw_only=True)

    def create(self) -> None:
        secret = self.directory / "password"
        secret.write_text(self.password)
        give(secret, "postgres")
        options = ["--username=sweep", f"--pwfile={secret}", "--auth=scram-sha-256", "--no-sync", "--locale=C.UTF-8"]
        run_as("postgres", [str(self.binaries / "initdb"), "-D", str(self.data), *options])

    def start(self) -> None:
        command = [str(self.binaries / "postgres"), "-D", str(self.data), "-p", str(self.port), "-k", ""]
        self.process = start_as("postgres", [*command, "-c", "listen_addresses=127.0.0.1"], self.directory / "log")
        wait_until(self.answers, self.process, self.directory / "log")

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """SIGINT is its fast shutdown, which ends sessions in the middle; SIGQUIT is as good as a crash."""
        stop(self.process, how)
        self.process = None

    def answers(self) -> bool:
        return can_connect(self.address("postgres"))

    def new_database(self) -> str:
        """Make an empty database and give its name."""
        name = f"d{secrets.token_hex(4)}"
        execute(self.address("postgres"), f"CREATE DATABASE {name}")
        return name


@dataclass
class MariaDb(Server):
    """One server, to which root gets by its socket."""

    driver = "mysql+pymysql"

    @property
    def socket(self) -> Path:
        return self.directory / "s"

    def create(self) -> None:
        options = ["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db", PLAIN_IO]
        run_as("mysql", ["mariadb-install-db", *options, f"--datadir={self.data}", f"--tmpdir={self.directory}"])

    def start(self) -> None:
        options = [f"--datadir={self.data}", f"--socket={self.socket}", f"--pid-file={self.directory / 'pid'}"]
        network = [f"--port={self.port}", "--bind-address=127.0.0.1", "--skip-name-resolve"]
        command = ["mariadbd", "--no-defaults", PLAIN_IO, *options, *network]
        self.process = start_as("mysql", command, self.directory / "log")
        wait_until(self.answers, self.process, self.directory / "log")

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        stop(self.process, how)
        self.process = None

    def answers(self) -> bool:
        # PyMySQL leaves its own socket open where it cannot connect it.
        with socket.socket(socket.AF_UNIX) as trial:
            return trial.connect_ex(str(self.socket)) == 0

    def admit(self) -> None:
        """Make the user. Its password takes the place of nothing, so only the socket's owner can get in before."""
        with pymysql.connect(user="root", unix_socket=str(self.socket)) as connection:
            connection.cursor().execute("CREATE USER 'sweep'@'127.0.0.1' IDENTIFIED BY %s", (self.password,))
            connection.cursor().execute("GRANT ALL PRIVILEGES ON *.* TO 'sweep'@'127.0.0.1'")

    def new_database(self) -> str:
        """Make an empty database and give its name."""
        name = f"d{secrets.token_hex(4)}"
        with pymysql.connect(user="root", unix_socket=str(self.socket)) as connection:
            connection.cursor().execute(f"CREATE DATABASE {name}")
        return name


@contextmanager
def postgres_server() -> Iterator[Postgres]:
    """A PostgreSQL server; skips where there is none on this machine."""
    binaries = _postgres_binaries()
    if binaries is None:
        pytest.skip("PostgreSQL's server is not installed here")
    with _directory("postgres") as directory:
        server = Postgres(directory, binaries=binaries)
        server.create()
        server.start()
        try:
            yield server
        finally:
            server.stop(signal.SIGQUIT)


@contextmanager
def mariadb_server() -> Iterator[MariaDb]:
    """A MariaDB server; skips where there is none on this machine."""
    if shutil.which("mariadbd") is None or shutil.which("mariadb-install-db") is None:
        pytest.skip("MariaDB's server is not installed here")
    with _directory("mysql") as directory:
        server = MariaDb(directory)
        server.create()
        server.start()
        server.admit()
        try:
            yield server
        finally:
            server.stop(signal.SIGKILL)


def execute(address: sqlalchemy.URL, statement: str) -> list[tuple[object, ...]]:
    """Run one statement outside any transaction, and give its rows."""
    engine = sqlalchemy.create_engine(address, poolclass=sqlalchemy.NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        result = connection.execute(sqlalchemy.text(statement))
        return [tuple(row) for row in result] if result.returns_rows else []


def can_connect(address: sqlalchemy.URL) -> bool:
    try:
        execute(address, "SELECT 1")
    except sqlalchemy.exc.OperationalError:
        return False
    return True


def start_as(user: str, command: Sequence[str], log: Path) -> "subprocess.Popen[bytes]":
    with log.open("ab") as stream:
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, cwd=log.parent, **_identity(user)
        )


def run_as(user: str, command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/", **_identity(user))
    assert done.returncode == 0, done.stdout + done.stderr


def stop(process: "subprocess.Popen[bytes] | None", how: signal.Signals) -> None:
    if process is not None:
        process.send_signal(how)
        process.wait(PATIENCE_SECONDS)


def give(path: Path, user: str) -> None:
    if os.geteuid() == 0:
        shutil.chown(path, user, user)


def wait_until(answers: "object", process: "subprocess.Popen[bytes]", log: Path) -> None:
    until = time.monotonic() + PATIENCE_SECONDS
    while not answers():  # type: ignore[operator]
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < until, log.read_text()
        time.sleep(0.05)


def _identity(user: str) -> dict[str, str]:
    """Who a server runs as: whoever runs the tests, unless that is root."""
    return {"user": user, "group": user} if os.geteuid() == 0 else {}


def _postgres_binaries() -> Path | None:
    found = shutil.which("postgres")
    packaged = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    return Path(found).parent if found else packaged[-1].parent if packaged else None


@contextmanager
def _directory(user: str) -> Iterator[Path]:
    """A directory that the server's user owns; pytest's own are closed to it. Skips where root has no such user."""
    if os.geteuid() == 0:
        try:
            pwd.getpwnam(user)
        except KeyError:
            pytest.skip(f"a server refuses to run as root, and there is no user {user} here")
    with tempfile.TemporaryDirectory(prefix="db-") as name:
        give(Path(name), user)
        yield Path(name)
