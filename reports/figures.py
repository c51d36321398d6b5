"""All of the report's figures. Each one is drawn from records, or left out where there is nothing to draw."""

from collections.abc import Callable, Sequence

from reports import drawing
from reports.budget_figures import plot_best_of
from reports.document import Figure
from reports.drawing import Drawing
from reports.gather import Gathered
from reports.score_figures import plot_scores, plot_search_and_test
from reports.search_figures import plot_history, plot_losses, plot_rate_and_rank
from reports.summary import Summary

PLOTS: Sequence[Callable[[Gathered, Summary], tuple[Figure, Drawing] | None]] = (
    plot_scores,
    plot_search_and_test,
    plot_best_of,
    plot_rate_and_rank,
    plot_history,
    plot_losses,
)


def draw_all(gathered: Gathered, summary: Summary) -> list[tuple[Figure, Drawing]]:
    """Draw every figure that the records allow, in the report's order."""
    with drawing.styled():
        made = [plot(gathered, summary) for plot in PLOTS]
    return [pair for pair in made if pair is not None]
