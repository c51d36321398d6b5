"""Addresses of stores may hold passwords, and MLflow's error messages repeat the address."""

import re
from urllib.parse import unquote, urlsplit, urlunsplit

MAX_MESSAGE_CHARACTERS = 200


def split_credentials(uri: str) -> tuple[str, dict[str, str]]:
    """Take user and password out of a server's address, as the environment variables that MLflow reads them from."""
    parts = urlsplit(uri)
    if parts.scheme not in {"http", "https"} or "@" not in parts.netloc:
        return uri, {}
    user, _, host = parts.netloc.rpartition("@")
    name, _, password = user.partition(":")
    clean = urlunsplit(parts._replace(netloc=host))
    return clean, {"MLFLOW_TRACKING_USERNAME": unquote(name), "MLFLOW_TRACKING_PASSWORD": unquote(password)}


def hide_passwords(text: str) -> str:
    """The text with user and password of every address in it, and every secret in a query, replaced."""
    text = re.sub(r"://[^/\s]+@", "://***@", text)
    return re.sub(r"(?i)\b([\w-]*(?:password|passwd|token|secret|key))=[^&\s]+", r"\1=***", text)


def brief(message: str) -> str:
    """The first line of a message, passwords hidden, short enough to be read."""
    first = message.strip().splitlines()[0] if message.strip() else "no reason given"
    return hide_passwords(first)[:MAX_MESSAGE_CHARACTERS]
