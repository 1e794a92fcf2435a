"""YAML 1.2 text as nodes that know their line, and the plain value of each scalar node.

ruamel.yaml splits the text into nodes; what a scalar means is decided here by the core schema of
YAML 1.2, so that neither a directive nor a tag brings back the readings of YAML 1.1 (``on`` as
true, ``010`` as eight, ``12:30`` as 750).
"""

from __future__ import annotations

import math
import re
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError, YAMLWarning
from ruamel.yaml.nodes import ScalarNode

from simulator.errors import DocumentError

if TYPE_CHECKING:
    from ruamel.yaml.nodes import MappingNode, Node

Scalar = str | int | float | bool | None
Entry = tuple[str | int, "Node", "Node"]
"""A mapping's entry: its key, the key's node and the value's node."""

DEEPEST = 40
"""Levels of nesting that a document may have."""
LONGEST_NUMBER = 400
"""Digits beyond which a number is out of any float's range."""

_TAG_PREFIX: Final = "tag:yaml.org,2002:"
_TEXT_TAG: Final = _TAG_PREFIX + "str"
_MERGE_TAG: Final = _TAG_PREFIX + "merge"
_KNOWN_TAGS: Final = frozenset(
    _TAG_PREFIX + kind
    for kind in (
        *("map", "seq", "str", "int", "float", "bool", "null"),
        *("timestamp", "merge", "value"),  # what YAML 1.1 saw in text: read as text
    )
)
_WORDS: Final[dict[str, Scalar]] = {
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys(("null", "Null", "NULL", "~", "")),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan),
    **{sign + word: math.inf for sign in ("", "+") for word in (".inf", ".Inf", ".INF")},
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), -math.inf),
}
_PREFIXED_INTEGER: Final = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_INTEGER: Final = re.compile(r"[-+]?[0-9][0-9_]*")
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9][0-9_]*(\.[0-9_]*)?)([eE][-+]?[0-9]+)?")


@dataclass(frozen=True, slots=True)
class Mark:
    """Where a value was written."""

    file: str
    """The file as the user named it, or an option such as ``--set layout.tensor``."""
    line: int | None
    """Line number from 1; none in an option."""

    def __str__(self) -> str:
        """Return ``file:line``, or the option."""
        return self.file if self.line is None else f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True)
class YamlText:
    """A text that holds one YAML document, and the name by which messages call it."""

    text: str
    name: str
    numbered: bool = True
    """Whether line numbers mean anything to the user (not in an option's value)."""

    def mark(self, node: Node) -> Mark:
        """Return where ``node`` starts."""
        return self._mark(node.start_mark.line)

    def error(self, node: Node, message: str) -> DocumentError:
        """Return the error that says ``message`` of ``node``."""
        return DocumentError(f"{self.mark(node)}: {message}")

    def compose(self) -> Node:
        """Return the document's root node.

        Raises
        ------
        DocumentError
            If the text is empty, no valid YAML, more than one document or nested too deeply.
        """
        try:
            with warnings.catch_warnings():
                # An anchor may be used again; ruamel would print a warning over the report.
                warnings.simplefilter("ignore", YAMLWarning)
                node: Node | None = YAML(typ="safe", pure=True).compose(self.text)
        except RecursionError:
            raise DocumentError(f"{self.name}: {too_deep()}") from None
        except MarkedYAMLError as error:
            raise DocumentError(self._syntax_message(error)) from None
        except (YAMLError, ValueError, OverflowError) as error:
            # Unprintable characters, impossible \U escapes and malformed directives.
            reason = str(error).splitlines()[0]
            raise DocumentError(f"{self.name}: not valid YAML: {reason}") from None
        if node is None:
            raise DocumentError(f"{self.name}: is empty")
        return node

    def scalar(self, node: Node) -> Scalar:
        """Return the plain value of a scalar node: text unless the core schema says otherwise.

        Digits may be grouped (``16_384``). A number too long for a float is infinite, so that
        the field's own range refuses it.
        """
        self.require_known_tag(node)
        if node.tag == _TEXT_TAG:
            return str(node.value)
        return _core_schema(str(node.value))

    def entries(self, node: MappingNode) -> list[Entry]:
        """Return the entries of a mapping node in the order written.

        Raises
        ------
        DocumentError
            If a key is given twice, or is neither text nor a whole number.
        """
        self.require_known_tag(node)
        lines: dict[str | int, int] = {}
        entries = [(self._key(key), key, value) for key, value in node.value]
        for key, key_node, _ in entries:
            if key in lines:
                first = self._mark(lines[key])
                raise self.error(key_node, f"key {shown(key)} was already given at {first}")
            lines[key] = key_node.start_mark.line
        return entries

    def require_known_tag(self, node: Node) -> None:
        """Raise a `DocumentError` for a tag that stands for more than plain data."""
        if node.tag not in _KNOWN_TAGS:
            raise self.error(node, f"tag {shown(str(node.tag))} is not supported: write plain data")

    def _key(self, node: Node) -> str | int:
        if node.tag == _MERGE_TAG:
            raise self.error(node, "merge keys (<<) are not part of YAML 1.2: write the keys out")
        key = self.scalar(node) if isinstance(node, ScalarNode) else node
        if isinstance(key, bool) or not isinstance(key, (str, int)):
            given = "a mapping or a list" if key is node else shown(key)
            raise self.error(node, f"a key must be text or a whole number, got {given}")
        return key

    def _mark(self, line: int) -> Mark:
        return Mark(self.name, line + 1 if self.numbered else None)

    def _syntax_message(self, error: MarkedYAMLError) -> str:
        mark = error.problem_mark or error.context_mark
        where = self._mark(mark.line) if mark else self.name
        parts = (error.context, error.problem)
        reason = ": ".join(" ".join(str(part).split()) for part in parts if part)
        return f"{where}: not valid YAML: {reason}"


def too_deep() -> str:
    """Return the message for a document nested beyond `DEEPEST`."""
    return f"is nested more than {DEEPEST} levels deep"


def shown(value: Any) -> str:  # noqa: ANN401 - whatever a document may hold
    """Return ``value`` as a message shows it: one line, in YAML's words, of bounded length."""
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, (list, tuple)):
        return "a list"
    if value is None:
        return "nothing (null)"
    if isinstance(value, bool):
        return str(value).lower()
    return shortened(repr(value))


def shortened(text: str, longest: int = 60) -> str:
    """Return ``text``, its middle left out if it is longer than ``longest`` characters."""
    if len(text) <= longest:
        return text
    return f"{text[: longest - 10]}…{text[-9:]}"


def _core_schema(text: str) -> Scalar:
    if text in _WORDS:
        return _WORDS[text]
    digits = text.replace("_", "")
    if _PREFIXED_INTEGER.fullmatch(text) and len(text) <= LONGEST_NUMBER:
        return int(text, base=0)
    if _INTEGER.fullmatch(text) and len(digits) <= LONGEST_NUMBER:
        return int(digits)
    return float(digits) if _FLOAT.fullmatch(text) else text
