"""What is proposed, what is told, and that the records on disk lead."""

import math
from collections.abc import Callable

import pytest
from bench import Bench, complete
from optuna.trial import TrialState
from toy_runner import RATE, loss_of, record, toy_study

from sweep.config import TrialConfig
from sweep.record import TrialRecord
from sweep.search.ledger import DUPLICATES_THAT_END, REFUSALS_THAT_END
from sweep.search.method_search import Proposal
from sweep.search.samplers import FEASIBLE

RANK = "methods.lora.peft.lora_r"
SAMPLERS = ("gp", "tpe", "random", "qmc", "cmaes")
Outcome = Callable[[Proposal], TrialRecord]


def params(records: list[TrialRecord]) -> list[dict[str, object]]:
    return [dict(ended.config.params) for ended in records]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_search_that_was_interrupted_proposes_what_the_uninterrupted_one_does(
    bench: Callable[..., Bench], sampler: str
) -> None:
    changes = {"sampler": {"name": sampler, "n_startup_trials": 2}, "budget": {"trials_per_method": 5}}
    whole, halves = bench("whole", **changes), bench("halves", **changes)

    straight = whole.drive(whole.open(), complete)
    first = halves.drive(halves.open(), complete, trials=3)
    second = halves.drive(halves.open(), complete)

    assert len(straight) >= 5
    assert params(first + second) == params(straight)


@pytest.mark.parametrize(
    ("sampler", "pruner"),
    [
        *(("random", pruner) for pruner in ("median", "successive_halving", "none")),
        # Optuna's samplers look at the pruner, and would take Optuna's Hyperband for leave to see one bracket alone.
        *((sampler, "hyperband") for sampler in (*SAMPLERS, "grid")),
    ],
)
def test_samplers_and_pruners_work_together(bench: Callable[..., Bench], sampler: str, pruner: str) -> None:
    finite = {"search_space": {RATE: {"values": [1e-4, 1e-3, 1e-2]}, RANK: {"values": [8, 16, 32]}}}
    here = bench(
        sampler={"name": sampler, "n_startup_trials": 2},
        pruner={"name": pruner},
        budget={"trials_per_method": 5},
        **(finite if sampler == "grid" else {}),
    )
    search = here.open()

    def with_rungs(proposal: Proposal) -> TrialRecord:
        loss = loss_of(proposal.config)
        if search.report(proposal.config.number, 1, loss):
            return record(proposal.config, state="PRUNED", intermediate={1: loss})
        assert not search.report(proposal.config.number, 2, loss), "a trial that is trained to its end is scored"
        return record(proposal.config, value=loss, intermediate={1: loss, 2: loss})

    ended = here.drive(search, with_rungs)

    assert search.is_done
    assert sum(trial.reused_from is None for trial in ended) == 5
    assert {trial.state.name for trial in here.optuna()} <= {"COMPLETE", "PRUNED"}


def test_the_methods_own_settings_are_tried_first_and_then_the_starting_points(bench: Callable[..., Bench]) -> None:
    here = bench(starting_points={"lora": [{RATE: 0.01, RANK: 8}]}, sampler={"name": "random"})

    ended = here.drive(here.open(), complete)

    assert params(ended)[:2] == [{RANK: 16, RATE: 2e-4}, {RANK: 8, RATE: 0.01}]


@pytest.mark.parametrize("sampler", ["gp", "tpe", "random", "grid"])
def test_a_config_that_was_run_is_never_run_again(bench: Callable[..., Bench], sampler: str) -> None:
    space = {RATE: {"values": [1e-4, 1e-3, 1e-2]}, RANK: {"values": [8, 16]}}
    here = bench(search_space=space, sampler={"name": sampler, "n_startup_trials": 2}, budget={"trials_per_method": 50})
    search = here.open()
    run: list[str] = []

    def once(proposal: Proposal) -> TrialRecord:
        run.append(proposal.config.fingerprint())
        return complete(proposal)

    ended = here.drive(search, once)

    assert len(run) == len(set(run)) == 6
    assert search.is_exhausted
    assert all(
        trial.objective == ended[trial.reused_from].objective for trial in ended if trial.reused_from is not None
    )
    assert len(here.optuna()) == len(ended)


def test_a_repeated_config_costs_no_budget(bench: Callable[..., Bench]) -> None:
    space = {RATE: {"values": [1e-4, 1e-3]}, RANK: {"values": [8, 16]}}
    here = bench(search_space=space, sampler={"name": "random"}, budget={"trials_per_method": 4})

    ended = here.drive(here.open(), complete)

    assert sum(trial.reused_from is None for trial in ended) == 4
    assert any(trial.reused_from is not None for trial in ended)


