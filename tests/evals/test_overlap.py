"""Overlap of texts, against second implementations that lm-evaluation-harness brings along."""

import random

import pytest
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu import CHRF

from evals.tasks.overlap import chrf, rouge_l

WORDS = ["the", "cat", "Sat", "on", "a", "mat", "mats,", "sitting", "x", "42", "über", "it's"]


def texts(seed: int) -> tuple[str, str]:
    draw = random.Random(seed)  # noqa: S311
    first, second = (" ".join(draw.choices(WORDS, k=draw.randint(0, 12))) for _ in range(2))
    return first, second


@pytest.mark.parametrize("seed", range(60))
def test_chrf_is_sacrebleus(seed: int) -> None:
    expected, answer = texts(seed)

    assert chrf(expected, answer) == pytest.approx(CHRF().sentence_score(answer, [expected]).score / 100, abs=1e-6)


@pytest.mark.parametrize("seed", range(60))
def test_rouge_l_is_rouge_scores_on_ascii(seed: int) -> None:
    expected, answer = (text.replace("über", "over") for text in texts(seed))
    theirs = RougeScorer(["rougeL"]).score(expected, answer)["rougeL"].fmeasure

    assert rouge_l(expected, answer) == pytest.approx(theirs)


def test_words_of_any_script_count() -> None:
    assert rouge_l("über Мир", "ÜBER мир!") == 1.0


def test_equal_texts_score_one_and_empty_ones_nothing() -> None:
    for measure in (chrf, rouge_l):
        assert measure("a b c", "a b c") == 1.0
        assert measure("a", "") == measure("", "a") == measure("", "") == 0.0


def test_long_texts_take_no_time_to_speak_of() -> None:
    first, second = (" ".join(random.Random(seed).choices(WORDS, k=20_000)) for seed in (1, 2))  # noqa: S311

    assert 0.3 < rouge_l(first, second) < 1.0
