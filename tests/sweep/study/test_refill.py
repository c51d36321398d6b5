"""What a pruned trial leaves behind: a seat that is filled at once, values that are known, and a bill in tokens."""

from collections.abc import Callable

import pytest
from bench import Bench, complete
from lab import Lab, random_study
from shapes import llama_shape
from toy_runner import record, toy_study

from sweep.events import Event, Notice, PhaseStarted, StudyEnded, TrialEnded, TrialRung, TrialStarted
from sweep.record import TrialRecord
from sweep.search.method_search import Proposal
from sweep.shape import Device, Facts, RowLengths
from sweep.spec import ObjectiveSpec
from sweep.study.sources import ListSource

GIGABYTE = 10**9
FACTS = Facts(
    llama_shape(),
    Device("a CPU", "cpu", memory_bytes=64 * GIGABYTE, free_bytes=60 * GIGABYTE),
    {"train": RowLengths(rows=8, tokens=80, longest=20, learned=40)},
)
HALVING = {"name": "successive_halving", "spared_share": 0.0}


class Watching(list[Event]):
    """Events, and for each start of a trial what Optuna knew of those that were pruned before."""

    def __init__(self, lab: Lab) -> None:
        super().__init__()
        self._lab = lab
        self.known: dict[int, dict[int, dict[int, float]]] = {}

    def append(self, event: Event) -> None:
        super().append(event)
        if isinstance(event, TrialStarted) and event.config.phase == "search" and event.config.method == "lora":
            told = self._lab.optuna("lora")
            self.known[event.config.number] = {
                trial.number: trial.intermediate_values for trial in told if trial.state.name == "PRUNED"
            }


def test_a_pruned_trials_seat_is_taken_at_once_by_one_that_was_asked_for_knowing_it(lab: Lab) -> None:
    lab.events = watching = Watching(lab)
    only = {"lora": toy_study().methods["lora"].model_dump()}
    spec = random_study(methods=only, pruner=HALVING, budget={"trials_per_method": 12, "confirm_seeds": 0}, lanes=3)

    lab.start(spec, facts=FACTS)

    running: set[int] = set()
    pruned: list[int] = []
    refilled = 0
    mine = [event for event in watching if _number(event) is not None]
    for event, following in zip(mine, [*mine[1:], None], strict=True):
        number = _number(event)
        assert number is not None
        if isinstance(event, TrialStarted):
            running.add(number)
            # Asked for after each of them had ended, so with the losses of all.
            assert sorted(watching.known[number]) == sorted(pruned)
            assert all(watching.known[number].values())
        elif isinstance(event, TrialEnded):
            running.remove(number)
            if event.record.state == "PRUNED":
                pruned.append(number)
                if running and isinstance(following, TrialStarted):
                    refilled += 1
    assert len(pruned) >= 4
    assert refilled >= 3


def test_trials_that_come_to_a_rung_together_are_judged_by_the_losses_of_all(lab: Lab) -> None:
    only = {"lora": toy_study().methods["lora"].model_dump()}
    spec = random_study(methods=only, pruner=HALVING, budget={"trials_per_method": 6, "confirm_seeds": 0}, lanes=6)

    lab.start(spec, facts=FACTS, tells=True)

    records = sorted(lab.run.search_records("lora"), key=lambda record: record.intermediate[1])
    # One in three goes on, in whatever order they are asked about; one after another the first would in any case.
    assert [record.state for record in records] == ["COMPLETE"] * 2 + ["PRUNED"] * 4
    assert {record.config.number for record in records[:2]} != {0, 1}


def _number(event: Event) -> int | None:
    """Number of a trial of LoRA's search that the event begins or ends."""
    if isinstance(event, TrialStarted):
        config = event.config
    elif isinstance(event, TrialEnded):
        config = event.record.config
    else:
        return None
    return config.number if (config.phase, config.method) == ("search", "lora") else None


