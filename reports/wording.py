"""Values as a person reads them, and texts made safe to show.

Model output may hold anything: control characters that break a page, or marks that reorder the text around them.
They are shown by their code.
"""

import json
import math
import re
import unicodedata
from collections.abc import Sequence

from reports.statistics import Estimate, Interval

NONE = "\u2013"
# Line feeds, tabs, and the joiners that Persian, Hindi and emoji are written with.
KEPT = frozenset({"\n", "\t", "\u200c", "\u200d"})
# Controls, formats such as right-to-left overrides, and surrogates, which no file can hold.
HIDDEN_CATEGORIES = frozenset({"Cc", "Cf", "Cs"})
MINUTE, HOUR = 60, 3600
BYTE_UNITS = ("B", "kB", "MB", "GB", "TB")


def visible(text: str) -> str:
    """The text with every character that cannot be seen, or that changes others, shown as its code."""
    return "".join(
        f"\\u{ord(character):04x}"
        if character not in KEPT and unicodedata.category(character) in HIDDEN_CATEGORIES
        else character
        for character in text.replace("\r\n", "\n")
    )


def one_line(text: str) -> str:
    """The text with every run of white space as one space."""
    return re.sub(r"\s+", " ", visible(text)).strip()


def shorten(text: str, limit: int) -> str:
    """The beginning of a long text, saying how much was left out."""
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text) - limit} more characters)"


def number(value: float | None, digits: int = 3) -> str:
    """A number with so many significant digits; never in scientific notation between 0.001 and a million."""
    if value is None:
        return NONE
    if not math.isfinite(value):
        return str(value)
    if value == 0 or 1e-3 <= abs(value) < 1e6:  # noqa: PLR2004
        decimals = max(0, digits - 1 - (math.floor(math.log10(abs(value))) if value else 0))
        text = f"{value:,.{decimals}f}"
        return text.rstrip("0").rstrip(".") if "." in text else text
    return scientific(value, digits)


def scientific(value: float, digits: int = 2) -> str:
    """A number as `2e-4`."""
    mantissa, _, exponent = f"{value:.{digits - 1}e}".partition("e")
    return f"{mantissa.rstrip('0').rstrip('.') if '.' in mantissa else mantissa}e{int(exponent)}"


def score(value: float | None) -> str:
    """A score with three decimals, so that scores line up."""
    return NONE if value is None else f"{value:.3f}"


def with_error(value: float | None, error: float | None) -> str:
    """A score and its standard error."""
    return score(value) if error is None or value is None else f"{score(value)} ± {score(error)}"


def estimated(found: Estimate | None) -> str:
    """An estimate and its standard error over items."""
    return NONE if found is None else with_error(found.value, found.item_stderr)


def interval(found: Interval | None) -> str:
    """An interval's two ends."""
    return NONE if found is None else f"{score(found.low)} to {score(found.high)}"


def duration(seconds: float | None) -> str:
    """Seconds as a person says them."""
    if seconds is None:
        return NONE
    whole = round(seconds)
    if whole < MINUTE:
        return f"{number(seconds, 2)} s"
    minutes, rest = divmod(whole, MINUTE)
    if whole < HOUR:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(round(seconds / MINUTE), MINUTE)
    return f"{hours:,} h {minutes} min"


def size(count: float | None) -> str:
    """Bytes in decimal units."""
    if count is None:
        return NONE
    power = min(len(BYTE_UNITS) - 1, int(math.log10(count) // 3)) if count >= 1 else 0
    return f"{number(count / 1000**power)} {BYTE_UNITS[power]}"


def percent(share: float | None) -> str:
    """A share in percent."""
    return NONE if share is None else f"{number(100 * share)} %"


def setting(value: object) -> str:
    """A setting as a study file would have it."""
    if isinstance(value, float):
        return number(value, 4)
    if isinstance(value, str):
        return value
    if isinstance(value, list | tuple):
        return ", ".join(str(member) for member in value)
    return NONE if value is None else json.dumps(value)


def listed(names: Sequence[str]) -> str:
    """Names in a sentence: `a`, `a and b`, `a, b and c`."""
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last


def counted(count: int, noun: str) -> str:
    """`1 trial`, `2 trials`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
