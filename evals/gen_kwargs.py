r"""Generation settings as the stock tool takes them on its command line: `temperature=0.7,until=["\n"]`.

Torch-free and free of lm-evaluation-harness, whose own reader would be imported with all of it.
"""

import ast
import re

from evals.errors import InputError
from evals.spec import GenerationValue

# Commas and equal signs within brackets or quotes belong to a value.
PART = re.compile(r"""(?:"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|\[[^\]]*\]|[^,])+""")
WORDS = {"true": True, "false": False, "none": None, "null": None}


def read_gen_kwargs(text: str) -> dict[str, GenerationValue]:
    """Read `key=value,key=value`. Values are Python's plain ones; anything else is a string. Raises InputError."""
    settings: dict[str, GenerationValue] = {}
    for part in PART.findall(text):
        key, equals, value = part.strip().partition("=")
        if not equals or not key.strip().isidentifier():
            raise InputError(
                f"--gen_kwargs: {part.strip()!r} is not name=value. Write such as temperature=0.7,top_p=0.9."
            )
        if key.strip() in settings:
            raise InputError(f"--gen_kwargs: {key.strip()!r} is given twice. Keep one.")
        settings[key.strip()] = _value(value.strip())
    return settings


def _value(text: str) -> GenerationValue:
    if text.lower() in WORDS:
        return WORDS[text.lower()]
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
    if isinstance(value, list | tuple) and all(isinstance(member, str) for member in value):
        return tuple(value)
    return value if isinstance(value, bool | int | float | str) else text
