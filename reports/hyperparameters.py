"""The section on settings: what mattered, where the best lie, and whether ranges were wide enough."""

from collections.abc import Mapping

from reports.document import Block, Figure
from reports.edges import edge_blocks
from reports.gather import Gathered
from reports.importance_figures import importance_blocks
from reports.searched import searches


def hyperparameter_blocks(gathered: Gathered, figures: Mapping[str, Figure]) -> list[Block]:
    """Importance, slices, contours, whole configs, and the ranges that were hit at an end."""
    return [
        *importance_blocks(gathered),
        *(figures[name] for name in ("importance", "slices", "contours", "parallel") if name in figures),
        *edge_blocks(searches(gathered)),
    ]
