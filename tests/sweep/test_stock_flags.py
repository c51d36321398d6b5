"""Lists on the command line, as the stock tool takes them."""

import pytest

from sweep.stock_flags import join_lists


@pytest.mark.parametrize(
    ("given", "joined"),
    [
        ("eval m --tasks a b c --limit 3", "eval m --tasks a,b,c --limit 3"),
        ("eval m --tasks a,b", "eval m --tasks a,b"),
        ("eval m --tasks a, b", "eval m --tasks a,,b"),
        ("eval --tasks a b m", "eval --tasks a,b m"),
        ("eval --limit 3 --tasks a m", "eval --limit 3 --tasks a m"),
        ("eval --tasks a b --limit 3 m", "eval --tasks a,b --limit 3 m"),
        (
            "eval m --gen_kwargs temperature=0.5 top_p=-1 --tasks a",
            "eval m --gen_kwargs temperature=0.5,top_p=-1 --tasks a",
        ),
        ("eval m --tasks", "eval m --tasks"),
        ("run study.yaml --tasks a b", "run study.yaml --tasks a b"),
        ("eval m --tasks --limit 3", "eval m --tasks --limit 3"),
    ],
)
def test_words_of_a_list_are_joined_up_to_the_next_flag_or_the_model(given: str, joined: str) -> None:
    assert join_lists(given.split()) == joined.split()
