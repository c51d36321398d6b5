"""Secrets of the environment, kept out of all that is written down or shown.

Nobody here writes one on purpose. But an error of a library may repeat the address, the header or the setting that
failed, and a record of that error goes into reports and onto servers.
"""

import re
from collections.abc import Mapping
from urllib.parse import quote, quote_plus

from sweep.addresses import HIDDEN, hide_passwords

SECRET_NAME = re.compile(
    r"token|passw(or)?d|passphrase|secret|credential|(api|access|private|auth|signing)_?key|_key$", re.IGNORECASE
)
SHORTEST = 6
"""Characters; a shorter value stands in texts by chance, and hiding it there would tell what it is."""


def hide_secrets(text: str, environment: Mapping[str, str]) -> str:
    """The text without passwords in addresses, and without the value of any variable that is named like a secret."""
    values = {
        form
        for name, value in environment.items()
        if SECRET_NAME.search(name) and len(value) >= SHORTEST
        for form in (value, quote(value), quote(value, safe=""), quote_plus(value))
    }
    for value in sorted(values, key=len, reverse=True):
        text = text.replace(value, HIDDEN)
    return hide_passwords(text)
