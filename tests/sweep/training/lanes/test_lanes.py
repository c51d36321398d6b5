"""Lanes keep to themselves: whoever sits beside them, whenever they come, and whatever goes wrong next door."""

import math
import time

import pytest
import torch
from lanes_bench import DROPPING, OTHERS, Bench, Trial, distance, drain, lora

from sweep.errors import TrialError
from sweep.training.lanes.packed import Packed
from sweep.training.lanes.reader import Reader


def same(bench: Bench, one: str, other: str) -> bool:
    return (
        bench.losses(one) == pytest.approx(bench.losses(other), rel=1e-5)
        and distance(bench.weights(one), bench.weights(other)) < 1e-5
    )


def test_a_lane_is_the_same_alone_and_in_company_and_for_every_width(bench: Bench) -> None:
    bench.together({"alone": DROPPING})
    for width in (1, 2, 3):
        trials = {f"{name}-{width}": trial for name, trial in {**OTHERS, "mine": DROPPING}.items()}
        bench.together(trials, width)

    assert all(same(bench, f"mine-{width}", "alone") for width in (1, 2, 3))


def test_a_lane_that_is_seated_late_is_the_same(bench: Bench) -> None:
    bench.together({"alone": DROPPING})
    lanes = bench.lanes(DROPPING.method)
    for name, trial in OTHERS.items():
        lanes.seat(bench.job(trial, name))
    for _ in range(5):
        lanes.step()
    lanes.seat(bench.job(DROPPING, "late"))
    drain(lanes)

    assert same(bench, "late", "alone")


def test_with_no_width_given_one_is_found_and_nothing_changes(bench: Bench) -> None:
    bench.together({"alone": DROPPING})
    long = {name: Trial(lora(num_train_epochs=6.0), seed) for seed, name in enumerate(("a", "b", "c"))}
    lanes = bench.lanes(DROPPING.method)
    for name, trial in {**long, "mine": DROPPING}.items():
        lanes.seat(bench.job(trial, name))
    widths = set()
    while lanes.seated:
        lanes.step()
        widths.add(lanes.width)

    assert widths & {1, 2, 4}
    assert same(bench, "mine", "alone")


def test_a_pruned_lane_saves_nothing_and_makes_room(bench: Bench) -> None:
    ends = bench.together({"pruned": Trial(lora(), prune_at=1), **OTHERS})

    outcome = ends["pruned"].outcome
    assert outcome is not None
    assert outcome.pruned
    assert list(outcome.intermediate) == [1]
    assert not (bench.path / "pruned" / "checkpoint").exists()
    assert all(end.outcome is not None for end in ends.values())


def test_a_lane_that_diverges_harms_no_other(bench: Bench) -> None:
    bench.together({f"{name}-alone": trial for name, trial in {**OTHERS, "mine": DROPPING}.items()})
    wild = Trial(lora(learning_rate=1e30, max_grad_norm=0.0, warmup_steps=0, lr_scheduler_type="constant"), seed=8)

    ends = bench.together({"wild": wild, **OTHERS, "mine": DROPPING}, width=4)

    assert isinstance(ends["wild"].error, TrialError)
    assert ends["wild"].error.kind == "diverged"
    assert all(same(bench, name, f"{name}-alone") for name in (*OTHERS, "mine"))


def test_a_lane_that_is_not_read_is_not_touched_by_those_around_it(bench: Bench) -> None:
    lanes = bench.lanes(DROPPING.method, width=3)
    for name, trial in {"before": OTHERS["one"], "between": DROPPING, "after": OTHERS["two"]}.items():
        lanes.seat(bench.job(trial, name))
    lanes._arrange()
    before, between, after = lanes._lanes.values()
    before.adapters.parameters[0].data.fill_(math.inf)

    shares = [before.share, after.share]
    lanes._reader.differentiate(Packed(shares, torch.device("cpu")), [before.adapters, after.adapters])

    spoiled, fine = ([weight.grad for weight in lane.adapters.parameters] for lane in (before, after))
    assert any(not torch.isfinite(grad).all() for grad in spoiled)
    assert all(torch.isfinite(grad).all() for grad in fine)
    assert any(grad.any() for grad in fine)
    assert all((weight.grad == 0).all() for weight in between.adapters.parameters)
    lanes.close()


