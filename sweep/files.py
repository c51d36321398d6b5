"""Files of a run directory: written whole or not at all, read within bounds, refused in one line."""

import json
import os
import re
from pathlib import Path

import yaml
from pydantic import BaseModel, ValidationError

from evals.outside import read_outside
from sweep.errors import RunDirectoryError, StudyFileError
from sweep.study_file.document import parse

MAX_YAML_BYTES = 4 * 2**20
"""No study or config comes near."""
MAX_VALUES = 200_000
"""Values in a study or config, aliases written out."""
COMPLAINTS = 3
"""Of what may be hundreds, so many are named."""
WIDTH = 2**20
"""Columns of a file that programs write: no text is broken over lines."""
LONGEST_REASON = 200
"""Characters that are shown of a library's complaint."""
PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_./-]*")
"""Text that no version of YAML takes for anything else, but for these:"""
WORDS_OF_OLD = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})


def write_yaml(path: Path, model: BaseModel) -> None:
    """Write a model as YAML 1.2, whole or not at all."""
    plain = model.model_dump(mode="json")
    write_text(path, yaml.dump(plain, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=WIDTH))


def read_yaml(path: Path) -> object:
    """What `write_yaml` wrote, without tags and of bounded size. Raises RunDirectoryError for anything else."""
    bad = f"{path}: damaged, or not a file that this version wrote"
    try:
        parsed = parse(read_outside(path, MAX_YAML_BYTES).decode("utf-8"), path, max_values=MAX_VALUES)
    except OSError as error:
        raise RunDirectoryError(f"{path}: cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise RunDirectoryError(f"{bad} (it is not UTF-8 text).") from error
    except StudyFileError as error:
        raise RunDirectoryError(f"{bad} ({_without(path, str(error))}).") from error
    if parsed.problems:
        raise RunDirectoryError(f"{bad} ({_without(path, str(parsed.problems[0]))}).")
    return parsed.value


def _without(path: Path, complaint: str) -> str:
    """A complaint about a file that has been named already; it begins with the line, where there is one."""
    rest = complaint.removeprefix(f"{path}:").strip().removesuffix(".")
    return f"line {rest}" if rest[:1].isdigit() else rest


def unreadable(path: Path, what: str, error: ValueError, remedy: str = "") -> RunDirectoryError:
    """One line, naming the first few of what may be hundreds of complaints."""
    found = error.errors(include_url=False, include_input=False) if isinstance(error, ValidationError) else []
    said = [": ".join([*filter(None, [".".join(map(str, one["loc"]))]), one["msg"]]) for one in found[:COMPLAINTS]]
    said = [text if len(text) <= LONGEST_REASON else f"{text[:LONGEST_REASON]}..." for text in said or [str(error)]]
    more = f"; and {len(found) - COMPLAINTS} more" if len(found) > COMPLAINTS else ""
    why = "; ".join(said) + more
    return RunDirectoryError(f"{path}: damaged, or not {what} that this version can read ({why}).{remedy}")


class _Dumper(yaml.CSafeDumper):  # type: ignore[misc]  # yaml is untyped
    """Writes text so that readers of YAML 1.1 and 1.2 take it for text; many times faster than a writer of 1.2."""


def _write_text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    is_plain = PLAIN.fullmatch(text) is not None and text.lower() not in WORDS_OF_OLD
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if is_plain else '"')


_Dumper.add_representer(str, _write_text)


def write_json(path: Path, value: object) -> None:
    """Write plain values as JSON, whole or not at all."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write to a temporary name, flush to disk, rename: a reader sees the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def briefly(error: Exception) -> str:
    """What is wrong with a file, on one line."""
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False)[0]
        return f"{'.'.join(map(str, first['loc'])) or 'the whole'}: {first['msg']}"
    return " ".join(str(error).split())[:LONGEST_REASON]
