"""Documents: YAML in, frozen records out, every mistake at once with its file, line and key.

A `Document` is plain data that remembers where each value was written and on what authority::

    memory_gb: 80
    memory_gb: {value: 80, source: "Data sheet, page 2", status: published}

Both lines read as 80; the second also records a `Source`. Documents are values: `merge`, `graft`
and `override` return new ones, in which every value keeps its own mark.
"""

from __future__ import annotations

import dataclasses
import re
from enum import StrEnum
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from pydantic import TypeAdapter, ValidationError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode

from simulator.errors import DocumentError, Problem, ScenarioError
from simulator.mistakes import FieldPath, Mistake, did_you_mean, dotted, holds, keys_of, mistakes_in
from simulator.yaml_text import DEEPEST, Mark, YamlText, shortened, shown, too_deep

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = [
    "Document",
    "FieldPath",
    "Mark",
    "Source",
    "Status",
    "did_you_mean",
    "dotted",
    "graft",
    "keys_of",
    "merge",
    "override",
    "parse_document",
    "read_document",
    "shown",
    "validate",
]

T = TypeVar("T")

LARGEST_FILE = 2**20
"""Size [B] of the largest document that is read."""
MOST_NODES = 100_000
"""Values that a document may hold once its aliases are written out."""

_QUANTITY_KEYS: Final = ("value", "source", "status", "note")
_OPTION_KEY: Final = re.compile(r"[\w-]{1,80}(\.[\w-]{1,80})*", re.ASCII)


class Status(StrEnum):
    """How a number came about."""

    MEASURED = "measured"
    PUBLISHED = "published"
    FITTED = "fitted"
    ASSUMED = "assumed"


@dataclasses.dataclass(frozen=True, slots=True)
class Source:
    """On what authority a number stands."""

    text: str
    """Document, page, table or experiment; empty if none was given."""
    status: Status | None
    note: str = ""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """Plain data with the place and the source of each value."""

    data: Any
    """A mapping, its values mappings, lists and scalars; a `part` may be any of these."""
    marks: Mapping[FieldPath, Mark]
    """Where each value was written, by its path; ``()`` is the root."""
    sources: Mapping[FieldPath, Source] = dataclasses.field(default_factory=dict)
    """Sources of those values that have one; the source of a mapping is given to its entries."""
    problems: tuple[Problem, ...] = ()
    """Mistakes already found while reading, for `validate` to report with its own."""

    def get(self, path: FieldPath) -> Any:  # noqa: ANN401 - plain data
        """Return the value at ``path``, or None if there is none."""
        value = self.data
        for key in path:
            if not holds(value, key):
                return None
            value = value[key]
        return value

    def mark(self, path: FieldPath) -> Mark:
        """Return where the value at ``path``, or else the nearest mapping around it, stands."""
        prefixes = (path[:length] for length in range(len(path), 0, -1))
        return next((self.marks[p] for p in prefixes if p in self.marks), self.marks[()])

    def part(self, path: FieldPath) -> Document:
        """Return the value at ``path`` as a document of its own."""
        size = len(path)
        return Document(
            data=self.get(path),
            marks={(): self.mark(path)}
            | {p[size:]: mark for p, mark in self.marks.items() if p[:size] == path},
            sources={p[size:]: source for p, source in self.sources.items() if p[:size] == path},
        )


def read_document(path: Path | str) -> Document:
    """Return the document in the YAML file ``path``.

    Raises
    ------
    DocumentError
        If the file is missing, no regular text, too large, empty or not a YAML mapping.
    """
    return parse_document(_file_text(Path(path)), str(path))


@lru_cache(maxsize=128)
def parse_document(text: str, name: str) -> Document:
    """Return the document in ``text``, called ``name`` in messages.

    The same text under the same name is parsed once: a sweep reads its profiles many times over,
    and parsing costs a tenth of a millisecond per line. Nobody changes a document's data.

    Raises
    ------
    DocumentError
        If the text is empty, not a YAML mapping, gives a key twice, or is unreasonably large or
        deep once its aliases are written out.
    """
    yaml_text = YamlText(text.removeprefix("\ufeff"), name)
    root = yaml_text.compose()
    if not isinstance(root, MappingNode):
        raise yaml_text.error(root, "must hold a mapping (key: value) at its top level")
    return _Reading(yaml_text).document(root)


def merge(base: Document, over: Document) -> Document:
    """Return ``base`` with the values of ``over`` laid on top.

    Mappings are merged key by key; lists and scalars are replaced whole. Marks and sources follow
    the value that remains; a mapping that both have is marked where ``over`` has it.
    """
    replaced = set(_replaced(base.data, over.data, ()))
    return Document(
        data=_merged(base.data, over.data),
        marks=_without(base.marks, replaced) | dict(over.marks),
        sources=_without(base.sources, replaced) | dict(over.sources),
        problems=base.problems + over.problems,
    )


