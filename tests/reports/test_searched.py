"""What was tried: places on axes, and which trials count."""

import math
from collections.abc import Callable

import pytest

from reports.edges import edge_blocks, edges
from reports.gather import MethodRecords
from reports.searched import Axis, Search, search_of, thinned
from sweep.record import TrialRecord
from sweep.spec import Dimension, ParamValue, StudySpec

RATE, RANK, SCHEDULE = "training.learning_rate", "methods.lora.peft.lora_r", "training.lr_scheduler_type"
SPACE = {
    RATE: Dimension(min=1e-5, max=1e-3, log=True),
    RANK: Dimension(values=(8, 16, 32, 64)),
    SCHEDULE: Dimension(values=("cosine", "linear")),
}
Make = Callable[..., TrialRecord]


def searched(
    study: Callable[..., StudySpec], trial: Make, rates: list[float], ranks: list[int] | None = None
) -> Search:
    """Trials in the order of their losses: the first is the best."""
    spec = study(("lora",)).model_copy(update={"search_space": SPACE})
    given = ranks or [16] * len(rates)
    records = [
        trial(spec, "lora", number, {RATE: rate, RANK: rank, SCHEDULE: "cosine"}, 0.1 * (number + 1))
        for number, (rate, rank) in enumerate(zip(rates, given, strict=True))
    ]
    return search_of(MethodRecords("lora", spec.methods["lora"], tuple(records), (), records[0]), spec)


@pytest.mark.parametrize(
    ("dimension", "value", "place"),
    [
        (Dimension(min=0.0, max=0.2), 0.05, 0.25),
        (Dimension(min=1e-5, max=1e-3, log=True), 1e-4, 0.5),
        (Dimension(values=(8, 16, 32, 64)), 16, 1 / 3),
        (Dimension(values=(64, 8, 32, 16)), 64, 1.0),
        (Dimension(values=(1, 2, 3)), 2, 0.5),
        (Dimension(values=("a", "b", "c")), "b", 0.5),
        (Dimension(values=(True, False)), False, 1.0),
    ],
)
def test_places_run_from_0_to_1_in_equal_ratios_where_a_range_is_logarithmic(
    dimension: Dimension, value: ParamValue, place: float
) -> None:
    assert Axis("training.x", dimension).place(value) == pytest.approx(place)


def test_a_setting_without_a_choice_is_no_axis(study: Callable[..., StudySpec], trial: Make) -> None:
    spec = study(("lora",)).model_copy(update={"search_space": {RATE: Dimension(values=(1e-4,))}})
    records = tuple(trial(spec, "lora", number, {RATE: 1e-4}, 0.3) for number in range(3))

    assert search_of(MethodRecords("lora", spec.methods["lora"], records, (), None), spec).axes == ()


def test_only_complete_trials_with_a_finite_objective_count(study: Callable[..., StudySpec], trial: Make) -> None:
    spec = study(("lora",)).model_copy(update={"search_space": {RATE: SPACE[RATE]}})
    params = {RATE: 1e-4}
    records = (
        trial(spec, "lora", 0, params, 0.4),
        trial(spec, "lora", 1, params, 0.4, state="PRUNED", objective=None),
        trial(spec, "lora", 2, params, 0.4, objective=math.nan),
        trial(spec, "lora", 3, params, 0.4, reused_from=0),
        trial(spec, "lora", 4, {}, 0.4),
    )

    found = search_of(MethodRecords("lora", spec.methods["lora"], records, (), records[0]), spec)

    assert [one.record.config.number for one in found.tried] == [0]


def test_thinning_keeps_both_ends_and_its_limit() -> None:
    assert thinned(list(range(100)), 5) == [0, 25, 50, 74, 99]
    assert thinned([1, 2], 5) == [1, 2]
    assert thinned([1, 2], 1) == [1]


def test_best_trials_at_the_end_of_a_range_call_for_a_wider_one(study: Callable[..., StudySpec], trial: Make) -> None:
    rates = [9.5e-4, 8e-4, 9e-4, 2e-4, 1e-4, 5e-5, 2e-5]

    [edge] = edges(searched(study, trial, rates))

    assert (edge.axis.leaf, edge.side, edge.there, edge.best) == ("learning_rate", "upper", 3, 3)
    assert "Widen it above 0.001" in edge.sentence


def test_the_outermost_tenth_is_one_of_ratios_on_a_logarithmic_range(
    study: Callable[..., StudySpec], trial: Make
) -> None:
    # 1.5e-5 lies in the lowest tenth of the ratios, and in the lowest hundredth of the numbers; 5e-5 lies in neither.
    assert edges(searched(study, trial, [1.5e-5, 1.2e-5, 1.4e-5, 1e-4, 2e-4, 3e-4]))[0].side == "lower"
    assert edges(searched(study, trial, [5e-5, 4e-5, 6e-5, 1e-4, 2e-4, 3e-4])) == []


def test_one_trial_at_the_end_is_chance(study: Callable[..., StudySpec], trial: Make) -> None:
    assert edges(searched(study, trial, [9.9e-4, 1e-4, 2e-4, 3e-4, 1e-4, 5e-5])) == []


def test_the_largest_of_listed_numbers_is_an_end(study: Callable[..., StudySpec], trial: Make) -> None:
    [edge] = edges(searched(study, trial, [1e-4] * 7, [64, 64, 32, 8, 8, 16, 8]))

    assert (edge.axis.leaf, edge.side) == ("lora_r", "upper")


def test_few_trials_say_nothing_of_a_range(study: Callable[..., StudySpec], trial: Make) -> None:
    search = searched(study, trial, [9.9e-4] * 5)

    assert edges(search) == []
    assert edge_blocks([search]) == []
