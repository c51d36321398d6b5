"""Memory runs out for real: it is returned, fewer lanes go on, and the next trial is unharmed."""

import gc
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from agreement import deviation
from datasets import Dataset
from lanes_bench import Bench, Trial, drain, lora

from evals.models.memory import is_out_of_memory
from evals.spec import ModelSpec
from sweep.easing import Easing, eased, next_rung
from sweep.models import release_memory

LENGTH = 1024
SETTINGS = {
    "num_train_epochs": 1.0, "optim": "adamw_torch", "effective_batch_size": 8, "per_device_train_batch_size": 8,
    "max_length": LENGTH, "learning_rate": 1e-3,
}  # fmt: skip
LANES = 8
SPARE = 32 * 2**20
"""Bytes in which an allocator's blocks and a library's work space may differ."""
LAST = Easing(micro_batch_size=1, gradient_checkpointing=True)
"""The last rung of the ladder."""


class LongRows:
    """Rows as long as the tiny model can take."""

    def dataset(self, split: str) -> Dataset:
        draw = random.Random(split)  # noqa: S311 - rows, not secrets
        rows = [[draw.randrange(3, 200) for _ in range(LENGTH)] for _ in range(16 if split == "train" else 0)]
        return Dataset.from_dict({"input_ids": rows, "completion_mask": [[0] * 4 + [1] * (LENGTH - 4) for _ in rows]})


@pytest.fixture
def bench(tiny_model: Path, tmp_path: Path, cuda: torch.device) -> Bench:
    model = ModelSpec(model_name_or_path=str(tiny_model), dtype="float32")
    return Bench(model, tmp_path, LongRows(), cuda)  # type: ignore[arg-type]


@contextmanager
def at_most(size: int) -> Iterator[None]:
    """Let this process have so many bytes of the GPU."""
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(size / torch.cuda.get_device_properties(0).total_memory)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


def fits(bench: Bench, trial: Trial, name: str) -> bool:
    """Whether a trial ended before the memory did, all of which is given back."""
    try:
        bench.alone(trial, name)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        return False
    finally:
        release_memory()
    return True


def run(bench: Bench, width: int, name: str) -> tuple[int, int | None]:
    """Peak of a run of lanes, and the width that it ended with. Every trial has to finish."""
    release_memory()
    torch.cuda.reset_peak_memory_stats()
    lanes = bench.lanes(lora(**SETTINGS), width=width)
    for number in range(LANES):
        lanes.seat(bench.job(Trial(lora(**SETTINGS), number), f"{name}-{number}"))
    ends = drain(lanes)
    assert [end.error for end in ends] == [None] * LANES
    found = torch.cuda.max_memory_reserved(), lanes.width
    lanes.close()
    return found


@pytest.mark.gpu
def test_fewer_lanes_share_a_forward_where_memory_ends_and_every_trial_is_the_same(bench: Bench) -> None:
    alone, _ = run(bench, 1, "alone")
    together, _ = run(bench, LANES, "together")
    assert together - alone > 4 * SPARE, "eight lanes have to need far more than one"
    gc.collect()
    release_memory()
    before = torch.cuda.memory_allocated()

    with at_most((alone + together) // 2):
        peak, width = run(bench, LANES, "capped")

    gc.collect()
    release_memory()
    assert width is not None
    assert 1 <= width < LANES
    assert peak <= (alone + together) // 2
    assert torch.cuda.memory_allocated() - before < SPARE
    for number in range(LANES):
        assert deviation(bench.losses(f"capped-{number}"), bench.losses(f"alone-{number}")) < 1e-4


@pytest.mark.gpu
def test_a_trial_alone_that_does_not_fit_gives_its_memory_back_and_the_next_is_unharmed(bench: Bench) -> None:
    trial = Trial(lora(**SETTINGS))
    bench.alone(trial, "before")
    release_memory()
    before = torch.cuda.memory_allocated()
    small = trial.method.training.model_copy(update={"per_device_train_batch_size": 1})

    with at_most(before + 3 * SPARE):
        with pytest.raises(RuntimeError) as refused:
            bench.alone(trial, "refused")
        assert is_out_of_memory(refused.value)
        # Its traceback holds the whole trainer.
        del refused
        release_memory()
        assert torch.cuda.memory_allocated() - before < SPARE
        bench.alone(Trial(trial.method.model_copy(update={"training": small}), trial.seed), "small")

    release_memory()
    bench.alone(trial, "after")
    assert deviation(bench.losses("after"), bench.losses("before")) < 1e-4
    assert deviation(bench.losses("small"), bench.losses("before")) < 1e-3


@pytest.mark.gpu
def test_a_trial_goes_down_its_ladder_to_where_it_fits_and_is_the_same(bench: Bench) -> None:
    trial = Trial(lora(**SETTINGS))
    release_memory()
    before = torch.cuda.memory_allocated()
    peaks = {}
    for rung in (None, LAST):
        release_memory()
        torch.cuda.reset_peak_memory_stats()
        bench.alone(Trial(eased(trial.method, rung), trial.seed), f"free-{rung is None}")
        peaks[rung is None] = torch.cuda.max_memory_reserved()
    assert peaks[True] - peaks[False] > 2 * SPARE, "the last rung has to need far less than what is asked"

    tried: list[Easing | None] = [None]
    with at_most(max(before, peaks[False]) + SPARE):
        while not fits(bench, Trial(eased(trial.method, tried[-1]), trial.seed), f"rung-{len(tried) - 1}"):
            further = next_rung(trial.method, tried[-1], together=1, is_whole_worker=False)
            assert further is not None, "the last rung fits, as was seen above"
            tried.append(further)

    assert len(tried) > 1
    found = f"rung-{len(tried) - 1}"
    assert deviation(bench.losses(found), bench.losses("free-True")) < 1e-3
    assert len(bench.losses(found)) == len(bench.losses("free-True"))


@pytest.mark.gpu
def test_recomputed_activations_are_the_last_rung_and_need_least(bench: Bench) -> None:
    peaks = []
    for rung in (None, Easing(micro_batch_size=4), Easing(micro_batch_size=1), LAST):
        release_memory()
        torch.cuda.reset_peak_memory_stats()
        bench.alone(Trial(eased(lora(**SETTINGS), rung)), f"peak-{len(peaks)}")
        peaks.append(torch.cuda.max_memory_allocated())

    assert peaks == sorted(peaks, reverse=True)
    assert peaks[-1] < peaks[-2] < peaks[0]
