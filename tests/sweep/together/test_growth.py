"""A worker keeps its base model over many trials, and nothing else."""

import gc

import psutil
import pytest
from wave_bench import CPU, Here, ToyFloor

from evals.tasks.library import TaskLibrary
from sweep.together.bases import Bases
from sweep.together.wave import Wave

WAVES, TOGETHER = 25, 8
MEBIBYTE = 2**20


@pytest.mark.slow
def test_memory_and_descriptors_do_not_grow_over_two_hundred_trials(here: Here) -> None:
    bases, library, process = Bases(here.path / "cache"), TaskLibrary(), psutil.Process()
    held, opened = [], []

    for turn in range(WAVES):
        floor = ToyFloor(prune=frozenset({1, 5}))
        trials = [
            here.trial(turn * TOGETHER + number, num_train_epochs=0.5, learning_rate=1e-3) for number in range(TOGETHER)
        ]
        wave = Wave(floor, seats=4, prepared=here.prepared, bases=bases, device=CPU, library=library)
        floor.waiting = trials[4:]
        wave.run(trials[:4])
        assert len(floor.records) == TOGETHER
        gc.collect()
        held.append(process.memory_info().rss)
        opened.append(process.num_fds())

    settled = WAVES // 4
    assert max(held[settled:]) - held[settled] < 100 * MEBIBYTE, [size // MEBIBYTE for size in held]
    assert max(opened[settled:]) <= opened[settled]
