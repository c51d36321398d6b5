"""What a model from elsewhere may do to this machine: give numbers, and nothing more.

A pickle runs code when it is read, so weights are safetensors. Python code of a model's own runs only where the study
asks for it at a full commit hash: a branch or a tag may point at other code tomorrow. transformers would take code that
a model borrows from another repository from its newest state; pinned to this model's commit, such code is not found.
"""

import re
from pathlib import Path

from safetensors import SafetensorError

from evals.errors import ModelError
from evals.spec import ModelSpec

COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
"""A full commit hash of git's."""
UNREADABLE = (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, SafetensorError)
"""What libraries raise for files of a model that are damaged, lack something, or never were a model."""
ADAPTER_WEIGHTS = "adapter_model.safetensors"
SAFE = "*.safetensors"
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


def _refuse_pickles(directory: Path) -> None:
    found = sorted(path.name for pattern in PICKLES for path in directory.glob(pattern))
    if found:
        raise ModelError(
            f"{directory}: {found[0]} is a pickle, which can run code when it is read. Save the weights as safetensors."
        )
