"""Addresses of databases and servers, and the passwords in them.

In a study an address may name environment variables, as `${NAME}`: they are filled in only to connect, so that no file
holds a password. An address that holds one all the same loses it wherever a spec is written down; the spec in memory
keeps it, and a study is gone on with from the user's own file.
"""

import re
from collections.abc import Mapping
from typing import Annotated
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from pydantic import PlainSerializer

from sweep.errors import InputError

HIDDEN = "***"
REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
REFERENCES = re.compile(rf"(?:{REFERENCE.pattern})+")
SECRET_KEY = re.compile(r"[\w-]*(?:password|passwd|token|secret|key)", re.IGNORECASE)
SECRET_VALUE = re.compile(rf"\b({SECRET_KEY.pattern})=([^&\s]+)", re.IGNORECASE)
DRIVERS: Mapping[str, str] = {
    "postgres": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
    "mysql": "mysql+pymysql",
    # Optuna knows the dialect of MariaDB by MySQL's name only.
    "mariadb": "mysql+pymysql",
}
"""The driver that is meant where an address names none."""


def hide_passwords(text: str) -> str:
    """The text with user and password of every address in it, and every secret in a query, replaced.

    What only refers to a variable stays: it is no secret, and says where to look.
    """
    text = re.sub(r"(?<=://)(\S*)(?=@)", lambda found: _hidden(found.group()), text)
    return SECRET_VALUE.sub(lambda found: f"{found.group(1)}={_hidden(found.group(2))}", text)


def masked(address: str) -> str:
    """One address in the same way, whatever characters are in it."""
    scheme, user, rest = _parts(address)
    if not user:
        # Behind a name may stand a port, or a password whose host was forgotten.
        rest = re.sub(r"^([^:/?\[]+:)(?!\d+(?:[/?]|$)|\$\{)[^/?]+", rf"\1{HIDDEN}", rest) if scheme else rest
    return hide_passwords(f"{scheme}{_hidden(user[:-1])}@{rest}" if user else f"{scheme}{rest}")


Address = Annotated[str, PlainSerializer(masked, return_type=str, when_used="json")]
"""An address as a study has it. Written down, its password is hidden."""


def fill_in(address: str, environment: Mapping[str, str], *, key: str) -> str:
    """The address with its `${NAME}` replaced. Raises InputError where one is not set, named by the study's `key`.

    A variable may hold any password: it is percent-encoded where user, password and query stand. One that is the whole
    address is taken as it is.
    """

    def value(found: re.Match[str]) -> str:
        name = found.group(1)
        if name not in environment:
            raise InputError(f"{key}: the environment variable {name} is not set, and the address refers to it.")
        return environment[name]

    if REFERENCE.fullmatch(address):
        return REFERENCE.sub(value, address)
    scheme, user, rest = _parts(address)
    place, question, query = rest.partition("?")
    encoded = [REFERENCE.sub(lambda found: quote(value(found), safe=""), part) for part in (user, query)]
    return f"{scheme}{encoded[0]}{REFERENCE.sub(value, place)}{question}{encoded[1]}"


def with_driver(address: str) -> str:
    """The address of a database with the driver that is meant where it names none."""
    scheme, separator, rest = address.partition("://")
    return f"{DRIVERS.get(scheme.lower(), scheme)}{separator}{rest}"


def is_server_database(address: str) -> bool:
    """Whether an address is that of a database behind a server, as far as it tells: PostgreSQL or MySQL."""
    return address.partition("://")[0].partition("+")[0].lower() in DRIVERS


def hide(text: str, address: str) -> str:
    """The text without what is secret in an address, in whatever form a library has put it there."""
    for secret in sorted(_secrets(address), key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return hide_passwords(text)


def _secrets(address: str) -> set[str]:
    _, user, rest = _parts(address)
    password = user.removesuffix("@").partition(":")[2]
    # One with an @ of its own is read apart there by some, who then look for a host in the rest.
    written = {password, *password.split("@")}
    written |= {value for name, value in parse_qsl(urlsplit(rest).query) if SECRET_KEY.fullmatch(name)}
    return {form for secret in written for form in (secret, unquote(secret), quote(secret, safe="")) if form}


def _parts(address: str) -> tuple[str, str, str]:
    """Scheme with its slashes, user and password with the @, and what follows."""
    scheme, separator, rest = address.partition("://")
    if not separator:
        return "", "", address
    user, at, place = rest.rpartition("@")
    return f"{scheme}{separator}", f"{user}{at}", place


def _hidden(secret: str) -> str:
    """What is shown of a user with its password, or of a secret value."""
    value = (secret.partition(":")[2] or secret).rstrip(".,;)'\"")
    return secret if REFERENCES.fullmatch(value) else HIDDEN
