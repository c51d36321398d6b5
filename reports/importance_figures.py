"""How much each searched setting mattered, as a figure and a table."""

from matplotlib.axes import Axes

from reports.document import Block, Column, Figure, Paragraph, Table
from reports.drawing import DOTTED, PAPER, QUIET, Drawing, framed, label_points, marker, new_figure, series_colour
from reports.gather import Gathered
from reports.importance import Importance, Share, importance
from reports.searched import searches
from reports.summary import Summary
from reports.wording import counted, interval, number, one_line, score

MOST_METHODS = 8


def plot_importance(gathered: Gathered, summary: Summary) -> tuple[Figure, Drawing] | None:
    """Each setting's share with its interval, one panel a method."""
    del summary
    found = [(place, importance(search)) for place, search in enumerate(searches(gathered))]
    shown = [(place, one) for place, one in found if one.shares][:MOST_METHODS]
    if not shown:
        return None
    most = max(len(one.shares) for _, one in shown)
    columns = min(2, len(shown))
    rows = -(-len(shown) // columns)
    figure, panels = new_figure(rows * (0.75 + 0.2 * most), rows=rows, columns=columns, sharey=False)
    for (place, one), axes in zip(shown, panels, strict=False):
        _plot_shares(axes, place, one)
    for axes in panels[len(shown) :]:
        axes.set_axis_off()
    caption = (
        "Share of the variance in the trials' ranks that each setting accounts for, less what chance gives, with 95 % "
        "intervals. Filled points stand out from chance at 5 %; hollow ones do not."
    )
    return framed("importance", figure, caption)


def importance_blocks(gathered: Gathered) -> list[Block]:
    """The shares as a table, and what cannot be told."""
    found = [importance(search) for search in searches(gathered)]
    few = [
        f"{one.name}: {counted(one.trials, 'complete trial')}, {one.needed} needed"
        for one in found
        if one.needed and one.trials < one.needed
    ]
    blocks: list[Block] = []
    if few:
        text = f"How much each setting mattered cannot be told with so few trials ({'; '.join(few)})."
        blocks.append(Paragraph(text, "note"))
    rows = [_row(one, share) for one in found for share in one.shares]
    if not rows:
        return blocks
    columns = [
        Column("method"),
        Column("setting", "code"),
        Column("importance", "number"),
        Column("95 % interval", "number"),
        Column("p (any setting)", "number"),
        Column("told from chance"),
        Column("trials", "number"),
    ]
    caption = (
        "Importance: share of the variance in the ranks of the complete trials, averaged over the orders in which "
        "settings enter an additive model (Lindeman, Merenda and Gold), less what chance gives. p: how often shuffled "
        "trials give any setting as much. What the shares leave of 1 is interplay of settings and noise."
    )
    return [*blocks, Table(columns, rows, caption)]


def _plot_shares(axes: Axes, place: int, found: Importance) -> None:
    colour = series_colour(place)
    for height, share in enumerate(found.shares):
        errors = [[share.value - share.interval.low], [share.interval.high - share.value]]
        face = colour if share.is_told else PAPER
        points, _, _ = axes.errorbar(
            [share.value], [height], xerr=errors, color=colour, marker=marker(place), markerfacecolor=face, capsize=2.5
        )
        label_points(points, [f"{share.axis.leaf}: {score(share.value)}\n{interval(share.interval)}"])
    axes.axvline(0, color=QUIET, linestyle=DOTTED, linewidth=1.0)
    axes.set_yticks(range(len(found.shares)), [one_line(share.axis.leaf) for share in found.shares])
    axes.set_ylim(len(found.shares) - 0.5, -0.5)
    axes.set_xlim(-0.03, 1.03)
    axes.set_xlabel("importance (share of variance)")
    axes.set_title(f"{one_line(found.name)}, {counted(found.trials, 'trial')}")
    axes.grid(visible=False, axis="y")


def _row(found: Importance, share: Share) -> list[str]:
    return [
        found.name,
        share.axis.leaf,
        score(share.value),
        f"{score(share.interval.low)} to {score(share.interval.high)}",
        number(share.p_value, 2),
        "yes" if share.is_told else "cannot be told",
        f"{found.trials:,}",
    ]
