"""What has to be the same wherever one study's trials run: another version may give other results."""

import hashlib
import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

import evals
import sweep

AGREEING = ("torch", "transformers", "trl", "peft", "accelerate", "bitsandbytes", "lm-eval", "datasets")
"""Packages of which another version may give other results."""


def versions() -> Mapping[str, str]:
    """What has to be the same wherever one study's trials run, by name."""
    found = {"Python": platform.python_version(), "finetune-sweep": f"{_version('finetune-sweep')} ({_sources()})"}
    return found | {name: _version(name) for name in AGREEING}


def differences(here: Mapping[str, str], there: Mapping[str, str]) -> str:
    """What does not agree, as a person would say it; empty where all does."""
    others = [name for name in here if there.get(name) != here[name]]
    return ", ".join(f"{name} {there.get(name) or 'missing'} instead of {here[name] or 'none'}" for name in others)


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _sources() -> str:
    """Fingerprint of this package's own code: one version number stands for many states of a checkout."""
    digest = hashlib.sha256()
    for package in (sweep, evals):
        root = Path(package.__path__[0])
        for path in sorted(root.rglob("*.py")):
            digest.update(f"{path.relative_to(root)}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:12]
