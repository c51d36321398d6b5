"""The section on costs: what a run and a search take, what quality costs, and what to take under limits."""

from collections.abc import Mapping, Sequence

from reports.contrast import Contrast
from reports.costs import cost_blocks
from reports.document import Block, Figure, Paragraph
from reports.gather import Gathered
from reports.recommendation import dominance_sentences, recommendation_blocks
from reports.summary import Summary


def beside_quality(
    gathered: Gathered, summary: Summary, figures: Mapping[str, Figure], contrasts: Sequence[Contrast]
) -> list[Block]:
    """The recommendation, both tables, and quality against cost."""
    tables = cost_blocks(gathered, summary)
    if not tables:
        return []
    advice = recommendation_blocks(gathered, summary, contrasts)
    if not advice and summary.ranked:
        text = "No limits are set: report.within of the study names the memory, hours, cost or size to stay within."
        advice = [Paragraph(text, "note")]
    shown = [figures["quality_and_cost"]] if "quality_and_cost" in figures else []
    fronts = [Paragraph(text, "note") for text in dominance_sentences(gathered, summary)]
    return [*advice, *tables, *shown, *fronts]