@pytest.mark.parametrize("sampler", ["tpe", "gp"])
def test_the_next_proposal_depends_on_what_pruned_trials_had_come_to(bench: Callable[..., Bench], sampler: str) -> None:
    def proposed(name: str, *losses: float) -> dict[str, object]:
        here = bench(
            name, sampler={"name": sampler, "n_startup_trials": 3}, pruner=HALVING, budget={"trials_per_method": 12}
        )
        search = here.open()
        leader, *others = [proposal for _ in range(4) if (proposal := search.ask()) is not None]
        assert not search.report(leader.config.number, 1, 1.0)
        for proposal, loss in zip(others, losses, strict=True):
            assert search.report(proposal.config.number, 1, loss)
            here.end(search, record(proposal.config, state="PRUNED", intermediate={1: loss}))
        # The leader still runs.
        following = search.ask()
        assert following is not None
        assert following.config.number == 4
        return dict(following.config.params)

    assert proposed("again", 2.0, 3.0, 4.0) == proposed("same", 2.0, 3.0, 4.0) != proposed("turned", 4.0, 3.0, 2.0)


def test_finalists_are_never_pruned_and_are_trained_and_scored_whole(lab: Lab) -> None:
    spec = random_study(pruner=HALVING, budget={"trials_per_method": 8, "confirm_seeds": 3})

    events = lab.start(spec)

    verdicts = {(e.config.phase, e.pruned) for e in events if isinstance(e, TrialRung)}
    assert verdicts == {("search", True), ("search", False), ("confirm", False)}
    for method in spec.methods:
        best = min(r.objective for r in lab.run.search_records(method) if r.state == "COMPLETE")
        finalists = lab.run.confirm_records(method)
        assert [r.state for r in finalists] == ["COMPLETE"] * 3
        assert all(sorted(r.intermediate) == [1, 2] and r.evaluation is not None for r in finalists)
        assert {r.objective for r in finalists} == {best}


def test_a_study_that_prunes_unequal_lengths_under_a_decaying_schedule_says_so_before_its_search(lab: Lab) -> None:
    space = {"methods.lora.training.num_train_epochs": {"min": 1.0, "max": 3.0}}
    spec = random_study(pruner=HALVING, search_space=space, budget={"trials_per_method": 2, "confirm_seeds": 0})

    events = lab.start(spec)

    (place,) = [place for place, event in enumerate(events) if isinstance(event, Notice)]
    assert events[place].message.startswith("lora: trials of different lengths")
    assert isinstance(events[place + 1], PhaseStarted)
    # A search that is done has nothing to be warned of.
    assert lab.start(spec) == [StudyEnded("toy")]


def test_no_loss_ends_a_finalist(bench: Callable[..., Bench]) -> None:
    proposal = bench(pruner=HALVING).open().ask()
    assert proposal is not None
    source = ListSource([], ObjectiveSpec(), needs_objective=False)

    assert not any(source.judge_rung(proposal.config, rung, 1e9) for rung in (1, 2))


def test_a_pruned_trial_is_no_finalist_however_low_its_loss(bench: Callable[..., Bench]) -> None:
    here = bench(budget={"trials_per_method": 3}, sampler={"name": "random"})

    def outcome(proposal: Proposal) -> TrialRecord:
        if proposal.config.number == 1:
            return record(proposal.config, state="PRUNED", intermediate={1: 0.001})
        return complete(proposal)

    here.drive(here.open(), outcome)

    best = here.open().ledger.best
    assert best is not None
    assert best.state == "COMPLETE"


def test_pruned_trials_cost_their_tokens_only(bench: Callable[..., Bench]) -> None:
    def run(name: str, tokens_of_pruned: int) -> list[str]:
        here = bench(name, budget={"tokens_per_method": 1000}, sampler={"name": "random"})
        search = here.open()

        def outcome(proposal: Proposal) -> TrialRecord:
            if proposal.config.number % 2:
                ended = record(proposal.config, state="PRUNED", intermediate={1: 9.0})
                return ended.model_copy(update={"tokens": tokens_of_pruned})
            return complete(proposal).model_copy(update={"tokens": 100})

        states = [trial.state for trial in here.drive(search, outcome)]
        pruned = states.count("PRUNED")
        assert search.ledger.spending.tokens == 100 * (len(states) - pruned) + tokens_of_pruned * pruned
        return states

    # What they leave of the budget goes to further trials.
    assert len(run("all", 100)) == 10
    assert len(run("quarter", 25)) == 16
