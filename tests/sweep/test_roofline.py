"""The device's own speed, by multiplying."""

import time

import pytest
import torch

from sweep import roofline
from sweep.roofline import REPEATS, measure_product, measured_product

CPU = torch.device("cpu")


def test_the_rate_is_two_cubed_sides_over_the_median_of_all_but_the_first(monkeypatch) -> None:
    taken = iter([100.0, 1.0, 2.0, 50.0, 3.0, 2.0])
    monkeypatch.setattr(roofline, "_seconds_of", lambda *_: next(taken))

    product = measure_product(CPU, torch.float32, 10)

    assert product.flops_per_second == pytest.approx(2 * 10**3 / 2.0)
    assert (product.side, product.dtype) == (10, "float32")


def test_a_real_product_takes_about_as_long_as_it_says() -> None:
    side = 512
    matrix = torch.ones(side, side)
    seconds = []
    for _ in range(1 + REPEATS):
        began = time.perf_counter()
        matrix @ matrix
        seconds.append(time.perf_counter() - began)

    product = measure_product(CPU, torch.float32, side)

    # Other processes share the cores; a wrong count or unit is off by far more.
    assert 0.05 < product.flops_per_second * sorted(seconds)[REPEATS // 2] / (2 * side**3) < 20


def test_a_process_measures_once() -> None:
    assert measured_product(CPU, torch.float32) is measured_product(CPU, torch.float32)
