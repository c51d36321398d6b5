"""Numbers as a person reads them, and texts that can do nothing but be read."""

import pytest

from reports import wording


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, wording.NONE), (0.0, "0"), (2e-4, "2e-4"), (1.25e-5, "1.25e-5"), (0.001, "0.001"), (0.03, "0.03"),
        (16, "16"), (214.63, "215"), (1319, "1,319"), (999_999, "999,999"), (4_884_480, "4.88e6"), (-0.5, "-0.5"),
        (float("nan"), "nan"), (float("inf"), "inf"), (0.0999999, "0.1"), (10.0, "10"),
    ],
)  # fmt: skip
def test_numbers_are_short_and_plain(value: float | None, shown: str) -> None:
    assert wording.number(value) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(None, wording.NONE), (0.42, "0.42 s"), (59.0, "59 s"), (59.7, "1 min 0 s"), (223.6, "3 min 44 s"),
     (3599.9, "1 h 0 min"), (7260, "2 h 1 min")],
)  # fmt: skip
def test_durations_never_show_sixty(seconds: float | None, shown: str) -> None:
    assert wording.duration(seconds) == shown


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (None, wording.NONE),
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1 kB"),
        (19_560_000, "19.6 MB"),
        (1.93e9, "1.93 GB"),
        (5e15, "5,000 TB"),
    ],
)
def test_sizes_are_in_decimal_units(count: float | None, shown: str) -> None:
    assert wording.size(count) == shown


def test_what_cannot_be_seen_is_shown_by_its_code() -> None:
    assert wording.visible("a\u202eb\x00c\ud800d\u2066") == "a\\u202eb\\u0000c\\ud800d\\u2066"
    assert (
        wording.visible("a\tb\r\nc 👩\u200d🔧 \u0645\u06cc\u200c\u062e")
        == "a\tb\nc 👩\u200d🔧 \u0645\u06cc\u200c\u062e"
    )


def test_a_text_on_one_line_has_no_line_breaks() -> None:
    assert wording.one_line(" a\n\tb\r\n c ") == "a b c"


def test_a_long_text_says_how_much_is_left_out() -> None:
    assert wording.shorten("abcdef", 4) == "abcd… (2 more characters)"
    assert wording.shorten("abcd", 4) == "abcd"


def test_names_are_listed_as_in_a_sentence() -> None:
    assert [wording.listed(list(names)) for names in ("a", "ab", "abc")] == ["a", "a and b", "a, b and c"]


def test_settings_are_shown_as_a_study_file_has_them() -> None:
    values = [2e-4, True, None, ("q_proj", "v_proj"), "all-linear", 16]

    assert [wording.setting(value) for value in values] == [
        "2e-4",
        "true",
        wording.NONE,
        "q_proj, v_proj",
        "all-linear",
        "16",
    ]
