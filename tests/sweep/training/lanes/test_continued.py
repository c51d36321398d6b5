"""A lane that was cut off goes on to the end that it would have had, whoever sits beside it by then."""

import pytest
from interrupting import keeper
from lanes_bench import Bench, Trial, distance, drain, lora

from sweep.stopping import Stop
from sweep.training.lanes.ends import SHARED, LaneEnd

LONG = {"num_train_epochs": 2.5, "validations": 3}
TRIALS = {
    "dropout": Trial(lora(peft={"lora_dropout": 0.3, "lora_r": 8}, weight_decay=0.1, **LONG), seed=5),
    "accumulation": Trial(lora(per_device_train_batch_size=1, effective_batch_size=8, **LONG), seed=6),
    "8bit": Trial(
        lora(
            peft={"lora_target_modules": ("up_proj", "down_proj"), "lora_r": 64, "use_rslora": True},
            optim="adamw_8bit",
            **LONG,
        ),
        seed=7,
    ),
}


class Study:
    """Lanes that can be cut off and seated again."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.starts: dict[str, list[int]] = {}
        self.rungs: dict[str, list[int]] = {}

    def seat(self, lanes, name: str, trial: Trial, *, stop: Stop | None = None, seconds: float = 0.0, **changes) -> int:
        starts, rungs = self.starts.setdefault(name, []), self.rungs.setdefault(name, [])
        begun = len(starts)

        def on_progress(progress) -> None:
            if progress.phase == "train" and len(starts) == begun:
                starts.append(progress.step)

        def on_rung(rung: int, _loss: float) -> bool:
            rungs.append(rung)
            return rung == trial.prune_at

        keep = keeper(self.bench.path / name, stop=stop, seconds=seconds)
        keep.load()
        given = {"on_progress": on_progress, "on_rung": on_rung, "keeper": keep, **changes}
        return lanes.seat(self.bench.job(trial, name, **given))

    def run(
        self, trials: dict[str, Trial], *, width: int | None, turns: int | None = None, **settings
    ) -> dict[str, LaneEnd]:
        """Seat trials and take so many turns, or all."""
        lanes = self.bench.lanes(next(iter(trials.values())).method, width)
        names = {self.seat(lanes, name, trial, **settings): name for name, trial in trials.items()}
        try:
            ends = drain(lanes) if turns is None else [end for _ in range(turns) for end in lanes.step()]
        except KeyboardInterrupt:
            lanes.save()
            raise
        finally:
            lanes.close()
        return {names[end.lane]: end for end in ends}

    def found_out(self, name: str, end: LaneEnd) -> dict[str, object]:
        """All that a lane found out, but for what a clock told."""
        assert end.outcome is not None, end.error
        steps = [{key: value for key, value in line.items() if key != "seconds"} for line in self.bench.steps(name)]
        result = end.outcome.result.model_dump(exclude={"tokens_per_second"})
        return {"steps": steps, "result": result, "intermediate": end.outcome.intermediate}


@pytest.fixture
def study(bench: Bench) -> Study:
    return Study(bench)


@pytest.mark.parametrize(("quantized", "width"), [(False, 1), (True, 1), (False, 2)])
def test_lanes_that_are_cut_off_again_and_again_end_as_if_they_never_had(
    study: Study, quantized: bool, width: int
) -> None:
    # Two that share forwards meet in the same pairs of micro-batches again only where they keep in step.
    trials = TRIALS if width == 1 else {name: TRIALS[name] for name in ("dropout", "8bit")}
    if quantized:
        trials = {name: Trial(one.method.model_copy(update=_quantization()), one.seed) for name, one in trials.items()}
    whole = study.run({f"{name}-whole": trial for name, trial in trials.items()}, width=width)

    # A turn is one micro-batch of each: in mid-window for the one that accumulates.
    for turns in (9, 12):
        study.run(trials, width=width, turns=turns)
    ends = study.run(trials, width=width)

    for name in trials:
        expected = study.found_out(f"{name}-whole", whole[f"{name}-whole"])
        assert study.found_out(name, ends[name]) == expected, name
        assert study.rungs[name] == study.rungs[f"{name}-whole"] == [1, 2, 3]
        assert study.starts[name][0] == 0
        assert 0 < study.starts[name][1] < study.starts[name][2]


def _quantization() -> dict:
    four_bit = lora(quantized=True)
    return {"kind": "qlora", "load_in_4bit": True, "quantization": four_bit.quantization}


def test_a_lane_goes_on_alone_or_among_others_with_the_numbers_that_it_would_have_had(study: Study) -> None:
    mine = TRIALS["dropout"]
    others = {f"beside-{number}": Trial(lora(num_train_epochs=1.0), seed=number) for number in range(3)}
    whole = study.run({"whole": mine}, width=1)["whole"]

    study.run({"mine": mine}, width=1, turns=9)
    study.run({**others, "mine": mine}, width=1, turns=6)
    ends = study.run({"mine": mine}, width=1)

    assert len(set(study.starts["mine"])) == 3
    # One lane to a forward, nothing of its sums depends on the others.
    assert study.found_out("mine", ends["mine"]) == study.found_out("whole", whole)
    assert ends["mine"].outcome.result.nondeterminism is None


def test_a_lane_goes_on_at_another_width_up_to_rounding(study: Study) -> None:
    mine = TRIALS["dropout"]
    others = {f"beside-{number}": Trial(lora(num_train_epochs=3.0), seed=number) for number in range(3)}
    study.run({"whole": mine}, width=1)

    study.run({"mine": mine, **others}, width=2, turns=9)
    ends = study.run({**others, "mine": mine}, width=4)

    bench = study.bench
    assert study.starts["mine"][1] > 0
    assert bench.losses("mine") == pytest.approx(bench.losses("whole"), rel=1e-5)
    assert distance(bench.weights("mine"), bench.weights("whole")) < 1e-5
    assert ends["mine"].outcome.result.nondeterminism == SHARED


def test_lanes_that_are_told_to_stop_in_the_middle_of_their_windows_go_on_from_there(study: Study) -> None:
    whole = study.run({f"{name}-whole": trial for name, trial in TRIALS.items()}, width=3)
    stop = Stop()
    lanes = study.bench.lanes(TRIALS["dropout"].method, 3)
    for name, trial in TRIALS.items():
        study.seat(lanes, name, trial, stop=stop, seconds=1e6)
    # Eleven micro-batches: five steps and a half of one lane, one and three eighths of another.
    for _ in range(11):
        lanes.step()
    stop.ask()

    with pytest.raises(KeyboardInterrupt):
        lanes.step()
    lanes.save()
    lanes.close()
    ends = study.run(TRIALS, width=3)

    assert study.starts["accumulation"] == [0, 1]
    assert study.starts["dropout"][1] > 3
    # The windows that were begun are read from their beginning, so the lanes meet in other pairs of micro-batches.
    for name in TRIALS:
        assert study.bench.losses(name) == pytest.approx(study.bench.losses(f"{name}-whole"), rel=1e-5)
        assert study.rungs[name] == [1, 2, 3]
        assert ends[name].outcome.result.tokens == whole[f"{name}-whole"].outcome.result.tokens


@pytest.mark.parametrize(("at", "prunes"), [(2, False), (2, True), (3, False)])
def test_a_lane_that_is_stopped_before_it_was_judged_is_judged_when_it_goes_on(
    study: Study, at: int, prunes: bool
) -> None:
    mine = Trial(TRIALS["dropout"].method, seed=5, prune_at=at if prunes else None)
    whole = study.run({"whole": mine}, width=1)["whole"]

    def interrupt(rung: int, _loss: float) -> bool:
        if rung == at:
            raise KeyboardInterrupt
        return False

    with pytest.raises(KeyboardInterrupt):
        study.run({"mine": mine}, width=1, seconds=1e6, on_rung=interrupt)
    ends = study.run({"mine": mine}, width=1)

    assert study.rungs["mine"] == ([at] if prunes else list(range(at, 4)))
    assert study.found_out("mine", ends["mine"]) == study.found_out("whole", whole)
    assert ends["mine"].outcome.pruned == prunes


def test_a_lane_trained_twice_by_the_same_config_and_seed_has_the_same_weights(study: Study) -> None:
    ends = [study.run({f"{name}-{turn}": trial for name, trial in TRIALS.items()}, width=3) for turn in ("one", "two")]

    for name in TRIALS:
        one, two = (
            study.found_out(f"{name}-{turn}", end[f"{name}-{turn}"])
            for turn, end in zip(("one", "two"), ends, strict=True)
        )
        assert one == two
