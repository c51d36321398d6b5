"""Only plain values cross between a test and a candidate, and they cross unchanged."""

import collections
import enum
import json
import math
from typing import NamedTuple

import numpy as np
import pytest

from evals.code.inside.values import Keep, Remote, decode, encode

PLAIN = [
    None, True, False, 0, -1, 2**63, -(2**5000), 0.1, -0.0, math.inf, "", "ü\ud800", b"\x00\xff", bytearray(b"a"),
    1 + 2j, [], [1, [2.0, (3,)]], (), (1,), set(), {1, "a"}, frozenset({1}), {}, {(1, 2): [None], "k": {}},
    range(1, 9, 2),
]  # fmt: skip


@pytest.mark.parametrize("value", PLAIN, ids=[f"{place}-{type(value).__name__}" for place, value in enumerate(PLAIN)])
def test_a_plain_value_crosses_with_its_type(value: object) -> None:
    crossed = decode(encode(value))

    assert crossed == value
    assert type(crossed) is type(value)
    assert repr(crossed) == repr(value)


def test_not_a_number_stays_one() -> None:
    assert math.isnan(decode(encode(math.nan)))


class Yes(int):
    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = int.__hash__


class Text(str):
    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = str.__hash__


class Pair(NamedTuple):
    a: int
    b: int


SUBCLASSES = [
    (Yes(5), 5),
    (Text("a"), "a"),
    (Pair(1, 2), (1, 2)),
    (collections.Counter("aab"), {"a": 2, "b": 1}),
    (collections.OrderedDict(a=1), {"a": 1}),
    (enum.IntEnum("Color", "RED").RED, 1),
    (np.float64(0.5), 0.5),
    (np.int64(7), 7),
    (np.bool_(True), True),
]


@pytest.mark.parametrize(("value", "plain"), SUBCLASSES, ids=lambda value: type(value).__name__)
def test_a_subclass_crosses_as_the_built_in_it_is(value: object, plain: object) -> None:
    crossed = decode(encode(value))

    assert type(crossed) is type(plain)
    assert plain == crossed


def test_any_other_object_stays_and_can_be_handed_back_but_not_compared() -> None:
    kept: Keep = {}
    thing = object()
    remote = decode(encode([thing], kept))[0]

    assert type(remote) is Remote
    assert decode(encode(remote), kept) is thing
    for compare in (lambda: remote == 3, lambda: remote != 3, lambda: bool(remote), lambda: remote in [3, 4]):
        with pytest.raises(TypeError):
            compare()


def test_a_test_cannot_pass_an_object_of_its_own() -> None:
    with pytest.raises(TypeError, match="an argument of type function"):
        encode([lambda: 0])


NEVER_WRITTEN = [
    "{}",
    '["object"]',
    '["object","a"]',
    '["nothing",1]',
    '["int",5]',
    '["set",["list"]]',
    "[",
    '["bytes",1]',
]


@pytest.mark.parametrize("text", NEVER_WRITTEN)
def test_a_forged_message_is_an_error_or_a_plain_value(text: str) -> None:
    with pytest.raises((ValueError, TypeError, LookupError)):
        decode(text.encode())


def test_no_text_makes_anything_but_plain_values() -> None:
    plain = (type(None), bool, int, float, str, bytes, bytearray, complex, list, tuple, set, frozenset, dict, range)
    for name in (
        "list",
        "tuple",
        "set",
        "frozenset",
        "dict",
        "bytes",
        "bytearray",
        "complex",
        "range",
        "int",
        "object",
    ):
        for arguments in ([], [1], ["ff"], [1, 2], [[1, 2]], [["list", 1]]):
            try:
                value = decode(json.dumps([name, *arguments]).encode())
            except (ValueError, TypeError, LookupError):
                continue
            assert type(value) in (*plain, Remote)
