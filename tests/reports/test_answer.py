from evals.result import Metric
from reports.answer import stands_apart
from reports.gather import MethodRecords
from reports.statistics import Estimate, estimate
from reports.summary import MethodSummary, Summary

METRIC = "own/exact_match"
NOTHING_RUN = MethodRecords.__new__(MethodRecords)


def scored(value: float, n: int) -> Estimate:
    stderr = (value * (1 - value) / (n - 1)) ** 0.5
    return estimate([Metric(value=value, stderr=stderr, n=n, higher_is_better=True)])


def summary(methods: dict[str, float], *, base: float, n: int) -> Summary:
    found = [
        MethodSummary(
            name, MethodRecords.__new__(MethodRecords), (), {METRIC: scored(value, n)}, None, None, None, None, None
        )
        for name, value in methods.items()
    ]
    return Summary("test", METRIC, (METRIC,), {METRIC: scored(base, n)}, {}, found, on_device=False)


def test_a_best_method_stands_apart_only_where_no_interval_meets_its_own() -> None:
    assert stands_apart(summary({"lora": 0.9, "full": 0.5}, base=0.1, n=200))
    assert not stands_apart(summary({"lora": 0.52, "full": 0.50}, base=0.1, n=200))


def test_a_best_method_does_not_stand_apart_from_a_base_model_as_good() -> None:
    assert not stands_apart(summary({"lora": 0.5}, base=0.5, n=200))


def test_more_items_tell_close_methods_apart() -> None:
    close = {"lora": 0.55, "full": 0.50}

    assert not stands_apart(summary(close, base=0.1, n=100))
    assert stands_apart(summary(close, base=0.1, n=10_000))
