"""Secrets of the environment, kept out of all that is written down or shown.

Nobody here writes one on purpose. But an error of a library may repeat the address, the header or the setting that
failed, and a record of that error goes into reports and onto servers.
"""

import re
from collections.abc import Mapping
from urllib.parse import quote, quote_plus

from sweep.addresses import HIDDEN, hide_passwords

SECRET_NAME = re.compile(
    r"token|passw(or)?d|passphrase|secret|credential|(api|access|private|auth|signing)_?key|_(key|pwd)$"
    r"|(^|_)(pass|pat|jwt|auth|cookie|dsn)$",
    re.IGNORECASE,
)
SHORTEST = 6
"""Characters; a shorter value stands in texts by chance, and hiding it there would tell what it is."""


def hide_secrets(text: str, environment: Mapping[str, str]) -> str:
    """The text without passwords in addresses, and without the value of any variable that is named like a secret."""
    for value in sorted(_values(environment), key=len, reverse=True):
        text = text.replace(value, HIDDEN)
    return hide_passwords(text)


def begun_secret(text: str, environment: Mapping[str, str]) -> int:
    """Characters at the end of a text that a secret begins with, whose rest may follow: it cannot be found yet."""
    return max((_begun(text, value) for value in _values(environment)), default=0)


def _values(environment: Mapping[str, str]) -> set[str]:
    """Every secret, in the forms in which it may stand in a text."""
    return {
        form
        for name, value in environment.items()
        if SECRET_NAME.search(name)
        # One that was read from a file often ends with the file's last line break.
        for bare in (value, value.strip())
        if len(bare) >= SHORTEST
        for form in (bare, quote(bare), quote(bare, safe=""), quote_plus(bare))
    }


def _begun(text: str, secret: str) -> int:
    at = text.find(secret[0], max(0, len(text) - len(secret) + 1))
    while at >= 0 and not secret.startswith(text[at:]):
        at = text.find(secret[0], at + 1)
    return 0 if at < 0 else len(text) - at
