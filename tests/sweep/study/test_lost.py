"""A worker that is lost with its machine says nothing about its trials: they are given to others, but not for ever."""

from pathlib import Path

import pytest
from told_pool import ToldPool, told_dispatcher
from toy_runner import toy_study

from sweep.config import configure
from sweep.errors import RunError
from sweep.events import Event, Notice
from sweep.protocol import Died, PrepareData, RunTogether
from sweep.store import RunDirectory
from sweep.study.sources import ListSource


@pytest.mark.parametrize("seats", [1, 2])
@pytest.mark.parametrize(("losses", "state"), [(2, "COMPLETE"), (3, "FAIL")])
def test_a_trial_that_is_lost_is_given_to_another_worker_twice(
    tmp_path: Path, losses: int, state: str, seats: int
) -> None:
    spec, run, events = toy_study(), RunDirectory(tmp_path), list[Event]()
    pool = ToldPool([Died("lost", "Its node is gone.")] * losses)
    configs = [
        configure(spec, "lora", {}, phase="confirm", number=n, seed=n, data_root=tmp_path) for n in range(1, seats + 1)
    ]

    dispatcher = told_dispatcher(
        pool, run, on_event=events.append, seats=seats, memory=lambda config: 100.0 * config.number
    )
    dispatcher.run(ListSource(configs, spec.objective, needs_objective=False, key=lambda _: "shared"))

    records = run.confirm_records("lora")
    assert [found.state for found in records] == [state] * seats
    assert len(pool.requests) == min(losses, 2) + 1
    notices = sorted(event.message for event in events if isinstance(event, Notice))
    told = [f"seed-{n} is given to another worker: Its node is gone." for n in range(1, seats + 1)]
    assert notices == sorted(told * 2)
    if state == "FAIL":
        assert {found.failure.kind for found in records} == {"worker_died"}
    first = pool.requests[0]
    asked = first.trials if isinstance(first, RunTogether) else (first,)
    assert [trial.memory_bytes for trial in asked] == [100.0 * n for n in range(1, seats + 1)]


def test_data_that_two_workers_die_of_are_not_prepared_a_third_time(tmp_path: Path) -> None:
    spec, events = toy_study(), list[Event]()
    pool = ToldPool([Died("worker_died", "It was killed.")] * 3)

    with pytest.raises(RunError, match=r"^It was killed\.$"):
        told_dispatcher(pool, RunDirectory(tmp_path), on_event=events.append).prepare(
            PrepareData(spec.model, spec.data, tmp_path, 64, tmp_path / "data", seed=0)
        )

    assert len(pool.requests) == 2
    assert events == [Notice("The data are prepared once more: It was killed.")]
