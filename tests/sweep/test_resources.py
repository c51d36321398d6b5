"""Peak memory of a trial."""

import threading
import time

import psutil
import torch

from sweep.resources import SAMPLE_SECONDS, ResourceWatch

CPU = torch.device("cpu")
MEBIBYTE = 2**20


def test_memory_that_was_given_back_still_counts_towards_the_peak() -> None:
    before = psutil.Process().memory_info().rss

    with ResourceWatch(CPU) as memory:
        held = bytearray(b"x") * (200 * MEBIBYTE)
        time.sleep(4 * SAMPLE_SECONDS)
        del held
        peak = memory.peak()

    assert peak.host_bytes > before + 150 * MEBIBYTE
    assert peak.device_bytes is None


def test_one_trials_peak_is_not_the_next_ones() -> None:
    with ResourceWatch(CPU) as first:
        held = bytearray(b"x") * (300 * MEBIBYTE)
        time.sleep(4 * SAMPLE_SECONDS)
        del held
    with ResourceWatch(CPU) as second:
        pass

    assert second.peak().host_bytes < first.peak().host_bytes - 200 * MEBIBYTE


def test_no_thread_is_left_behind() -> None:
    before = threading.active_count()

    for _ in range(3):
        with ResourceWatch(CPU):
            pass

    assert threading.active_count() == before
