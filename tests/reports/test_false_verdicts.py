"""Two thousand simulated studies in which nothing is better: how many say that something is.

Three methods and a base model have the same expected score. Methods differ by seed noise, by the items that each finds
hard, and by each model's own errors. Every study goes through the contrasts and verdicts that a report is made of.
"""

import math

import numpy as np
import pytest

from reports.contrast import contrast
from reports.contrasting import all_pairs
from reports.sides import MetricName, Side, TaskItems
from reports.statistics.clusters import Floats
from reports.verdict import judge
from sweep.spec import ReportSpec

STUDIES = 2_000
SEED_NOISE, OWN_ERRORS, PERSISTENT = 0.12, 0.4, 0.3
NAME = MetricName("own", "loss")


def studied(rng: np.random.Generator, kind: str, seeds: int) -> tuple[list[Side], Side]:
    """One study's answers: normal values on a latent scale, made right or wrong, or losses per token."""
    count = int(rng.integers(100, 500))
    clusters = (
        np.unique(rng.integers(0, max(2, count // 8), count), return_inverse=True)[1] if "group" in kind else None
    )
    shared = latent(rng, count, clusters)
    tokens = rng.integers(5, 60, count).astype(float)

    def models(number: int, seed: float, own: float) -> list[Floats]:
        level = shared + PERSISTENT * latent(rng, count, clusters)
        return [level + seed * rng.standard_normal() + own * rng.standard_normal(count) for _ in range(number)]

    def side(name: str, made: list[Floats], *, is_trained: bool) -> Side:
        groups = (None,) * count if clusters is None else tuple(f"c{code}" for code in clusters)
        keys, empty = tuple((str(place), 0) for place in range(count)), ("",) * count
        answers = []
        for values in made:
            is_loss = kind == "loss per token"
            scores = np.exp(0.3 * values) if is_loss else (values > -0.3).astype(float)
            weights = {NAME.metric: tokens} if is_loss else {}
            answers.append({("own", "none"): TaskItems(keys, groups, empty, empty, {NAME.metric: scores}, weights)})
        return Side(name, is_trained, tuple(answers))

    # The base model's errors vary as much as a method's seeds and errors together: then all expect the same score.
    base = side("base model", models(1, 0.0, math.hypot(SEED_NOISE, OWN_ERRORS)), is_trained=False)
    names = ("lora", "qlora", "full")
    return [side(name, models(seeds, SEED_NOISE, OWN_ERRORS), is_trained=True) for name in names], base


def latent(rng: np.random.Generator, count: int, clusters: np.ndarray | None) -> Floats:
    own = rng.standard_normal(count)
    return own if clusters is None else math.sqrt(0.5) * (own + rng.standard_normal(clusters.max() + 1)[clusters])


def share_with_a_false_verdict(kind: str, seeds: int, studies: int) -> float:
    rng = np.random.default_rng(20_261_124)
    false = 0
    for _ in range(studies):
        methods, base = studied(rng, kind, seeds)
        made = [contrast(one, other, NAME, higher_is_better=False) for one, other in all_pairs(methods, [base])]
        found = [one for one in made if one is not None]
        assert len(found) == 6
        verdicts = judge(found, ReportSpec(), headline=str(NAME))
        false += any(verdict.outcome in {"better", "worse"} for verdict in verdicts)
    return false / studies


def test_at_most_one_study_in_twenty_has_a_false_verdict() -> None:
    assert 0.005 <= share_with_a_false_verdict("right or wrong", 3, STUDIES) <= 0.05


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "seeds"),
    [
        ("right or wrong", 2),
        ("right or wrong", 5),
        ("in groups", 3),
        ("in groups", 5),
        ("loss per token", 3),
        ("loss per token", 5),
    ],
)
def test_at_most_one_study_in_twenty_has_a_false_verdict_whatever_the_items(kind: str, seeds: int) -> None:
    assert share_with_a_false_verdict(kind, seeds, STUDIES) <= 0.05
