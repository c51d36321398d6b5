"""Trials that are run together end in the records that each would have alone, with a real model, engine and scorer."""

import pytest
import torch
from wave_bench import CPU, Here, ToyFloor

from evals.models.scored import ScoredModel
from evals.spec import TaskSpec
from evals.tasks.library import TaskLibrary
from sweep.errors import TaskError
from sweep.together import scoring
from sweep.together.bases import Bases
from sweep.together.wave import Wave
from sweep.training.lanes.fitness import LanesUnfitError


@pytest.mark.parametrize("kind", ["lora", "qlora"])
def test_records_are_those_of_the_same_trials_alone(here: Here, kind: str) -> None:
    trials = [here.trial(number, kind) for number in range(4)]
    floor = ToyFloor(waiting=trials[2:])

    records = here.run(floor, trials[:2])

    assert sorted(records) == [0, 1, 2, 3]
    for number, trial in enumerate(trials):
        together, alone = records[number], here.alone(trial)
        assert (together.state, together.failure, together.config) == ("COMPLETE", None, trial.config)
        assert together.training.initial_sha256 == alone.training.initial_sha256
        assert together.training.tokens == alone.training.tokens == together.tokens
        assert together.intermediate == pytest.approx(alone.intermediate, rel=1e-5)
        mine, other = together.evaluation.metrics["own/loss"], alone.evaluation.metrics["own/loss"]
        # A 4-bit layer multiplies rows of another number in another order.
        assert mine.value == pytest.approx(other.value, rel=1e-5 if kind == "lora" else 5e-3)
        assert sorted(path.name for path in (trial.directory / "checkpoint").iterdir()) == sorted(
            path.name for path in (here.path / "alone" / trial.directory.name / "checkpoint").iterdir()
        )
        assert list((trial.directory / "eval").glob("**/samples_*.jsonl"))


def test_the_devices_time_is_divided_among_the_trials(here: Here) -> None:
    trials = [here.trial(number) for number in range(4)]

    records = here.run(ToyFloor(waiting=trials[2:]), trials[:2], data_seconds=6.0)

    assert {number: record.seconds.get("data") for number, record in records.items()} == {
        0: 3.0,
        1: 3.0,
        2: None,
        3: None,
    }
    for record in records.values():
        assert {"load", "train", "validate", "save", "score"} <= record.seconds.keys()
        assert record.seconds_total == pytest.approx(sum(record.seconds.values()))
        assert min(record.seconds.values()) >= 0
        assert record.seconds_total <= record.sharing.elapsed_seconds
        assert 1 < record.sharing.lanes <= 2
        assert record.memory.host_bytes > 0


def test_a_free_seat_is_offered_at_once_and_an_empty_answer_ends_the_wave(here: Here) -> None:
    trials = [here.trial(number, num_train_epochs=1 + number) for number in range(3)]
    floor = ToyFloor(waiting=trials[2:], prune=frozenset({0}))

    records = here.run(floor, trials[:2])

    assert {number: record.state for number, record in records.items()} == {0: "PRUNED", 1: "COMPLETE", 2: "COMPLETE"}
    # The third was seated while the second was still being trained.
    started = floor.parts.index((2, "load"))
    assert (1, "train") in floor.parts[started:]
    assert floor.offered[0] == 1
    assert records[0].training.optimizer_steps < records[1].training.optimizer_steps
    assert not (trials[0].directory / "checkpoint").exists()


def test_what_happens_to_one_trial_is_its_record_and_harms_no_other(here: Here) -> None:
    trials = [
        here.trial(0, peft={"lora_target_modules": ("nowhere",)}),
        here.trial(1, learning_rate=1e30, max_grad_norm=0.0, lr_scheduler_type="constant", warmup_steps=0),
        here.trial(2, deadline=1e-9),
        here.trial(3),
    ]

    records = here.run(ToyFloor(), trials, seats=4)

    kinds = {number: record.failure.kind if record.failure else None for number, record in records.items()}
    assert kinds == {0: "infeasible", 1: "diverged", 2: "deadline", 3: None}
    assert not any((trial.directory / "checkpoint").exists() for trial in trials[:3])
    assert records[3].evaluation.metrics["own/loss"].value == pytest.approx(
        here.alone(trials[3]).evaluation.metrics["own/loss"].value, rel=1e-5
    )


def test_scoring_that_is_too_much_at_once_is_done_in_halves(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    together, sizes = scoring.score_adapters, []

    def limited(lm, adapters, *rest, **settings):
        sizes.append(len(adapters))
        if len(adapters) > 2:
            raise torch.OutOfMemoryError("no memory")
        return together(lm, adapters, *rest, **settings)

    monkeypatch.setattr(scoring, "score_adapters", limited)
    records = here.run(ToyFloor(), [here.trial(number) for number in range(4)], seats=4)

    assert sizes == [4, 2, 2]
    assert {record.state for record in records.values()} == {"COMPLETE"}


def test_a_model_that_cannot_mix_adapters_is_scored_one_by_one(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise scoring.ModelError("this architecture cannot mix adapters in a batch.")

    monkeypatch.setattr(scoring, "score_adapters", refuse)
    records = here.run(ToyFloor(), [here.trial(number) for number in range(2)])

    assert {record.state for record in records.values()} == {"COMPLETE"}


def test_a_task_that_cannot_be_asked_is_raised(here: Here) -> None:
    trials = [here.trial(number, tasks=(TaskSpec(task="no_such_task"),)) for number in range(2)]

    with pytest.raises(TaskError, match="no_such_task"):
        here.run(ToyFloor(), trials)


def test_a_base_model_that_does_not_suit_lanes_is_said_before_anything_is_trained(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sweep.training.lanes.fitness.TOLERANCE", {torch.float32: -1.0})
    floor = ToyFloor()

    with pytest.raises(LanesUnfitError, match="deviates"):
        here.run(floor, [here.trial(0), here.trial(1)])

    assert floor.records == {}


def test_the_base_models_are_loaded_once_for_several_waves(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    bases, loaded = Bases(here.path / "cache"), []
    original = ScoredModel.__init__

    def counted(self, *arguments, **settings) -> None:
        loaded.append(type(self).__name__)
        original(self, *arguments, **settings)

    monkeypatch.setattr(ScoredModel, "__init__", counted)
    for turn in range(2):
        trials = [here.trial(2 * turn), here.trial(2 * turn + 1)]
        wave = Wave(ToyFloor(), seats=2, prepared=here.prepared, bases=bases, device=CPU, library=TaskLibrary())
        wave.run(trials)
        first = trials[0].config
        kept = bases.training(first.model, first.method_spec, CPU)
        assert kept is bases.training(first.model, first.method_spec, CPU)

    assert loaded.count("ScoredModel") == 1