def graft(document: Document, path: FieldPath, child: Document) -> Document:
    """Return ``document`` with ``child`` in place of whatever it had at ``path``.

    Mappings missing on the way are created. The values of the child keep their own marks.

    Raises
    ------
    ScenarioError
        If the path leads through a scalar, or past the end of a list.
    """
    data = _placed(document.data, path, child, ())
    ways = {path[:size]: child.mark(()) for size in range(len(path))}
    return Document(
        data=data,
        marks=ways
        | _without(document.marks, {path})
        | {(*path, *p): mark for p, mark in child.marks.items()},
        sources=_without(document.sources, {path})
        | {(*path, *p): source for p, source in child.sources.items()},
        problems=document.problems
        + tuple(dataclasses.replace(p, path=_joined(path, p.path)) for p in child.problems),
    )


def override(document: Document, key: str, text: str) -> Document:
    """Return ``document`` with the value at the dotted ``key`` replaced, as ``--set key=text``.

    Parameters
    ----------
    document
        The document to change.
    key
        Dotted path such as ``layout.tensor``; digits are an index into a list, or a key that is
        a whole number.
    text
        The new value in YAML: a scalar or a flow collection (``[1, 2]``, ``{a: 1}``).

    Raises
    ------
    ScenarioError
        If the key is malformed, leads through a scalar, or no value is given.
    DocumentError
        If the value is not YAML.
    """
    if not _OPTION_KEY.fullmatch(key):
        message = f"expected a dotted key such as layout.tensor, got {shown(key)}"
        raise _one_problem("--set", (), message)
    option = f"--set {key}"
    path = _typed_path(document.data, key.split("."))
    if not text.strip():
        raise _one_problem(option, path, "no value given; write null for none")
    yaml_text = YamlText(text, option, numbered=False)
    return graft(document, path, _Reading(yaml_text).document(yaml_text.compose()))


def validate(cls: type[T], document: Document) -> T:
    """Return the document's data as the record ``cls``, in SI.

    Raises
    ------
    ScenarioError
        With every mistake in the document, in the order of files and lines.
    """
    try:
        record: T = _adapter(cls).validate_python(document.data)  # type: ignore[arg-type]  # classes hash
    except ValidationError as error:
        mistakes = mistakes_in(document.data, cls, error.errors(include_url=False))
        raise ScenarioError([*document.problems, *_problems(document, mistakes)]) from None
    if document.problems:
        raise ScenarioError(list(document.problems))
    return record


def _problems(document: Document, mistakes: list[Mistake]) -> list[Problem]:
    marked = [(document.mark(mistake.path), mistake) for mistake in mistakes]
    marked.sort(key=lambda pair: (pair[0].file, pair[0].line or 0))
    return [
        Problem(where=str(mark), path=dotted(mistake.path), message=mistake.message)
        for mark, mistake in marked
    ]


@cache
def _adapter(cls: Any) -> TypeAdapter[Any]:  # noqa: ANN401 - a record
    return TypeAdapter(cls)


def _file_text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_FILE + 1)
    except FileNotFoundError:
        raise DocumentError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise DocumentError(f"{path}: is a directory, not a YAML file") from None
    except (OSError, ValueError) as error:
        name = shortened(repr(str(path))[1:-1], longest=300)
        reason = getattr(error, "strerror", None) or error
        raise DocumentError(f"{name}: cannot be read: {reason}") from None
    if len(content) > LARGEST_FILE:
        raise DocumentError(f"{path}: is larger than {LARGEST_FILE // 2**20} MiB")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DocumentError(f"{path}: is not UTF-8 text (byte {error.start})") from None