def test_endless_repeats_end_the_search(bench: Callable[..., Bench]) -> None:
    # Two ranges whose keys cancel out: a rate that is fixed, however it is drawn.
    here = bench(search_space={RATE: {"min": 2e-4, "max": 2.0000000000000001e-4}}, budget={"trials_per_method": 5})

    ended = here.drive(here.open(), complete)

    assert len(ended) == 1


def test_a_study_without_search_space_runs_each_method_once(bench: Callable[..., Bench]) -> None:
    here = bench(search_space={})

    assert params(here.drive(here.open(), complete)) == [{}]


def test_a_config_that_is_running_waits_for_its_twin(bench: Callable[..., Bench]) -> None:
    here = bench(search_space={RATE: {"values": [1e-4, 1e-3]}}, sampler={"name": "random"})
    search = here.open()
    first, second = search.ask(), search.ask()
    assert first is not None
    while second is not None:
        third, second = second, search.ask()

    assert first.config.fingerprint() != third.config.fingerprint()
    here.end(search, complete(first))
    here.end(search, complete(third))

    twin = search.ask()

    assert twin is None or twin.known is not None


@pytest.mark.parametrize("sampler", ["gp", "tpe"])
def test_what_runs_out_of_memory_is_avoided(bench: Callable[..., Bench], sampler: str) -> None:
    here = bench(sampler={"name": sampler, "n_startup_trials": 8}, budget={"trials_per_method": 20})

    def out_of_memory_above(proposal: Proposal) -> TrialRecord:
        rate = float(str(proposal.config.params[RATE]))
        if rate > 1e-3:
            return record(proposal.config, state="FAIL", kind="out_of_memory")
        return record(proposal.config, value=2 + abs(math.log10(rate) + 4))

    ended = here.drive(here.open(), out_of_memory_above)

    # Half of the space is infeasible. Told as FAIL, TPE proposes there ten times in the last twelve trials.
    failed = [trial.state == "FAIL" for trial in ended]
    assert sum(failed[:10]) >= 3
    assert sum(failed[10:]) <= 3
    told = here.optuna()
    assert {trial.state for trial in told} == {TrialState.COMPLETE}
    assert [trial.constraints[FEASIBLE] > 0 for trial in told] == failed


def too_large(config: TrialConfig) -> str | None:
    """Refuses rates above 1e-3, as if they took more memory than there is: half of the space."""
    return "It cannot fit." if float(str(config.params[RATE])) > 1e-3 else None


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_config_that_cannot_fit_is_told_as_infeasible_and_costs_no_budget(
    bench: Callable[..., Bench], sampler: str
) -> None:
    here = bench(sampler={"name": sampler, "n_startup_trials": 4}, budget={"trials_per_method": 8})
    here.refuse = too_large
    run: list[Proposal] = []

    def once(proposal: Proposal) -> TrialRecord:
        run.append(proposal)
        return complete(proposal)

    ended = here.drive(here.open(), once)

    refused = [trial for trial in ended if trial.failure is not None]
    assert len(run) == 8
    assert refused
    assert {trial.failure.kind for trial in refused} == {"infeasible"}
    assert not any(too_large(proposal.config) for proposal in run)
    told = here.optuna()
    assert [trial.constraints[FEASIBLE] > 0 for trial in told] == [trial.failure is not None for trial in ended]
    assert here.open().ledger.spending.trials == 8


def test_a_search_that_was_interrupted_refuses_what_the_uninterrupted_one_does(bench: Callable[..., Bench]) -> None:
    changes = {"sampler": {"name": "gp", "n_startup_trials": 2}, "budget": {"trials_per_method": 5}}
    whole, halves = bench("whole", **changes), bench("halves", **changes)
    whole.refuse = halves.refuse = too_large

    straight = whole.drive(whole.open(), complete)
    first = halves.drive(halves.open(), complete, trials=4)
    second = halves.drive(halves.open(), complete)

    assert params(first + second) == params(straight)


@pytest.mark.parametrize("sampler", ["gp", "tpe", "random"])
def test_a_space_in_which_nothing_fits_ends_the_search(bench: Callable[..., Bench], sampler: str) -> None:
    here = bench(sampler={"name": sampler})
    here.refuse = lambda _: "It cannot fit."

    ended = here.drive(here.open(), complete)

    assert len(ended) == REFUSALS_THAT_END
    assert here.open().is_exhausted
    assert here.open().ledger.best is None


