"""A study's dimensions become Optuna's, and come back as the study's own values."""

import warnings

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from toy_runner import RATE, toy_study

from sweep import space
from sweep.errors import InputError
from sweep.spec import Dimension

RANK = "methods.lora.peft.lora_r"
MODULES = "methods.lora.peft.lora_target_modules"


def ask(dimensions: space.Dimensions, seed: int = 0) -> dict[str, object]:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    return dict(space.sample(study.ask(), dimensions))


def test_rank_is_searched_only_for_methods_that_have_one() -> None:
    spec = toy_study()

    assert list(space.for_method(spec, "lora")) == [RANK, RATE]
    assert list(space.for_method(spec, "full")) == [RATE]


def test_an_adapters_key_never_reaches_a_method_without_adapter() -> None:
    spec = toy_study(search_space={"methods.full.peft.lora_r": {"values": [8]}, RATE: {"min": 1e-4, "max": 1e-2}})

    assert list(space.for_method(spec, "full")) == [RATE]


def test_a_methods_own_range_replaces_the_general_one() -> None:
    own = "methods.full.training.learning_rate"
    spec = toy_study(search_space={RATE: {"min": 1e-4, "max": 1e-2}, own: {"min": 1e-6, "max": 1e-5}})

    assert list(space.for_method(spec, "full")) == [own]
    assert list(space.for_method(spec, "lora")) == [RATE]


@pytest.mark.parametrize(
    ("dimension", "expected"),
    [
        (Dimension(min=1, max=8), IntDistribution(1, 8)),
        (Dimension(min=1, max=8, log=True), IntDistribution(1, 8, log=True)),
        (Dimension(min=8, max=31, step=8), IntDistribution(8, 24, step=8)),
        (Dimension(min=1.0, max=8), FloatDistribution(1, 8)),
        (Dimension(min=0, max=0.25, step=0.1), FloatDistribution(0, 0.2, step=0.1)),
        (Dimension(min=1e-5, max=1e-3, log=True), FloatDistribution(1e-5, 1e-3, log=True)),
        (Dimension(values=(True, False)), CategoricalDistribution((True, False))),
        (
            Dimension(values=(("q_proj", "v_proj"), "all-linear")),
            CategoricalDistribution(('["q_proj", "v_proj"]', "all-linear")),
        ),
    ],
)
def test_a_dimension_becomes_its_distribution_without_a_warning(dimension: Dimension, expected: object) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")

        assert space.distribution("key", dimension) == expected


@pytest.mark.parametrize(
    "dimension",
    [
        Dimension(min=0, max=1.0, log=True),
        Dimension(min=1e-5, max=1e-3, log=True, step=1e-5),
        Dimension(min=2, max=1),
        Dimension(min=1),
        Dimension(),
    ],
)
def test_an_impossible_range_is_refused_by_name(dimension: Dimension) -> None:
    with pytest.raises(InputError, match=r"search_space\.training\.learning_rate: .*\.$"):
        space.distribution(RATE, dimension)


def test_a_sampled_list_comes_back_as_a_list() -> None:
    dimensions = {MODULES: Dimension(values=(("q_proj", "v_proj"), "all-linear"))}

    sampled = {ask(dimensions, seed)[MODULES] for seed in range(10)}

    assert sampled == {("q_proj", "v_proj"), "all-linear"}


def test_a_text_that_looks_like_a_list_stays_a_text() -> None:
    dimension = Dimension(values=('["q_proj"]', "all-linear"))

    assert space.decode(dimension, '["q_proj"]') == '["q_proj"]'


def test_the_own_settings_are_the_first_point_as_far_as_the_search_may_choose_them() -> None:
    spec = toy_study(search_space={RATE: {"min": 1e-3, "max": 1e-1}, RANK: {"values": [8, 16]}})

    assert space.default_point(spec, "lora") == {RANK: 16}


def test_numbers_equal_a_choice_whether_written_whole_or_not_but_booleans_do_not() -> None:
    assert space.contains(Dimension(values=(16, 32)), 32.0)
    assert not space.contains(Dimension(values=(1, 2)), True)
    assert not space.contains(Dimension(min=0, max=2), True)


def test_starting_points_follow_the_own_settings_without_repeats() -> None:
    own = {RANK: 16, RATE: 2e-4}
    spec = toy_study(starting_points={"lora": [own, {RANK: 8}]})

    assert space.starting_points(spec, "lora") == [own, {RANK: 8}]


@pytest.mark.parametrize("point", [{RANK: 12}, {"training.weight_decay": 0.1}, {RATE: 1.0}])
def test_a_starting_point_outside_the_space_is_refused(point: dict[str, object]) -> None:
    with pytest.raises(InputError, match=r"starting_points\.lora\[0\]: .*\.$"):
        space.check(toy_study(starting_points={"lora": [point]}))


def test_a_grid_over_a_continuous_range_is_refused() -> None:
    with pytest.raises(InputError, match="grid"):
        space.check(toy_study(sampler={"name": "grid"}))


@pytest.mark.parametrize(
    ("dimensions", "size"),
    [
        ({}, 1),
        ({"a": Dimension(values=(1, 2, 3)), "b": Dimension(min=1, max=4)}, 12),
        ({"a": Dimension(min=0, max=0.5, step=0.1)}, 6),
        ({"a": Dimension(values=(1, 2)), "b": Dimension(min=0.0, max=1.0)}, None),
    ],
)
def test_the_size_of_a_space_is_known_where_it_is_finite(dimensions: dict[str, Dimension], size: int | None) -> None:
    assert space.size(dimensions) == size