def test_running_out_of_memory_narrows_the_forward_and_loses_no_trial(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.together({f"{name}-alone": trial for name, trial in {**OTHERS, "mine": DROPPING}.items()})
    read, calls = Reader.differentiate, []

    def limited(self, packed, adapters):
        calls.append(len(adapters))
        losses = read(self, packed, adapters)
        if len(adapters) > 1 and len(calls) > 4:
            # Memory runs out at the very end of a backward, when every gradient has been spoiled.
            raise torch.OutOfMemoryError("no memory")
        return losses

    monkeypatch.setattr(Reader, "differentiate", limited)
    ends = bench.together({**OTHERS, "mine": DROPPING}, width=3)

    assert {3, 1} <= set(calls)
    assert all(end.error is None for end in ends.values())
    assert all(same(bench, name, f"{name}-alone") for name in (*OTHERS, "mine"))


def test_a_bug_in_one_lanes_forward_ends_that_lane_alone(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    read = Reader.differentiate

    def broken(self, packed, adapters):
        if any(own.dropout == 0.2 for own in adapters):
            raise IndexError("a row that nobody expected")
        return read(self, packed, adapters)

    monkeypatch.setattr(Reader, "differentiate", broken)
    ends = bench.together({**OTHERS, "mine": DROPPING}, width=3)

    assert isinstance(ends["mine"].error, IndexError)
    assert all(ends[name].outcome is not None for name in OTHERS)


def test_a_lane_that_does_not_fit_even_alone_fails_by_itself(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    read = Reader.differentiate

    def limited(self, packed, adapters):
        if any(own.dropout == 0.2 for own in adapters):
            raise torch.OutOfMemoryError("no memory")
        return read(self, packed, adapters)

    monkeypatch.setattr(Reader, "differentiate", limited)
    ends = bench.together({**OTHERS, "mine": DROPPING}, width=3)

    assert isinstance(ends["mine"].error, torch.OutOfMemoryError)
    assert all(ends[name].outcome is not None for name in OTHERS)


def test_what_a_lanes_callback_raises_ends_that_lane(bench: Bench) -> None:
    def refuse(_rung: int, _loss: float) -> bool:
        raise ZeroDivisionError("a bug of the caller")

    lanes = bench.lanes(DROPPING.method)
    broken = lanes.seat(bench.job(DROPPING, "broken", on_rung=refuse))
    late = lanes.seat(bench.job(DROPPING, "late", deadline=time.monotonic() - 1))
    kept = lanes.seat(bench.job(OTHERS["one"], "kept"))
    ends = {end.lane: end for end in drain(lanes)}

    assert isinstance(ends[broken].error, ZeroDivisionError)
    assert isinstance(ends[late].error, TrialError)
    assert ends[late].error.kind == "deadline"
    assert ends[kept].outcome is not None


def test_time_in_which_all_lanes_waited_for_the_driver_is_not_part_of_a_deadline(bench: Bench) -> None:
    lanes = bench.lanes(DROPPING.method)
    lanes.seat(bench.job(DROPPING, "excused", deadline=time.monotonic() - 1))

    lanes.excuse(600.0)

    assert [end.error for end in drain(lanes)] == [None]


def test_an_adapter_that_does_not_fit_the_model_is_refused_and_the_base_stays_plain(bench: Bench) -> None:
    lanes = bench.lanes(DROPPING.method)

    with pytest.raises(TrialError, match="does not fit the model"):
        lanes.seat(bench.job(Trial(lora(peft={"lora_target_modules": ("nowhere",)})), "misfit"))

    lanes.seat(bench.job(OTHERS["one"], "one"))
    assert [end.error for end in drain(lanes)] == [None]


@pytest.mark.parametrize("quantized", [False, True], ids=["lora", "qlora"])
def test_the_base_model_is_left_as_it_was(bench: Bench, quantized: bool) -> None:
    method = lora(quantized=quantized)
    base, ids = bench.base(method), torch.arange(5, 15)[None]
    with torch.no_grad():
        before = base(ids).logits
    modules, attention = dict(base.named_modules()), base.config._attn_implementation
    lanes = bench.lanes(method, base=base)
    lanes.seat(bench.job(Trial(method), "one"))
    drain(lanes)

    lanes.close()

    with torch.no_grad():
        assert torch.equal(base(ids).logits, before)
    assert dict(base.named_modules()) == modules
    assert base.config._attn_implementation == attention
    assert not any(module._forward_hooks for module in base.modules())
    assert not any(weight.requires_grad for weight in base.parameters())


def test_what_two_lanes_add_is_what_each_adds_by_itself(bench: Bench) -> None:
    """The common product keeps lanes apart exactly: zeros, not small numbers."""
    lanes = bench.lanes(DROPPING.method, width=2)
    for name, trial in OTHERS.items():
        lanes.seat(bench.job(trial, name))
    lanes._arrange()

    own = [lane.adapters for lane in lanes._lanes.values()]
    shares = [lane.share for lane in lanes._lanes.values()]
    both = Packed(shares, torch.device("cpu"))
    lanes._reader.differentiate(both, own)
    together = [weight.grad.clone() for adapters in own for weight in adapters.parameters]
    for lane in lanes._lanes.values():
        lane.rewind()
    for share, adapters in zip(shares, own, strict=True):
        lanes._reader.differentiate(Packed([share], torch.device("cpu")), [adapters])
    apart = [weight.grad for adapters in own for weight in adapters.parameters]

    lanes.close()
    assert all(torch.allclose(one, other, rtol=1e-4, atol=1e-7) for one, other in zip(together, apart, strict=True))
    assert all(float(grad.abs().max()) > 0 for grad in together[1::2])
