"""All of the report's figures. Each one is drawn from records, or left out where there is nothing to draw."""

from collections.abc import Callable, Sequence

from reports import drawing
from reports.budget_figures import plot_best_of
from reports.cost_figures import plot_quality_and_cost
from reports.document import Figure
from reports.drawing import Drawing
from reports.gather import Gathered
from reports.importance_figures import plot_importance
from reports.loss_figures import plot_all_losses, plot_losses
from reports.score_figures import plot_scores, plot_search_and_test
from reports.search_figures import plot_history, plot_rate_and_rank
from reports.slice_figures import plot_slices
from reports.space_figures import plot_contours, plot_parallel
from reports.summary import Summary
from reports.time_figures import plot_time_by_part, plot_timeline

PLOTS: Sequence[Callable[[Gathered, Summary], tuple[Figure, Drawing] | None]] = (
    plot_scores,
    plot_search_and_test,
    plot_best_of,
    plot_quality_and_cost,
    plot_rate_and_rank,
    plot_history,
    plot_losses,
    plot_all_losses,
    plot_importance,
    plot_slices,
    plot_contours,
    plot_parallel,
    plot_time_by_part,
    plot_timeline,
)


def draw_all(gathered: Gathered, summary: Summary) -> list[tuple[Figure, Drawing]]:
    """Draw every figure that the records allow, in the report's order."""
    with drawing.styled():
        made = [plot(gathered, summary) for plot in PLOTS]
    return [pair for pair in made if pair is not None]