class _Reading:
    """One pass over a text's nodes: makes plain data, notes marks, sources and problems."""

    def __init__(self, text: YamlText) -> None:
        self._text = text
        self._marks: dict[FieldPath, Mark] = {}
        self._sources: dict[FieldPath, Source] = {}
        self._problems: list[Problem] = []
        self._nodes = 0
        self._depth = 0

    def document(self, root: Node) -> Document:
        data = self._marked(root, root, ())
        return Document(
            data=data,
            marks=self._marks,
            sources=self._sources,
            problems=tuple(self._problems),
        )

    def _marked(self, place: Node, node: Node, path: FieldPath) -> Any:  # noqa: ANN401
        self._marks[path] = self._text.mark(place)
        return self._value(node, path)

    def _value(self, node: Node, path: FieldPath) -> Any:  # noqa: ANN401
        if isinstance(node, ScalarNode):
            self._require_reasonable(node)
            return self._text.scalar(node)
        self._depth += 1
        self._require_reasonable(node)
        value = self._collection(node, path)
        self._depth -= 1
        return value

    def _collection(self, node: Node, path: FieldPath) -> Any:  # noqa: ANN401
        if isinstance(node, MappingNode):
            return self._mapping(node, path)
        self._text.require_known_tag(node)
        return [self._marked(item, item, (*path, i)) for i, item in enumerate(node.value)]

    def _mapping(self, node: MappingNode, path: FieldPath) -> Any:  # noqa: ANN401
        entries = self._text.entries(node)
        parts = {key: value for key, _, value in entries}
        if path and "value" in parts:
            return self._quantity(parts, path)
        return {key: self._marked(place, value, (*path, key)) for key, place, value in entries}

    def _quantity(self, parts: dict[str | int, Node], path: FieldPath) -> Any:  # noqa: ANN401
        value = self._value(parts["value"], path)
        for key, node in parts.items():
            if key not in _QUANTITY_KEYS:
                allowed = ", ".join(_QUANTITY_KEYS)
                self._problem(node, (*path, key), f"unknown key; a quantity has: {allowed}")
        source = Source(
            text=self._words(parts, path, "source"),
            status=self._status(parts, path),
            note=self._words(parts, path, "note"),
        )
        if source != Source("", None):
            for leaf in _leaves(value, path):
                self._sources.setdefault(leaf, source)
        return value

    def _words(self, parts: dict[str | int, Node], path: FieldPath, key: str) -> str:
        if key not in parts:
            return ""
        node = parts[key]
        words = self._text.scalar(node) if isinstance(node, ScalarNode) else list(node.value)
        if isinstance(words, str) and words.strip():
            return words
        self._problem(node, (*path, key), f"must be text, got {shown(words)}")
        return ""

    def _status(self, parts: dict[str | int, Node], path: FieldPath) -> Status | None:
        word = self._words(parts, path, "status")
        if not word or word in tuple(Status):
            return Status(word) if word else None
        near = did_you_mean(word, tuple(Status))
        message = f"must be one of {', '.join(Status)}, got {shown(word)}"
        self._problem(parts["status"], (*path, "status"), f"{message}; {near}" if near else message)
        return None

    def _problem(self, node: Node, path: FieldPath, message: str) -> None:
        where = str(self._text.mark(node))
        self._problems.append(Problem(where=where, path=dotted(path), message=message))

    def _require_reasonable(self, node: Node) -> None:
        self._nodes += 1
        if self._depth > DEEPEST:
            raise self._text.error(node, too_deep())
        if self._nodes > MOST_NODES:
            raise self._text.error(node, f"more than {MOST_NODES} values, aliases written out")


def _leaves(value: Any, path: FieldPath) -> Iterator[FieldPath]:  # noqa: ANN401
    if not isinstance(value, dict):
        yield path
        return
    for key, item in value.items():
        yield from _leaves(item, (*path, key))


def _merged(base: Any, over: Any) -> Any:  # noqa: ANN401
    if not (isinstance(base, dict) and isinstance(over, dict)):
        return over
    return base | {
        key: _merged(base[key], item) if key in base else item for key, item in over.items()
    }


def _replaced(base: Any, over: Any, path: FieldPath) -> Iterator[FieldPath]:  # noqa: ANN401
    """Yield the topmost paths at which ``over`` takes the place of ``base``."""
    if not (isinstance(base, dict) and isinstance(over, dict)):
        yield path
        return
    for key in base.keys() & over.keys():
        yield from _replaced(base[key], over[key], (*path, key))


def _without(entries: Mapping[FieldPath, T], roots: set[FieldPath]) -> dict[FieldPath, T]:
    """Return the entries that lie neither at nor below any of ``roots``."""
    return {
        path: entry
        for path, entry in entries.items()
        if not any(path[:size] in roots for size in range(len(path) + 1))
    }


def _placed(data: Any, path: FieldPath, child: Document, done: FieldPath) -> Any:  # noqa: ANN401
    if not path:
        return child.data
    key, done = path[0], (*done, path[0])
    if isinstance(data, list) and holds(data, key):
        return [_placed(v, path[1:], child, done) if i == key else v for i, v in enumerate(data)]
    if isinstance(data, dict) or data is None:
        entries = data or {}
        return {**entries, key: _placed(entries.get(key), path[1:], child, done)}
    holder = dotted(done[:-1]) or "the document"
    is_list = isinstance(data, list)
    given = f"a list of {len(data)}, counted from 0" if is_list else f"{shown(data)}, not a mapping"
    raise _one_problem(str(child.mark(())), done, f"cannot be set: {holder} is {given}")


def _typed_path(data: Any, segments: list[str]) -> FieldPath:  # noqa: ANN401
    """Return the path that ``segments`` of text mean: digits are whole numbers, unless a key."""
    path: FieldPath = ()
    for segment in segments:
        is_number = segment.isdecimal() and len(segment) < len(str(2**63))
        is_key = isinstance(data, dict) and segment in data
        key = int(segment) if is_number and not is_key else segment
        path, data = (*path, key), data[key] if holds(data, key) else None
    return path


def _joined(path: FieldPath, inner: str) -> str:
    return ".".join(part for part in (dotted(path), inner) if part)


def _one_problem(where: str, path: FieldPath, message: str) -> ScenarioError:
    return ScenarioError([Problem(where=where, path=dotted(path), message=message)])
