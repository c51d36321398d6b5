"""How arguments and results cross between a test and a candidate: as plain values, and nothing else.

The other side rebuilds numbers, text, bytes and the built-in containers from JSON, so an object with methods of its
own, such as one that equals everything, cannot cross. Values of a built-in type's subclass (a Counter, a named tuple)
cross as the built-in. Any other object stays where it is and a number stands for it; the number can be handed back to
its owner, and comparing it or asking whether it is true is an error.

Copies cross: a candidate that changes its argument changes its own copy.
"""

import json
from collections.abc import Callable

Keep = dict[int, object]
"""Objects that did not cross, by the number that did."""


class Remote:
    """Stands for a candidate's object that is not a plain value."""

    __slots__ = ("number",)
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, number: int) -> None:
        self.number = number

    def __eq__(self, other: object) -> bool:
        raise TypeError("the candidate returned an object that is not a plain value")

    __ne__ = __eq__

    def __bool__(self) -> bool:
        raise TypeError("the candidate returned an object that is not a plain value")


_BIG = 1 << 63


def encode(value: object, keep: Keep | None = None) -> bytes:
    """Write a value; with `keep`, objects that are not plain stay there. Raises TypeError for one without it."""
    return json.dumps(_pack(value, keep), separators=(",", ":")).encode("ascii")


def decode(payload: bytes, keep: Keep | None = None) -> object:
    """Read a value. Raises ValueError or TypeError for anything that `encode` does not write."""
    return _unpack(json.loads(payload), keep)


def _pack(value: object, keep: Keep | None) -> object:  # noqa: PLR0911
    if value is None or isinstance(value, bool | float | str):
        return value
    if isinstance(value, int):
        # Decimal digits of a large number are limited, hexadecimal ones are not.
        return value if -_BIG < value < _BIG else ["int", hex(value)]
    for kind, name in _SEQUENCES.items():
        if isinstance(value, kind):
            # The built-in's own iterator, whatever a subclass says.
            return [name, *(_pack(item, keep) for item in kind.__iter__(value))]  # type: ignore[attr-defined]
    if isinstance(value, dict):
        return ["dict", *([_pack(key, keep), _pack(item, keep)] for key, item in dict.items(value))]
    if isinstance(value, bytes):
        return ["bytes", bytes.hex(value)]
    if isinstance(value, bytearray):
        return ["bytearray", bytearray.hex(value)]
    if isinstance(value, complex):
        return ["complex", value.real, value.imag]
    if type(value) is range:
        return ["range", *(_pack(part, keep) for part in (value.start, value.stop, value.step))]
    if type(value) is Remote:
        return ["object", value.number]
    if type(value).__module__ == "numpy" and getattr(value, "shape", None) == ():
        return _pack(value.item(), keep)  # type: ignore[attr-defined]
    if keep is None:
        raise TypeError(f"an argument of type {type(value).__name__} is not a plain value")
    keep[len(keep)] = value
    return ["object", len(keep) - 1]


_SEQUENCES: dict[type, str] = {list: "list", tuple: "tuple", set: "set", frozenset: "frozenset"}


def _unpack(packed: object, keep: Keep | None) -> object:  # noqa: PLR0911
    if not isinstance(packed, list | dict):
        return packed
    name, *parts = packed
    if name == "dict":
        return {_unpack(key, keep): _unpack(item, keep) for key, item in parts}
    if name == "object":
        return Remote(_number(parts)) if keep is None else keep[_number(parts)]
    if name == "int":
        return int(parts[0], 16)
    if name == "bytes":
        return bytes.fromhex(parts[0])
    if name == "bytearray":
        return bytearray.fromhex(parts[0])
    items = [_unpack(part, keep) for part in parts]
    return _BUILDERS[name](items)


def _number(parts: list[object]) -> int:
    (number,) = parts
    if type(number) is not int:
        raise TypeError("an object is named by a number")
    return number


_BUILDERS: dict[str, Callable[[list[object]], object]] = {
    "list": list,
    "tuple": tuple,
    "set": set,
    "frozenset": frozenset,
    "range": lambda items: range(*items),  # type: ignore[call-overload]
    "complex": lambda items: complex(*items),  # type: ignore[call-overload]
}
