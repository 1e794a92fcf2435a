"""What is wrong with data that a record refused, in the words of whoever wrote the data.

pydantic finds all mistakes at once but speaks of Python types, of union members and of its own
functions. Here each of its errors becomes the path of a key in the document and one plain line:
what was given, what is allowed and, where a slip is likely, what was meant.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
from functools import cache
from types import MappingProxyType, UnionType
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Final,
    Literal,
    TypeGuard,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from simulator.fields import document_key
from simulator.yaml_text import shortened, shown

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pydantic_core import ErrorDetails

FieldPath = tuple[str | int, ...]
"""Keys and list indices that lead from a document's root to a value."""

_EXPECTED: Final = MappingProxyType(
    {
        **dict.fromkeys(
            ("int_type", "int_parsing", "int_from_float", "int_parsing_size"), "a whole number"
        ),
        **dict.fromkeys(("float_type", "float_parsing"), "a number"),
        **dict.fromkeys(("bool_type", "bool_parsing"), "true or false"),
        **dict.fromkeys(("dict_type", "dataclass_type", "model_attributes_type"), "a mapping"),
        **dict.fromkeys(("tuple_type", "list_type"), "a list"),
        "string_type": "text",
        "finite_number": "a finite number",
        "greater_than": "greater than {gt}",
        "greater_than_equal": "at least {ge}",
        "less_than": "less than {lt}",
        "less_than_equal": "at most {le}",
        "string_too_short": "text of at least {min_length} character(s)",
        "string_too_long": "text of at most {max_length} characters",
        "too_short": "a list of at least {min_length} entries",
        "too_long": "a list of at most {max_length} entries",
    }
)
"""What a field accepts, by pydantic's type of error."""

_MISSING: Final = "required key is missing"


@dataclasses.dataclass(frozen=True, slots=True)
class Mistake:
    """One mistake in plain data."""

    path: FieldPath
    message: str
    meant: FieldPath | None = None
    """The key that an unknown key was probably meant to be."""


def mistakes_in(
    data: Any,  # noqa: ANN401 - whatever was read
    cls: type,
    errors: Sequence[ErrorDetails],
) -> list[Mistake]:
    """Return the mistakes of ``data``, refused as ``cls`` with pydantic's ``errors``.

    A key that is missing only because it was misspelt is one mistake, not two; the alternatives
    that a value failed to be are one mistake with several messages.
    """
    found = [_mistake(error, _locate(cls, data, error["loc"])) for error in errors]
    meant = {mistake.meant for mistake in found if mistake.meant}
    messages: dict[FieldPath, list[str]] = {}
    for mistake in found:
        if mistake.message != _MISSING or mistake.path not in meant:
            messages.setdefault(mistake.path, []).append(mistake.message)
    return [Mistake(path, "; or ".join(dict.fromkeys(said))) for path, said in messages.items()]


def keys_of(cls: type) -> tuple[str, ...]:
    """Return the YAML keys of a record, units included, in the order of its fields."""
    return tuple(_hints_by_key(cls))


def dotted(path: FieldPath) -> str:
    """Return ``path`` as messages show it: ``layout.tensor``, one line of bounded length."""
    return shortened(".".join(shortened(repr(str(key))[1:-1]) for key in path), longest=300)


def holds(data: object, key: str | int) -> bool:
    """Return whether plain data have an entry under a key or, if a list, an index."""
    if isinstance(data, list):
        return isinstance(key, int) and 0 <= key < len(data)
    return isinstance(data, dict) and key in data


def did_you_mean(given: object, known: Sequence[str]) -> str:
    """Return ``did you mean '…'?`` if a known word is near ``given``, else nothing."""
    near = _nearest(given, known)
    return f"did you mean '{near}'?" if near else ""


@dataclasses.dataclass(frozen=True, slots=True)
class _Place:
    """Where an error's location leads in the data, and what the record has there."""

    path: FieldPath
    absent: FieldPath
    """What is left of the location: keys that the data lacks, not pydantic's own labels."""
    around: tuple[type, ...]
    """Records that the enclosing mapping may be."""


def _mistake(error: ErrorDetails, place: _Place) -> Mistake:
    match error["type"]:
        case "missing":
            return Mistake((*place.path, *place.absent), _MISSING)
        case "unexpected_keyword_argument":
            return _unknown_key(place)
        case "union_tag_not_found" | "union_tag_invalid":
            return _wrong_tag(error, place)
        case "enum" | "literal_error":
            return Mistake(place.path, _not_one_of(error["ctx"]["expected"], error["input"]))
        case "value_error":
            return Mistake(place.path, str(error["ctx"]["error"]))
        case _:
            return Mistake(place.path, _wrong_value(error))


