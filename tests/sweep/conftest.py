"""Toys that worker processes import by name too: their directory is on the path, which spawned processes inherit."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "toys"))
