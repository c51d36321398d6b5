"""Studies to copy and start from, each headed with its question, its cost and its command. Data only."""

from importlib import resources
from pathlib import Path


def bundled() -> dict[str, Path]:
    """Bundled study files by name."""
    files = (Path(str(entry)) for entry in resources.files(__name__).iterdir() if entry.name.endswith(".yaml"))
    return {path.stem: path for path in sorted(files)}


def question(path: Path) -> str:
    """What a study asks: the first comment of its file, empty where there is none."""
    with path.open(encoding="utf-8") as lines:
        comments = (line.lstrip("# ").rstrip() for line in lines if line.startswith("#"))
        return next(filter(None, comments), "")
