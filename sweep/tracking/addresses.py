"""Addresses of stores may hold passwords, and MLflow's error messages repeat the address."""

from urllib.parse import unquote, urlsplit, urlunsplit

from sweep.addresses import hide, hide_passwords

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


def brief(message: str, address: str = "") -> str:
    """The first line of a message, passwords and all that is secret in `address` hidden, short enough to be read."""
    first = message.strip().splitlines()[0] if message.strip() else "no reason given"
    return (hide(first, address) if address else hide_passwords(first))[:MAX_MESSAGE_CHARACTERS]
