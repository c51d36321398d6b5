"""Figures of settings, losses, time and cost: drawn from what there is, bounded in size, and readable."""

import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from reports import drawing
from reports.cost_figures import plot_quality_and_cost
from reports.document import Figure
from reports.drawing import Drawing
from reports.figures import PLOTS
from reports.gather import Gathered, gather
from reports.importance_figures import plot_importance
from reports.loss_figures import plot_all_losses, plot_losses
from reports.points import described, limits, wrapped
from reports.search_figures import plot_rate_and_rank
from reports.slice_figures import plot_slices
from reports.space_figures import plot_contours, plot_parallel
from reports.summary import summarize
from reports.time_figures import plot_time_by_part, plot_timeline
from sweep.record import TrialRecord
from sweep.spec import Dimension, StudySpec
from sweep.store import RunDirectory

RATE, RANK = "training.learning_rate", "methods.lora.peft.lora_r"
LARGEST_BYTES = 600_000
Plot = Callable[..., tuple[Figure, Drawing] | None]


def drawn(plot: Plot, gathered: Gathered) -> tuple[Figure, Drawing] | None:
    with drawing.styled():
        return plot(gathered, summarize(gathered))


def texts(svg: str) -> str:
    return re.sub(r"<[^>]*>", " ", svg)


@pytest.fixture(scope="session")
def searched_run(
    study: Callable[..., StudySpec],
    trial: Callable[..., TrialRecord],
    build: Callable[..., RunDirectory],
    write: Callable[..., None],
) -> Callable[[Path, int], Gathered]:
    def make(root: Path, count: int) -> Gathered:
        space = {RATE: Dimension(min=1e-5, max=1e-3, log=True), RANK: Dimension(min=4, max=128, log=True)}
        spec = study(("lora",)).model_copy(update={"search_space": space})
        run = build(root, spec, search=False)
        chance = random.Random(0)  # noqa: S311
        for number in range(count):
            params = {RATE: 10 ** chance.uniform(-5, -3), RANK: round(4 * 32 ** chance.random())}
            loss = 50.0 if number == 3 else 0.4 + 0.2 * chance.random()
            state = {5: "PRUNED", 6: "FAIL"}.get(number % 10, "COMPLETE")
            changes = {} if state == "COMPLETE" else {"state": state, "objective": None, "evaluation": None}
            record = trial(spec, "lora", number, params, loss, **changes)
            write(run, record)
        return gather(run)

    return make


@pytest.fixture(scope="session")
def crowded(tmp_path_factory: pytest.TempPathFactory, searched_run: Callable[[Path, int], Gathered]) -> Gathered:
    """A method with 700 trials: some pruned, some failed, one far off."""
    return searched_run(tmp_path_factory.mktemp("crowded"), 700)


def test_every_figure_stays_small_with_many_trials(crowded: Gathered) -> None:
    for plot in PLOTS:
        found = drawn(plot, crowded)
        assert found is not None, plot
        assert len(found[1].page_svg) < LARGEST_BYTES, found[1].name


def test_every_figure_is_well_formed_says_what_it_shows_and_has_page_colours_alone(crowded: Gathered) -> None:
    for plot in PLOTS:
        found = drawn(plot, crowded)
        assert found is not None
        figure, made = found
        ET.fromstring(made.file_svg.encode())  # noqa: S314  (our own)
        assert len(figure.alternative) > 40
        assert re.findall(r'style="[^"]*#[0-9a-f]{6}', made.page_svg) == []


@pytest.mark.parametrize(
    ("plot", "wanted"),
    [
        (plot_importance, ("learning_rate", "lora_r", "importance (share of variance)")),
        (plot_slices, ("learning_rate (log)", "own/loss (nats per token)")),
        (plot_contours, ("learning_rate (log)", "lora_r (log)", "best fifth")),
        (plot_parallel, ("lora: best fifth", "other trials")),
        (plot_losses, ("optimizer step", "loss (nats per token)", "training, averaged")),
        (plot_all_losses, ("optimizer step", "best: lora")),
        (plot_time_by_part, ("hours", "train", "score", "waiting and other")),
        (plot_timeline, ("time since the first trial began (hours)", "failed", "search, pruned")),
        (plot_quality_and_cost, ("peak memory", "(host, GB)", "training time of one run", "(min)", "base model")),
    ],
)
def test_axes_and_series_are_named_with_units(crowded: Gathered, plot: Plot, wanted: tuple[str, ...]) -> None:
    found = drawn(plot, crowded)

    assert found is not None
    for text in wanted:
        assert text in texts(found[1].file_svg)


def test_captions_say_what_is_left_out(crowded: Gathered) -> None:
    for plot in (plot_slices, plot_contours, plot_parallel, plot_rate_and_rank, plot_all_losses):
        found = drawn(plot, crowded)
        assert found is not None
        assert "drawn, spaced evenly by their rank" in found[0].caption
    far = drawn(plot_rate_and_rank, crowded)
    assert far is not None
    assert "1 trial with a far-off objective left out of the panel." in far[0].caption


def test_many_ranks_become_few_bands(crowded: Gathered) -> None:
    found = drawn(plot_rate_and_rank, crowded)

    assert found is not None
    assert len(set(re.findall(r"rank \d+ to \d+", texts(found[1].file_svg)))) == 5


def test_few_trials_leave_out_what_they_cannot_show(
    tmp_path: Path, searched_run: Callable[[Path, int], Gathered]
) -> None:
    gathered = searched_run(tmp_path, 3)

    assert drawn(plot_importance, gathered) is None
    assert drawn(plot_contours, gathered) is None
    assert drawn(plot_parallel, gathered) is None
    assert drawn(plot_slices, gathered) is not None


def test_a_run_without_trials_has_none_of_these_figures(tmp_path: Path, build: Callable[..., RunDirectory]) -> None:
    run = build(tmp_path, search=False, confirm=False)
    shutil.rmtree(run.baseline.path)

    for plot in PLOTS:
        assert drawn(plot, gather(run)) is None


def test_a_run_without_step_files_has_no_losses(tmp_path: Path, build: Callable[..., RunDirectory]) -> None:
    run = build(tmp_path)
    for path in run.path.rglob("steps.jsonl"):
        path.unlink()

    assert drawn(plot_losses, gather(run)) is None
    assert drawn(plot_all_losses, gather(run)) is None


def test_points_of_few_trials_say_which_trial_they_are(
    tmp_path: Path, searched_run: Callable[[Path, int], Gathered]
) -> None:
    gathered = searched_run(tmp_path, 4)
    found = drawn(plot_slices, gathered)

    assert found is not None
    assert described(gathered.methods[0].search[0]).splitlines()[0] == "lora trial 0, COMPLETE"
    assert "lora trial 0, COMPLETE" in found[1].page_svg


def test_far_off_values_do_not_decide_a_scale() -> None:
    assert limits([0.1 * place for place in range(10)] + [1000.0]) == (0.0, pytest.approx(0.9), 1)
    assert limits([0.5]) == (0.5, 0.5, 0)
    assert limits([0.5, 0.5, 0.5, 0.5, 0.6]) == (0.5, 0.5, 1)


def test_long_names_break_at_the_underscore_nearest_their_middle() -> None:
    assert wrapped("effective_batch_size") == "effective_\nbatch_size"
    assert wrapped("lora_r") == "lora_r"
