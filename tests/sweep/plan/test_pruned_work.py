"""What pruning is planned to spare, against the real pruners."""

from collections.abc import Mapping

import optuna
import pytest
import torch
from planned import VALIDATIONS, budget, study

from sweep.plan.ranges import Range
from sweep.plan.work import search_trials, share_trained
from sweep.search.samplers import build_pruner
from sweep.spec import PrunerSpec


@pytest.mark.parametrize("pruner", ["median", "successive_halving", "hyperband"])
def test_pruned_trials_leave_more_of_a_budget_in_tokens(pruner: str) -> None:
    spec = study(budget=budget(tokens_per_method=1_000_000), pruner={"name": pruner})
    trials = search_trials(spec, "lora", 40_000)

    assert trials > 25
    used = [count * 40_000 * share_trained(spec, "lora", count)[0].expected for count in (trials - 1, trials)]
    assert used[0] < 1_000_000 <= used[1]


def pruned(pruner: PrunerSpec, losses: list[float]) -> tuple[float, float]:
    """Shares of the steps trained and of trials that ended, one trial after another."""
    study = optuna.create_study(study_name="toy/lora", pruner=build_pruner(pruner, validations=VALIDATIONS))
    trained = ended = 0
    for loss in losses:
        trial = study.ask()
        for rung in range(1, VALIDATIONS + 1):
            trial.report(loss, rung)
            trained += 1
            if rung < VALIDATIONS and trial.should_prune():
                study.tell(trial, state=optuna.trial.TrialState.PRUNED)
                break
        else:
            ended += 1
            study.tell(trial, loss)
    return trained / (len(losses) * VALIDATIONS), ended / len(losses)


# Which trials are spared is a matter of their numbers; here none is.
PRUNERS = tuple(
    {**pruner, "spared_share": 0.0}
    for pruner in (
        {"name": "none"},
        {"name": "median"},
        {"name": "median", "n_startup_trials": 0},
        {"name": "median", "n_startup_trials": 2, "n_warmup_steps": 0},
        {"name": "median", "n_startup_trials": 20},
        {"name": "median", "n_warmup_steps": 3},
        {"name": "successive_halving"},
        {"name": "successive_halving", "reduction_factor": 2},
    )
)


@pytest.mark.parametrize("pruner", PRUNERS, ids=str)
def test_the_pruner_spares_and_ends_as_much_as_it_is_said_to(pruner: Mapping[str, object]) -> None:
    spec = study(pruner=pruner)
    trained, ended = share_trained(spec, "lora", 12)

    ever_worse = pruned(spec.pruner, [1.0 + place for place in range(12)])
    assert ever_worse == (pytest.approx(trained.low), pytest.approx(ended.low))
    ever_better = pruned(spec.pruner, [1.0 - place / 100 for place in range(12)])
    assert ever_better == (trained.high, ended.high) == (1, 1)


@pytest.mark.parametrize("pruner", [*PRUNERS, {"name": "hyperband"}], ids=str)
def test_trials_in_any_order_train_between_low_and_high(pruner: Mapping[str, object]) -> None:
    spec = study(pruner=pruner)
    shares, ends = share_trained(spec, "lora", 40)
    orders = [torch.randperm(40, generator=torch.Generator().manual_seed(seed)).tolist() for seed in range(10)]
    found = [pruned(spec.pruner, [float(loss) for loss in order]) for order in orders]

    assert all(shares.low <= trained <= 1 and ends.low <= ended <= 1 for trained, ended in found)


def test_a_share_of_the_trials_is_expected_to_be_spared_whatever_the_pruner_says() -> None:
    def ended(share: float) -> float:
        pruner = {"name": "successive_halving", "spared_share": share}
        return share_trained(study(pruner=pruner), "lora", 101)[1].expected

    # One goes on in any case; of a hundred others one in three, or every spared one and a third of the rest.
    assert ended(0.0) == pytest.approx((1 + 100 / 3) / 101)
    assert ended(0.1) == pytest.approx((1 + 10 + 90 / 3) / 101)
    assert ended(1.0) == 1


def test_a_trial_is_ended_at_the_first_rung_after_its_warm_up() -> None:
    def trained(warm_up: float) -> float:
        one = study(pruner={"name": "successive_halving"})
        training = one.methods["lora"].training.model_copy(update={"warmup_steps": warm_up})
        lora = one.methods["lora"].model_copy(update={"training": training})
        return share_trained(one.model_copy(update={"methods": {"lora": lora}}), "lora", 10**6)[0].low

    assert [trained(share) for share in (0.2, 0.25, 0.6, 0.9)] == pytest.approx([0.25, 0.5, 0.75, 1], rel=1e-4)


def test_where_lengths_are_searched_short_trials_are_ended_later_in_their_course() -> None:
    searched = {"training.num_train_epochs": {"values": (1.0, 2.0, 4.0)}}
    spec = study(search_space=searched, pruner={"name": "successive_halving"})

    # The first rung is after one pass: the end of the shortest, a half of the next, a quarter of the longest.
    assert share_trained(spec, "lora", 10**6)[0].low == pytest.approx((1 + 1 / 2 + 1 / 4) / 3, rel=1e-4)


def test_no_trial_is_ended_where_there_is_only_one_rung() -> None:
    one = study(pruner={"name": "successive_halving"})
    training = one.methods["lora"].training.model_copy(update={"validations": 1})
    only = one.model_copy(update={"methods": {"lora": one.methods["lora"].model_copy(update={"training": training})}})

    assert share_trained(only, "lora", 40) == (Range.exactly(1), Range.exactly(1))
