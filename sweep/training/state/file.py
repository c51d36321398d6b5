"""One file that holds a training state: tensors, and plain values as JSON in the header.

It is a safetensors file, so reading one runs no code. It takes its name only once it is whole and on disk, and its
checksum covers values and tensors alike: what is read is what was written, or nothing.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

VALUES, CHECKSUM = "values", "sha256"


class StateUnusableError(Exception):
    """A saved training state cannot be gone on from; why, in a phrase."""


@dataclass(frozen=True, slots=True)
class TrainingState:
    """What a training needs to go on."""

    tensors: Mapping[str, torch.Tensor]
    """Weights, moments and random states, by name."""
    values: Mapping[str, Any]
    """Everything else, as JSON has it."""


def write_state(path: Path, state: TrainingState) -> None:
    """Write to a temporary name, flush to disk, rename. Raises OSError where there is no room."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = _on_their_own(state.tensors)
    values = json.dumps(state.values)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        try:
            save_file(tensors, temporary, metadata={VALUES: values, CHECKSUM: _checksum(values, tensors)})
        except SafetensorError as error:
            # The library reports a full disk as an error of its own.
            raise OSError(str(error)) from error
        _flush(temporary)
        temporary.replace(path)
        _flush(path.parent)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def read_values(path: Path) -> Mapping[str, Any]:
    """The plain values alone, unchecked. Raises StateUnusableError where the file's header is not whole."""
    try:
        with safe_open(path, framework="pt") as stream:
            return _mapping(json.loads((stream.metadata() or {})[VALUES]))
    except (SafetensorError, OSError, ValueError, KeyError, RecursionError) as error:
        raise StateUnusableError(_damage(error)) from error


def read_state(path: Path) -> TrainingState:
    """Read a whole state. Raises StateUnusableError where it is not what was written."""
    try:
        with safe_open(path, framework="pt") as stream:
            header = stream.metadata() or {}
            tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118 - no mapping
        if header[CHECKSUM] != _checksum(header[VALUES], tensors):
            raise StateUnusableError("it is damaged: its checksum does not agree")
        return TrainingState(tensors, _mapping(json.loads(header[VALUES])))
    except (SafetensorError, OSError, ValueError, KeyError, RecursionError) as error:
        raise StateUnusableError(_damage(error)) from error


def _damage(error: Exception) -> str:
    return f"it is damaged or cannot be read ({type(error).__name__}: {error})"


def _mapping(value: object) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise StateUnusableError("it is damaged: it holds no values")
    return value


def _on_their_own(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """On the CPU, contiguous, none a part of another's memory; copied only where that is not so already."""
    own: dict[str, torch.Tensor] = {}
    seen: set[int] = set()
    for name, tensor in tensors.items():
        plain = tensor.detach().cpu().contiguous()
        storage = plain.untyped_storage()
        if storage.data_ptr() in seen or storage.nbytes() != plain.nbytes:
            plain = plain.clone()
        seen.add(plain.untyped_storage().data_ptr())
        own[name] = plain
    return own


def _checksum(values: str, tensors: Mapping[str, torch.Tensor]) -> str:
    digest = hashlib.sha256(values.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