def test_a_small_space_is_looked_through_to_its_end_for_what_fits(bench: Callable[..., Bench]) -> None:
    space = {RATE: {"values": [1e-2, 2e-2, 3e-2, 4e-2, 1e-4]}, RANK: {"values": [8]}}
    here = bench(search_space=space, sampler={"name": "grid"}, budget={"trials_per_method": 5})
    here.refuse = too_large

    ended = here.drive(here.open(), complete)

    assert [trial.config.params[RATE] for trial in ended if trial.failure is None] == [1e-4]
    assert len(ended) == 5


def test_a_pruned_config_is_not_proposed_over_and_over_by_the_gaussian_process(bench: Callable[..., Bench]) -> None:
    here = bench(sampler={"name": "gp", "n_startup_trials": 4}, budget={"trials_per_method": 12})

    def pruned_above(proposal: Proposal) -> TrialRecord:
        rate = float(str(proposal.config.params[RATE]))
        if rate > 1e-3:
            return record(proposal.config, state="PRUNED", intermediate={1: 6.0})
        return record(proposal.config, value=2 - math.log10(rate))

    ended = here.drive(here.open(), pruned_above)[4:]

    # Optuna's own GP sampler looks at COMPLETE trials only and proposes one pruned rate seven times in these eight.
    assert len({(f"{trial.config.params[RATE]:.1g}", trial.config.params[RANK]) for trial in ended}) >= 7
    assert sum(trial.state == "PRUNED" for trial in ended) <= 4
    assert {trial.state for trial in here.optuna()} == {TrialState.COMPLETE, TrialState.PRUNED}


@pytest.mark.parametrize("kind", ["error", "worker_died"])
def test_an_accident_is_told_as_failed_and_counts(bench: Callable[..., Bench], kind: str) -> None:
    here = bench(sampler={"name": "gp", "n_startup_trials": 1}, budget={"trials_per_method": 5})

    ended = here.drive(here.open(), lambda proposal: record(proposal.config, state="FAIL", kind=kind))

    assert len(ended) == 5
    assert {trial.state for trial in here.optuna()} == {TrialState.FAIL}


def test_a_loss_is_reported_so_that_smaller_is_better_under_a_maximized_objective(bench: Callable[..., Bench]) -> None:
    here = bench(objective={"maximize": "own/exact_match"}, pruner={"name": "median", "n_startup_trials": 1})
    search = here.open()
    good = search.ask()
    assert good is not None
    for rung in (1, 2):
        search.report(good.config.number, rung, 1.0)
    here.end(search, record(good.config, value=0.5, metric="own/exact_match", intermediate={1: 1.0, 2: 1.0}))
    bad = search.ask()
    assert bad is not None

    # The first validation is left alone by n_warmup_steps.
    assert not search.report(bad.config.number, 1, 4.0)
    here.spec = toy_study(
        objective={"maximize": "own/exact_match"},
        pruner={"name": "median", "n_startup_trials": 1, "n_warmup_steps": 0},
    )
    assert here.open().report(bad.config.number, 1, 4.0)
    assert here.optuna()[0].intermediate_values == {1: -1.0, 2: -1.0}


def test_the_finalist_is_the_best_complete_record_in_the_studys_direction(bench: Callable[..., Bench]) -> None:
    here = bench(budget={"trials_per_method": 6}, sampler={"name": "random"})
    search = here.open()

    ended = here.drive(search, complete)

    assert search.ledger.best == min(ended, key=lambda trial: trial.objective)


def test_an_interrupted_trial_is_run_again_with_its_params_and_number(bench: Callable[..., Bench]) -> None:
    here = bench(sampler={"name": "tpe"})
    search = here.open()
    here.drive(search, complete, trials=1)
    lost = search.ask()
    assert lost is not None

    again = here.open().ask()

    assert again is not None
    assert (again.config, again.known) == (lost.config, None)


def test_no_trial_is_left_running_at_the_end(bench: Callable[..., Bench]) -> None:
    here = bench(sampler={"name": "random"})
    search = here.open()
    proposal = search.ask()
    assert proposal is not None
    search.put_back(proposal.config)

    here.drive(search, complete)

    assert {trial.state for trial in here.optuna()} == {TrialState.COMPLETE}
    assert search.ledger.duplicates < DUPLICATES_THAT_END
