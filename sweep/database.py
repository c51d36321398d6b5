"""How a database behind a server is connected to, and, in one line, why it cannot be.

Here it is tried once, before anything has been spent. What becomes of a connection that is lost later is up to those
who use it: Optuna's storage waits (`sweep.search.patience`), MLflow is told later (`sweep.tracking`).
"""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from sweep.addresses import hide, is_server_database, masked, with_driver
from sweep.errors import InputError

if TYPE_CHECKING:
    from sqlalchemy import URL

CONNECT_SECONDS = 10
SILENCE_SECONDS = 60
"""After which a server that has gone without a word counts as lost."""
LONGEST_REASON = 300
LIBPQ_PREFIX = re.compile(r'^connection failed: |connection to server at "[^"]*"[^:]*failed: |FATAL:  ')
"""What says no more than the address does."""

_LIBPQ: Mapping[str, object] = {
    "connect_timeout": CONNECT_SECONDS,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": SILENCE_SECONDS * 1000,
    "application_name": "finetune-sweep",
}
_MYSQL: Mapping[str, object] = {
    "connect_timeout": CONNECT_SECONDS,
    "read_timeout": SILENCE_SECONDS,
    "write_timeout": SILENCE_SECONDS,
}
CONNECT_ARGUMENTS: Mapping[str, Mapping[str, object]] = {
    # A pooler between us and the server may hand each transaction to another session, which knows no statement of ours.
    "psycopg": {**_LIBPQ, "prepare_threshold": None},
    "psycopg2": _LIBPQ,
    "pymysql": _MYSQL,
    "mysqldb": _MYSQL,
}
"""What is asked of a driver beside the address, by its name."""
GIVING_AWAY = frozenset(
    {
        *(
            "local_infile",
            "allow_local_infile",
            "allow_local_infile_in_path",
            "read_default_file",
            "read_default_group",
        ),
        *("hostaddr", "passfile", "service", "servicefile"),
    }
)
"""What an address may not ask of a driver of MySQL or PostgreSQL: it lets the server read files of this machine, or
sends it a password that one of them holds for another server."""
EXTRAS: Mapping[str, str] = {"psycopg": "postgresql", "pymysql": "mysql"}
"""The extra of this package that a driver comes with."""


def connect_arguments(address: str) -> dict[str, object]:
    """What is asked of the address's driver; what the address itself asks for comes first."""
    url = _parse(address)
    wanted = CONNECT_ARGUMENTS.get(url.get_driver_name(), {})
    return {name: value for name, value in wanted.items() if name not in url.query}


def check_database(address: str, *, key: str, connect: bool = True) -> None:
    """Connect to a database once, or only see that there is a driver for it.

    Raises InputError with the reason where that fails, named by the study's `key`. `address` has its variables filled
    in. A file, which is made where there is none, is not looked at.
    """
    from sqlalchemy import NullPool, create_engine

    if address.startswith("sqlite"):
        return
    address = with_driver(address)
    try:
        engine = create_engine(address, poolclass=NullPool, connect_args=connect_arguments(address))
        if connect:
            engine.connect().close()
    except Exception as error:  # a driver may raise whatever it likes over an argument that it does not know
        raise refused(error, address, key=key) from error


def refused(error: Exception, address: str, *, key: str) -> InputError:
    """Why a database cannot be used, as what a person has to mend."""
    # The cause, which the command line does not print, is the library's own; it may repeat the address.
    return InputError(f"{key}: {masked(address)} cannot be opened: {reason(error, address)}.{_advice(error)}")


def reason(error: BaseException, address: str) -> str:
    """What a library says is wrong, on one line, without what is secret in the address, and without a period."""
    original = getattr(error, "orig", None) or error
    arguments = original.args
    # PyMySQL's errors are a number and a sentence.
    text = arguments[1] if len(arguments) > 1 and isinstance(arguments[1], str) else str(original)
    lines = hide(text, address).strip().splitlines() or [type(original).__name__]
    # Several addresses of one host are listed below such a line; below all others stands advice.
    line = " ".join(lines if lines[0].endswith(":") else lines[:1])
    return " ".join(LIBPQ_PREFIX.sub("", line).split()).rstrip(".")[:LONGEST_REASON]


def _advice(error: Exception) -> str:
    extra = EXTRAS.get(error.name or "") if isinstance(error, ModuleNotFoundError) else None
    return f' Its driver is missing: pip install "finetune-sweep[{extra}]".' if extra else ""


def _parse(address: str) -> "URL":
    from sqlalchemy import make_url

    try:
        url = make_url(address)
    except ValueError as error:
        # It repeats what stands where a port should: a password, where the host was forgotten.
        raise InputError("its port is not a number") from error
    if is_server_database(address) and "@" in (url.host or ""):
        raise InputError("an @ within user or password is written %40")
    given_away = sorted(GIVING_AWAY & url.query.keys())
    if given_away:
        raise InputError(f"{given_away[0]} would give the server what files of this machine hold; leave it out")
    return url
