"""What a model from elsewhere may do to this machine: give numbers, and nothing more.

A pickle runs code when it is read, so weights are safetensors. Python code of a model's own runs only where the study
asks for it at a full commit hash: a branch or a tag may point at other code tomorrow. transformers would take code that
a model borrows from another repository from its newest state; pinned to this model's commit, such code is not found.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError

from evals.errors import ModelError
from evals.models.bounded import BoundsError, bounded
from evals.outside import parse_json, read_outside
from evals.spec import ModelSpec

COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
"""A full commit hash of git's."""
UNREADABLE = (
    *(OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError),
    *(SafetensorError, StrictDataclassError),
)
"""What libraries raise for files of a model that are damaged, lack something, or never were a model."""
ADAPTER_WEIGHTS = "adapter_model.safetensors"
SAFE = "*.safetensors"
MAX_CONFIG_BYTES = 16 * 2**20
MAX_LAYERS = 10_000
"""Layers of a model; what has more is never built to its end."""
LAYER_COUNTS = frozenset({"num_hidden_layers", "n_layer", "n_layers", "num_layers"})
PATTERN_SECONDS = 5.0
WHOLE_PATTERNS, PATTERNS_BY_NAME = ("target_modules", "exclude_modules"), ("rank_pattern", "alpha_pattern")
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")


def is_pinned(revision: str | None) -> bool:
    """Whether a revision can only ever mean one state of a repository."""
    return revision is not None and COMMIT.fullmatch(revision) is not None


def code_settings(model: ModelSpec) -> dict[str, object]:
    """Transformers' arguments on code of the model's own. Raises ModelError where it might be other code tomorrow."""
    if not model.trust_remote_code:
        return {"trust_remote_code": False}
    if not is_pinned(model.revision):
        raise ModelError(
            f"{model.model_name_or_path}: trust_remote_code needs a pinned revision, a full commit hash: what runs is "
            f"what was read. revision is {model.revision!r}."
        )
    return {"trust_remote_code": True, "code_revision": model.revision}


def refuse_pickled_model(directory: Path) -> None:
    """Raise ModelError where a directory holds weights, and none that can be read without running what is in them."""
    if directory.is_dir() and not any(directory.glob(SAFE)):
        _refuse_pickles(directory)


def refuse_pickled_adapter(adapter: Path) -> None:
    """Raise ModelError for a directory that is no adapter, and for one whose weights are not safetensors."""
    if not (adapter / "adapter_config.json").is_file():
        raise ModelError(f"{adapter}: no adapter_config.json here. Give the directory of a PEFT adapter.")
    if not (adapter / ADAPTER_WEIGHTS).is_file():
        _refuse_pickles(adapter)
        # PEFT would look for them on the Hub, under the directory's name.
        raise ModelError(f"{adapter}: no {ADAPTER_WEIGHTS} here. Give the directory of a whole PEFT adapter.")


def refuse_endless_model(name: str, settings: Mapping[str, Any]) -> None:
    """Raise ModelError for a configuration of so many layers that building the model would not end."""
    for key, value in settings.items():
        if isinstance(value, Mapping):
            refuse_endless_model(name, value)
        elif key in LAYER_COUNTS and isinstance(value, int | float) and value > MAX_LAYERS:
            raise ModelError(f"{name}: {key} is {value:g}; models of at most {MAX_LAYERS:,} layers are built.")


def refuse_endless_adapter(adapter: Path, modules: Iterable[str]) -> None:
    """Raise ModelError where an adapter's patterns take for ever over the names of modules, or it repeats layers so.

    PEFT holds every pattern against every name, and there are patterns that take years over some.
    """
    try:
        settings = parse_json(read_outside(adapter / "adapter_config.json", MAX_CONFIG_BYTES))
        replicated = sum(max(0, end - start) for start, end in settings.get("layer_replication") or ())
        patterns = [f"({one})$" for key in WHOLE_PATTERNS if isinstance(one := settings.get(key), str)]
        patterns += [rf"(.*\.)?({one})$" for key in PATTERNS_BY_NAME for one in settings.get(key) or ()]
    except UNREADABLE as error:
        raise ModelError(f"{adapter}: its adapter_config.json cannot be read: {error}") from error
    if replicated > MAX_LAYERS:
        raise ModelError(f"{adapter}: layer_replication makes {replicated:,} layers; at most {MAX_LAYERS:,} are built.")
    names = list(modules)
    try:
        if patterns:
            bounded(
                lambda: sum(bool(re.match(one, name)) for one in patterns for name in names), seconds=PATTERN_SECONDS
            )
    except BoundsError as error:
        raise ModelError(f"{adapter}: a pattern of its adapter_config.json cannot be used: {error}.") from error


def refuse_pickled_parts(name: str, index: Path) -> None:
    """Raise ModelError where an index of safetensors names parts that are none: what reads them goes by their names."""
    for part in sorted({str(part) for part in parse_json(read_outside(index))["weight_map"].values()}):
        if Path(part).suffix != Path(SAFE).suffix:
            raise ModelError(
                f"{name}: its index names {part!r} among the weights, which may be a pickle that runs code when it is "
                "read. Save the weights as safetensors."
            )


def _refuse_pickles(directory: Path) -> None:
    found = sorted(path.name for pattern in PICKLES for path in directory.glob(pattern))
    if found:
        raise ModelError(
            f"{directory}: {found[0]} is a pickle, which can run code when it is read. Save the weights as safetensors."
        )
