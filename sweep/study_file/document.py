"""Read YAML 1.2 into plain values that remember their lines.

Nothing is constructed but text, numbers, booleans, lists and mappings; ruamel.yaml only parses. So a date stays text, a
tag cannot build an object, and every value can say where it stands. `1e-5` is a number; `on`, `yes` and `no` are text.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from sweep.errors import Problem, StudyFileError
from sweep.study_file.nodes import TOO_DEEP, TooManyNodesError, compose, refusal

MAX_BYTES = 256 * 1024
MAX_VALUES = 20_000
"""Values in a file, aliases written out: a few lines of nested aliases can stand for billions."""

MAX_DEPTH = 60
"""Levels of lists and mappings: a JSON schema takes two for each level of what it describes."""

Place = tuple[str | int, ...]
"""Keys and list positions that lead to a value."""

_TAG = "tag:yaml.org,2002:"
_MERGE = _TAG + "merge"
_COLLECTIONS = frozenset({_TAG + "map", _TAG + "seq"})


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value was written: a line of the file, or an override on the command line."""

    path: Path
    line: int | None


@dataclass(slots=True)
class Document:
    """A file's values, where each was written, and what is wrong with the file so far."""

    value: dict[str, object]
    origins: dict[Place, Origin]
    problems: list[Problem] = field(default_factory=list)

    def origin(self, place: Place) -> Origin:
        """Origin of a value, or of the nearest thing around it for one that is not written."""
        while place and place not in self.origins:
            place = place[:-1]
        return self.origins[place]

    def problem(self, place: Place, message: str) -> Problem:
        """Say what is wrong with the value at a place."""
        origin = self.origin(place)
        return Problem(origin.path, origin.line, message)


def read(path: Path) -> Document:
    """Read a file whose top level is a mapping. Raises StudyFileError where it cannot be read at all."""
    document = parse(_text(path), path)
    if document.value is None:
        raise refusal(path, None, "the file is empty. `sweep init` lists studies to start from.")
    if not isinstance(document.value, dict):
        found = "a list" if isinstance(document.value, list) else "plain text or a single value"
        raise refusal(path, 1, f"the file holds {found}; a study is a mapping of keys such as `name: my-study`.")
    return Document(document.value, document.origins, document.problems)


@dataclass(frozen=True, slots=True)
class Parsed:
    """Any YAML value with its origins; `problems` are those that do not stop the reading."""

    value: object
    origins: dict[Place, Origin]
    problems: list[Problem]


def parse(text: str, path: Path, *, max_values: int = MAX_VALUES) -> Parsed:
    """Parse one YAML document. Raises StudyFileError where the text is not YAML."""
    builder = _Builder(path, max_values)
    try:
        # Each value may have a key.
        node = compose(text, path, max_depth=MAX_DEPTH, max_nodes=2 * max_values + 1)
        value = None if node is None else builder.build(node, ())
    except TooManyNodesError as error:
        raise builder.too_many() from error
    except RecursionError as error:
        raise refusal(path, None, TOO_DEEP) from error
    return Parsed(value, builder.origins, builder.problems)


def _text(path: Path) -> str:
    try:
        if path.is_dir():
            raise refusal(path, None, "this is a directory; name the study file in it.")
        # A device or a pipe has no size: it is read until it is too long.
        with path.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise refusal(path, None, f"larger than {MAX_BYTES // 1024} KiB, which no study file is.")
        return content.decode("utf-8-sig")
    except FileNotFoundError as error:
        raise refusal(path, None, "no such file. `sweep init` lists studies to start from.") from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise refusal(path, line, "not UTF-8 text. Save the file as UTF-8.") from error
    except OSError as error:
        raise refusal(path, None, f"cannot be read: {error.strerror}.") from error


