"""Plain prose in paragraphs: the text that comes with this package, or one of the user's. Torch-free.

The bundled text was written for this package, and so is unlikely to be in anybody's training data.
"""

import hashlib
import textwrap
from importlib.resources import files
from pathlib import Path

from evals.errors import TaskError
from evals.outside import read_outside

LONGEST = 800
"""Characters of a paragraph; longer ones are divided between words, so that small models can read them too."""


def read_paragraphs(path: Path | None) -> list[str]:
    """Paragraphs of a text file, or of the bundled text. Raises TaskError for a file without any."""
    found = (" ".join(block.split()) for block in _read(path).split("\n\n"))
    paragraphs = [piece for block in found for piece in textwrap.wrap(block, LONGEST, break_on_hyphens=False)]
    if not paragraphs:
        raise TaskError(f"{path}: holds no text. Give paragraphs with an empty line between them.")
    return paragraphs


def text_sha256(path: Path | None) -> str:
    """SHA-256 of what is read. Raises TaskError for a file that cannot be."""
    return hashlib.sha256("\n\n".join(read_paragraphs(path)).encode()).hexdigest()


def _read(path: Path | None) -> str:
    if path is None:
        return (files("evals.tasks") / "general_text.txt").read_text("utf-8")
    try:
        return read_outside(path).decode("utf-8-sig").replace("\r\n", "\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise TaskError(f"{path}: cannot be read: {reason}. Name a text file.") from error
