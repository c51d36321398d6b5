"""What Hypothesis makes inputs of: plain JSON, and then whatever is known to have broken a program somewhere."""

import json
from collections.abc import Mapping, Sequence

from hypothesis import strategies as st

NASTY_TEXTS = (
    *(
        "",
        " ",
        "\0",
        "\ufeff",
        "\u202e",
        "\ud800",
        "\x1b[31m",
        "\r\n",
        "'",
        '"',
        "`",
        "|",
        "\\",
        "%s",
        "{}",
        "{{ 7*7 }}",
    ),
    *("../../etc/passwd", "/etc/passwd", "C:\\x", "~", "a/b", ".", "..", "nan", "1e999", "-0", "0x1", "null", "=1+1"),
    *("<script>alert(1)</script>", "$(touch sprung)", "${HF_TOKEN}", "!!python/object:os.system", "*a", "&a", "<<"),
    *("a" * 5000, "[" * 3000, "é" * 70, "\u0130", "\U0001f469\u200d\U0001f4bb"),
)
NASTY_NUMBERS = (0, -1, 2**31, 2**63, -(2**63) - 1, 10**400, 0.0, -0.0, 5e-324, 1.8e308, float("nan"), float("inf"))
TEXTS = st.one_of(st.sampled_from(NASTY_TEXTS), st.text(max_size=12))
PLAIN = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.sampled_from(NASTY_NUMBERS), TEXTS)


def nested(depth: int) -> object:
    """Lists within lists."""
    value: object = []
    for _ in range(depth):
        value = [value]
    return value


VALUES = st.one_of(
    st.recursive(
        PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3), max_leaves=8
    ),
    st.sampled_from([50, 99, 150, 300]).map(nested),
)


def mutated(value: object) -> st.SearchStrategy[object]:
    """The value, with something in it exchanged, left out or added."""
    places = list(_places(value))
    return st.lists(
        st.tuples(st.sampled_from(places), st.sampled_from(["set", "drop", "add"]), TEXTS, VALUES), max_size=3
    ).map(lambda changes: _changed(value, changes))


def _places(value: object, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    members = (
        list(value.items()) if isinstance(value, Mapping) else list(enumerate(value)) if isinstance(value, list) else []
    )
    return [path, *(place for key, member in members for place in _places(member, (*path, key)))]


def _changed(value: object, changes: Sequence[tuple[tuple[str | int, ...], str, str, object]]) -> object:
    changed = json.loads(json.dumps(value))
    for place, how, key, new in changes:
        if not place:
            if how == "set":
                changed = new
            elif isinstance(changed, dict):
                changed[key] = new
            continue
        around = changed
        try:
            for step in place[:-1]:
                around = around[step]
            if how == "set":
                around[place[-1]] = new
            elif how == "drop":
                del around[place[-1]]
            elif isinstance(around[place[-1]], dict):
                around[place[-1]][key] = new
        except (KeyError, IndexError, TypeError):
            # An earlier change has taken this place away.
            continue
    return changed


def written(value: object) -> str:
    """As JSON, however deep; Python's own writer gives up where its stack ends."""
    try:
        return json.dumps(value)
    except (RecursionError, ValueError):
        return str(value)[:100]