def _unknown_key(place: _Place) -> Mistake:
    key, parent = place.path[-1], place.path[:-1]
    allowed = tuple(dict.fromkeys(name for cls in place.around for name in keys_of(cls)))
    units = (_keys_with_units(cls).get(key) for cls in place.around)
    if with_unit := next(filter(None, units), None):
        message = f"unknown key; the unit is part of the key: write {with_unit!r}"
        return Mistake(place.path, message, (*parent, with_unit))
    if near := _nearest(key, allowed):
        return Mistake(place.path, f"unknown key; did you mean {near!r}?", (*parent, near))
    return Mistake(place.path, f"unknown key; allowed here: {', '.join(allowed)}")


def _wrong_tag(error: ErrorDetails, place: _Place) -> Mistake:
    """Return what is wrong with the key that says which record of a union a mapping is."""
    context = error["ctx"]
    path = (*place.path, context["discriminator"].strip("'"))
    if "tag" not in context:
        return Mistake(path, _MISSING)
    allowed = " or ".join(context["expected_tags"].rsplit(", ", 1))
    return Mistake(path, _not_one_of(allowed, context["tag"]))


def _not_one_of(expected: str, given: object) -> str:
    words = re.findall(r"'([^']*)'", expected)
    near = did_you_mean(given, words) if isinstance(given, str) else ""
    return "; ".join(filter(None, (f"must be {expected}, got {shown(given)}", near)))


def _wrong_value(error: ErrorDetails) -> str:
    kind, given = error["type"], error["input"]
    if kind == "float_type" and isinstance(given, int) and not isinstance(given, bool):
        kind = "finite_number"  # a whole number beyond the range of floats
    if kind not in _EXPECTED:
        return f"{error['msg'][:1].lower()}{error['msg'][1:]}, got {shown(given)}"
    limits = {name: _limit(value) for name, value in error.get("ctx", {}).items()}
    return f"must be {_EXPECTED[kind].format(**limits)}, got {shown(given)}"


def _limit(value: object) -> str:
    return f"{value:g}" if isinstance(value, (int, float)) else str(value)


def _nearest(given: object, known: Sequence[str]) -> str | None:
    return next(iter(difflib.get_close_matches(str(given)[:100], known, n=1)), None)


def _locate(cls: type, data: Any, location: FieldPath) -> _Place:  # noqa: ANN401
    """Follow ``location`` through the data; what is no key of it is pydantic's label or absent."""
    path: FieldPath = ()
    absent: FieldPath = ()
    here: list[Any] = [cls]
    around = here
    for segment in location:
        if holds(data, segment):
            path, around = (*path, segment), here
            data, here = data[segment], [inner for hint in here for inner in _inside(hint, segment)]
        elif any(segment in _hints_by_key(hint) for hint in _records(here)):
            absent = (segment,)
        else:
            here = [hint for hint in here if _is_called(hint, segment)] or here
    return _Place(path, absent, _records(around))


def _records(hints: list[Any]) -> tuple[type, ...]:
    return tuple(hint for hint in hints if _is_record(hint))


def _is_record(hint: object) -> TypeGuard[type]:
    return isinstance(hint, type) and dataclasses.is_dataclass(hint)


def _inside(hint: Any, segment: str | int) -> list[Any]:  # noqa: ANN401 - a type or a type form
    """Return what may stand under key or index ``segment`` of a value of type ``hint``."""
    if _is_record(hint):
        return _alternatives(_hints_by_key(hint).get(str(segment)))
    arguments = get_args(hint)
    match get_origin(hint):
        case origin if origin is dict:
            return _alternatives(arguments[1])
        case origin if origin in (tuple, list):
            return _alternatives(arguments[0])
    return []


def _alternatives(hint: Any) -> list[Any]:  # noqa: ANN401 - a type or a type form
    """Return the members of a union, each without its annotations."""
    if get_origin(hint) is Annotated:
        return _alternatives(get_args(hint)[0])
    if get_origin(hint) in (Union, UnionType):
        return [inner for member in get_args(hint) for inner in _alternatives(member)]
    return [hint]


def _is_called(hint: Any, label: str | int) -> bool:  # noqa: ANN401 - a type or a type form
    """Return whether pydantic calls this member of a union ``label``: by name or by tag."""
    if not _is_record(hint):
        return False
    tags = [get_args(tag) for tag in _hints_by_key(hint).values() if get_origin(tag) is Literal]
    return hint.__name__ == label or any(label in values for values in tags)


@cache
def _hints_by_key(cls: Any) -> Mapping[str, Any]:  # noqa: ANN401 - a dataclass
    hints = get_type_hints(cls, include_extras=True)
    names = [field.name for field in dataclasses.fields(cls)]
    return MappingProxyType({document_key(name, hints[name]): hints[name] for name in names})


@cache
def _keys_with_units(cls: type) -> Mapping[str | int, str]:
    """Return the YAML key of each field that has a unit, by the field's bare name."""
    keys = zip((field.name for field in dataclasses.fields(cls)), keys_of(cls), strict=True)
    return MappingProxyType({name: key for name, key in keys if name != key})
