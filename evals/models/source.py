"""Find a model's files: on the Hub, in a directory, or inside an installed package.

A GGUF file is converted once into the cache. transformers dequantizes one on every load, which takes longer than most
trials of a small model, and the model it gives refuses to be saved.
"""

import hashlib
import importlib.util
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from evals.errors import ModelError
from evals.outside import make_public
from evals.spec import ModelSpec

PACKAGE_PREFIX = "package:"
WEIGHTS_FILE = "model.safetensors"
MODELS = "models"
"""Folder of a data root that holds models, by their Hub names."""


@dataclass(frozen=True, slots=True)
class ModelSource:
    """Where transformers loads a model from."""

    name_or_path: str
    """A Hub name or a local directory."""
    revision: str | None
    """Revision on the Hub."""


def find_source(model: ModelSpec, *, cache: Path) -> ModelSource:
    """Find the model's files, converting a GGUF file into the cache. Raises ModelError where there are none."""
    name = model.model_name_or_path
    if name.startswith(PACKAGE_PREFIX):
        name = str(package_directory(name.removeprefix(PACKAGE_PREFIX)))
    if model.gguf_file is None:
        _refuse_missing_directory(name)
        return ModelSource(name, model.revision)
    gguf = Path(name) / model.gguf_file
    if not gguf.is_file():
        raise ModelError(f"{gguf}: no such GGUF file. Name a file within model_name_or_path.")
    return ModelSource(str(converted_gguf(gguf, cache=cache)), None)


def local_model(model: ModelSpec, data_root: Path | None) -> ModelSpec:
    """The same model read from `data_root`, where it is there; a prefetched copy is of the pinned revision already.

    The revision of a model that runs code of its own stays: it is what somebody has read.
    """
    if data_root is None:
        return model
    folder = data_root / MODELS / model.model_name_or_path
    if not folder.is_dir():
        return model
    revision = model.revision if model.trust_remote_code else None
    return model.model_copy(update={"model_name_or_path": str(folder.resolve()), "revision": revision})


def package_directory(package: str) -> Path:
    """Directory of an installed package, found without importing it. Raises ModelError where it is not installed."""
    spec = importlib.util.find_spec(package) if package.isidentifier() else None
    if spec is None or spec.origin is None:
        raise ModelError(f"package:{package}: this Python package is not installed. Install the one with the model.")
    return Path(spec.origin).parent


def converted_gguf(gguf: Path, *, cache: Path) -> Path:
    """Directory with the GGUF's dequantized weights, tokenizer and chat template, made on first use."""
    target = cache / "models" / f"{gguf.stem}-{_sha256(gguf)[:16]}"
    if not (target / WEIGHTS_FILE).is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{gguf.stem}-"))
        try:
            _convert(gguf, scratch)
            _publish(scratch, target)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return target


def _convert(gguf: Path, target: Path) -> None:
    # Imported here, where it is rare and slow: finding a source must not cost the import of torch.
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        loaded = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.bfloat16)
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    except (ValueError, OSError, KeyError, NotImplementedError) as error:
        raise ModelError(f"{gguf}: transformers cannot read this GGUF file: {error}.") from error
    # The loaded model is marked as quantized and refuses to be saved: move the weights into one that is not.
    config = loaded.config.__class__.from_dict(
        {key: value for key, value in loaded.config.to_dict().items() if key != "quantization_config"}
    )
    clean = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    clean.load_state_dict(loaded.state_dict())
    clean.save_pretrained(target)
    tokenizer.save_pretrained(target)


def _publish(scratch: Path, target: Path) -> None:
    make_public(scratch)
    try:
        scratch.rename(target)
    except OSError:
        # Another process published the same conversion first; a directory without weights is a half-done one.
        if not (target / WEIGHTS_FILE).is_file():
            shutil.rmtree(target)
            scratch.rename(target)


def _refuse_missing_directory(name: str) -> None:
    looks_local = name.startswith((".", "/", "~")) or name.count("/") > 1
    if looks_local and not Path(name).is_dir():
        raise ModelError(f"{name}: no such directory. Give a directory, a Hub name, or package:NAME.")


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
