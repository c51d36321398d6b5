"""Where waves are run."""

from pathlib import Path

import pytest
from wave_bench import Here, make_here


@pytest.fixture
def here(tiny_model: Path, tmp_path: Path) -> Here:
    return make_here(tiny_model, tmp_path)
