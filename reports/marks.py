"""What the points of a figure stand for, carried from the drawing code into the SVG that is drawn.

matplotlib writes an artist's gid as the id of its group. A gid made here holds the texts themselves, in base64 since
matplotlib's quoting depends on what is in them; once the picture is drawn, each text becomes the `title` of its point,
which every viewer of SVG shows.
"""

import base64
import html
import json
import re
from collections.abc import Sequence

from reports.wording import visible

PREFIX = "mark:"
GROUP = re.compile(rf'<g id="{PREFIX}(?P<texts>[\w=-]*)">')
GROUP_ENDS = re.compile(r"<g\b[^>]*?(?P<empty>/?)>|(?P<close></g>)")
POINT = re.compile(r"<use\b[^>]*/>")


def gid(texts: Sequence[str]) -> str:
    """An artist's gid that holds the text of each of its points, or one text for all of it."""
    written = json.dumps([visible(text) for text in texts])
    return PREFIX + base64.urlsafe_b64encode(written.encode()).decode()


def embed(svg: str) -> str:
    """The picture with every labelled point in a group of its own, under its title."""
    parts, start = [], 0
    while found := GROUP.search(svg, start):
        texts = json.loads(base64.urlsafe_b64decode(found["texts"]))
        end = _end_of_group(svg, found.end())
        parts += [svg[start : found.start()], _labelled(svg[found.end() : end], texts)]
        start = end
    return "".join([*parts, svg[start:]])


def _labelled(inside: str, texts: Sequence[str]) -> str:
    """A group's inside and end, labelled; points that were cut off the picture leave the rest without labels."""
    if len(POINT.findall(inside)) == len(texts):
        remaining = iter(texts)
        return "<g>" + POINT.sub(lambda point: f"{_opening(next(remaining))}{point.group()}</g>", inside)
    return (_opening(texts[0]) if len(texts) == 1 else "<g>") + inside


def _opening(text: str) -> str:
    # Parentheses too: `url(#` in a text must not look like a reference within the picture.
    escaped = html.escape(text).replace("(", "&#40;")
    return f'<g class="mark"><title>{escaped}</title>'


def _end_of_group(svg: str, start: int) -> int:
    depth = 1
    for found in GROUP_ENDS.finditer(svg, start):
        depth += -1 if found["close"] else (0 if found["empty"] else 1)
        if depth == 0:
            return found.end()
    raise ValueError("a group of the drawing does not end")
