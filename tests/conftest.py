"""What every test may use: a model small enough to train in a second, and the shared data where they are.

The tiny model is real in every way but size: a Llama with a byte-level tokenizer and a chat template, saved as any
model is.
"""

import os
import sys
from pathlib import Path

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
if "PYTEST_XDIST_WORKER" in os.environ:
    # As many threads as cores in each of several processes wait for each other.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# Spawned processes inherit it: workers import toys by name too.
sys.path.insert(0, str(Path(__file__).parent / "toys"))
SHARED = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Directory of the shared test data; tests that need it are marked `shared` and skip where it is absent."""
    if not SHARED.is_dir():
        pytest.skip(f"the shared test data are not at {SHARED}")
    return SHARED


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A two-layer Llama of 64 dimensions with random weights, its tokenizer and chat template, as a directory."""
    from tiny_llama import save_tiny_llama

    directory = tmp_path_factory.mktemp("tiny-model")
    save_tiny_llama(directory)
    return directory