class _Builder:
    """Turn nodes into plain values, noting the line of each."""

    def __init__(self, path: Path, max_values: int) -> None:
        self.path = path
        self._max_values = max_values
        self.origins: dict[Place, Origin] = {(): Origin(path, 1)}
        self.problems: list[Problem] = []
        self._values = 0

    def build(self, node: Node, place: Place) -> object:
        self._count()
        if len(place) > MAX_DEPTH:
            raise refusal(self.path, node.start_mark.line + 1, TOO_DEEP)
        if isinstance(node, ScalarNode):
            return self._scalar(node)
        if str(node.tag) not in _COLLECTIONS:
            self._complain_of_tag(node)
        if isinstance(node, MappingNode):
            return self._mapping(node, place)
        return self._sequence(node, place)

    def _count(self) -> None:
        self._values += 1
        if self._values > self._max_values:
            raise self.too_many()

    def too_many(self) -> StudyFileError:
        """The refusal of more values than a file may hold."""
        return refusal(self.path, None, f"more than {self._max_values:,} values once its aliases are written out.")

    def _mapping(self, node: MappingNode, place: Place) -> dict[str, object]:
        built: dict[str, object] = {}
        for key, (key_node, value_node) in self._pairs(node).items():
            self.origins[(*place, key)] = self._origin(key_node)
            built[key] = self.build(value_node, (*place, key))
        return built

    def _sequence(self, node: Node, place: Place) -> list[object]:
        built: list[object] = []
        for index, item in enumerate(node.value):
            self.origins[(*place, index)] = self._origin(item)
            built.append(self.build(item, (*place, index)))
        return built

    def _pairs(self, node: MappingNode) -> dict[str, tuple[Node, Node]]:
        """A mapping's own pairs, then those of its merge keys (`<<`) that it does not set itself."""
        own: dict[str, tuple[Node, Node]] = {}
        merged: list[Node] = []
        for key_node, value_node in node.value:
            self._count()
            if not isinstance(key_node, ScalarNode):
                self._complain(key_node, "a key must be plain text.")
                continue
            key = _joined(key_node.value)
            if key_node.tag == _MERGE:
                merged.append(value_node)
            elif not key.isascii() and any("\ud800" <= character <= "\udfff" for character in key):
                self._complain(key_node, f"the key {key!r} holds half a character; write the character itself.")
            elif key in own:
                first = own[key][0].start_mark.line + 1
                self._complain(key_node, f"duplicate key {key!r}; it already stands on line {first}.")
            else:
                own[key] = (key_node, value_node)
        for source in self._merge_sources(merged):
            for key, pair in self._pairs(source).items():
                own.setdefault(key, pair)
        return own

    def _merge_sources(self, nodes: list[Node]) -> Iterator[MappingNode]:
        for node in nodes:
            for source in node.value if isinstance(node, SequenceNode) else [node]:
                self._count()
                if isinstance(source, MappingNode):
                    yield source
                else:
                    self._complain(source, "'<<' takes a mapping, as in `<<: *name`.")

    def _scalar(self, node: Node) -> object:
        convert = _SCALARS.get(str(node.tag))
        if convert is None:
            self._complain_of_tag(node)
            return node.value
        try:
            return convert(_joined(node.value))
        except ValueError:
            # ruamel.yaml takes a few spellings for numbers that are none, such as `_`.
            return node.value

    def _origin(self, node: Node) -> Origin:
        return Origin(self.path, node.start_mark.line + 1)

    def _complain_of_tag(self, node: Node) -> None:
        tag = str(node.tag).replace(_TAG, "!!")
        self._complain(node, f"tag {tag} is not allowed; a study holds text, numbers, lists and mappings.")

    def _complain(self, node: Node, message: str) -> None:
        self.problems.append(Problem(self.path, node.start_mark.line + 1, message))


def _joined(text: str) -> str:
    """The text with halves of characters, as JSON escapes them, made whole; ruamel.yaml leaves them as they are."""
    if text.isascii():
        return text
    try:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
    except UnicodeDecodeError:
        return text


def _integer(text: str) -> int:
    digits = text.replace("_", "").lower()
    base = {"0x": 16, "0o": 8, "0b": 2}.get(digits.lstrip("+-")[:2], 10)
    return int(digits, base)


def _float(text: str) -> float:
    # YAML writes infinity and not-a-number with a dot.
    return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))


_SCALARS: Mapping[str, Callable[[str], object]] = {
    _TAG + "str": str,
    _TAG + "null": lambda _: None,
    _TAG + "bool": lambda text: text.lower() in {"true", "yes", "on", "y"},
    _TAG + "int": _integer,
    _TAG + "float": _float,
    _TAG + "timestamp": str,
    _TAG + "merge": str,
    _TAG + "value": str,
}
