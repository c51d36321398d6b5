"""From YAML text to ruamel.yaml's nodes: one document, no deeper and no larger than was asked for.

What a file may not hold is refused before seconds are spent on it, with the line and what a person can do about it.
"""

import warnings
from collections.abc import Mapping
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.composer import Composer, MaxDepthExceededError
from ruamel.yaml.error import MarkedYAMLError, ReusedAnchorWarning, YAMLError, YAMLStreamError
from ruamel.yaml.nodes import Node
from ruamel.yaml.reader import ReaderError

from sweep.errors import Problem, StudyFileError

TOO_DEEP = "values are nested too deeply; a study needs five levels."


class TooManyNodesError(Exception):
    """A text of more nodes than was asked for."""


def compose(text: str, path: Path, *, max_depth: int, max_nodes: int) -> Node | None:
    """The root of a document, if any. Raises TooManyNodesError, and StudyFileError where the text is not YAML."""
    try:
        return _compose(text, max_depth, max_nodes)
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise refusal(path, line, "a control character, which YAML text cannot hold. Delete it.") from error
    except MaxDepthExceededError as error:
        raise refusal(path, error.problem_mark.line + 1, TOO_DEEP) from error
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise refusal(path, None if mark is None else mark.line + 1, _syntax_message(error)) from error
    except (YAMLError, YAMLStreamError) as error:
        raise refusal(path, None, f"not YAML: {' '.join(str(error).split())}.") from error


def refusal(path: Path, line: int | None, message: str) -> StudyFileError:
    """An error of one problem."""
    return StudyFileError([Problem(path, line, message)])


def _compose(text: str, max_depth: int, max_nodes: int) -> Node | None:
    class Counting(Composer):
        nodes = 0

        def compose_node(self, parent: object, index: object) -> object:
            self.nodes += 1
            if self.nodes > max_nodes:
                raise TooManyNodesError
            return super().compose_node(parent, index)

    with warnings.catch_warnings():
        # YAML allows an anchor to be used again; the later one counts.
        warnings.simplefilter("ignore", ReusedAnchorWarning)
        yaml = YAML(typ="safe", pure=True)
        yaml.Composer = Counting
        # A level for the document, and one for a key.
        yaml.max_depth = max_depth + 2
        node: Node | None = yaml.compose(text)
    return node


_SYNTAX: Mapping[str, str] = {
    "found character '\\t'": "a tab is used for indentation or spacing. Use spaces.",
    "mapping values are not allowed": "a ':' where none can be. Check the indentation, or quote the text.",
    "could not find expected ':'": "a key without its ':'.",
    "expected <block end>": "the indentation does not line up with the lines above.",
    "expected ',' or": "a list or mapping in brackets is not closed, or lacks a comma.",
    "'<stream end>'": "the file ends inside a list or mapping in brackets.",
    "while scanning a quoted scalar": "a quotation mark is not closed.",
    "found undefined alias": "an alias (*name) without its anchor (&name). Quote text that begins with '*'.",
    "expected a single document": "a second document begins; a study file holds one.",
    "cannot start any token": "text begins with a character that YAML reserves. Quote it.",
}
"""What the parser says, and what a person can do about it."""


def _syntax_message(error: MarkedYAMLError) -> str:
    said = " ".join(f"{error.problem or ''} {error.context or ''}".split())
    advice = next((advice for sign, advice in _SYNTAX.items() if sign in said), None)
    return f"not YAML: {advice or said.rstrip('.') + '.'}"
