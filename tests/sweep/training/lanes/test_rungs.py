"""Lanes at rungs: each has its own loss there, whatever happens next door, and all are known before one is judged."""

import pytest
import torch
from lanes_bench import DROPPING, OTHERS, Bench, Trial, drain, lora

from sweep.errors import TrialError
from sweep.training.lanes.reader import Reader


def test_a_lane_that_overflows_at_a_rung_leaves_its_neighbours_their_losses(bench: Bench) -> None:
    every_step = {"validations": 8, "warmup_steps": 0, "lr_scheduler_type": "constant"}
    calm = Trial(lora(**every_step), seed=5)
    wild = Trial(lora(learning_rate=1e30, max_grad_norm=0.0, **every_step), seed=8)
    alone = bench.together({"calm-alone": calm})["calm-alone"].outcome

    ends = bench.together({"wild": wild, "calm": calm}, width=2)

    assert isinstance(ends["wild"].error, TrialError)
    assert ends["calm"].outcome is not None
    assert alone is not None
    assert ends["calm"].outcome.intermediate == pytest.approx(alone.intermediate, rel=1e-5)


def test_running_out_of_memory_at_a_rung_loses_no_trial(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = bench.together({f"{name}-alone": trial for name, trial in {**OTHERS, "mine": DROPPING}.items()})
    read, sizes = Reader.validation_losses, []

    def limited(self, lanes):
        sizes.append(len(lanes))
        if len(lanes) > 1:
            raise torch.OutOfMemoryError("no memory")
        return read(self, lanes)

    monkeypatch.setattr(Reader, "validation_losses", limited)
    ends = bench.together({**OTHERS, "mine": DROPPING, "twin": DROPPING}, width=4)

    assert max(sizes) > 1
    for name in (*OTHERS, "mine"):
        mine, other = ends[name].outcome, alone[f"{name}-alone"].outcome
        assert mine is not None
        assert other is not None
        assert mine.intermediate == pytest.approx(other.intermediate, rel=1e-5)


def test_a_bug_at_one_lanes_rung_ends_that_lane_alone(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    read = Reader.validation_losses

    def broken(self, lanes):
        if any(own.dropout == 0.2 for own, _ in lanes):
            raise IndexError("a row that nobody expected")
        return read(self, lanes)

    monkeypatch.setattr(Reader, "validation_losses", broken)
    ends = bench.together({**OTHERS, "mine": DROPPING}, width=3)

    assert isinstance(ends["mine"].error, IndexError)
    assert all(len(ends[name].outcome.intermediate) == 2 for name in OTHERS)


def test_lanes_that_come_to_a_rung_together_are_all_told_of_before_any_is_judged(bench: Bench) -> None:
    heard: list[tuple[str, str, int]] = []
    lanes = bench.lanes(DROPPING.method, width=1)
    trials = {
        "short": Trial(lora(num_train_epochs=1.0), seed=1),
        "same": Trial(lora(num_train_epochs=1.0), seed=2),
        "long": Trial(lora(num_train_epochs=2.0, validations=4), seed=3, prune_at=1),
    }

    def seat(name: str, trial: Trial) -> None:
        def judge(rung: int, _loss: float) -> bool:
            heard.append(("judged", name, rung))
            return rung == trial.prune_at

        lanes.seat(bench.job(trial, name, on_loss=lambda rung, _: heard.append(("told", name, rung)), on_rung=judge))

    for name, trial in trials.items():
        seat(name, trial)
    drain(lanes)
    lanes.close()

    assert heard == [(how, name, 1) for how in ("told", "judged") for name in trials] + [
        (how, name, 2) for how in ("told", "judged") for name in ("short", "same")
    ]
    assert "validation_loss" in bench.steps("long")[-1]


def test_each_lane_is_validated_on_as_many_rows_as_it_asks_for_alone(bench: Bench) -> None:
    trials = {f"{rows}-rows": Trial(lora(validation_rows=rows)) for rows in (1, 2, 100)}
    ends = bench.together({**trials, "again": trials["2-rows"]})

    found = {name: end.outcome.intermediate for name, end in ends.items() if end.outcome}
    for name, trial in trials.items():
        assert found[name] == pytest.approx(bench.alone(trial, f"{name}-alone").intermediate, rel=1e-5)
    assert found["again"] == pytest.approx(found["2-rows"], rel=1e-5)
    assert len({round(losses[2], 6) for losses in found.values()}) == len(trials)
