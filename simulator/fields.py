"""Field types of everything that is read from a document, and the ``record`` that holds them.

A record is a frozen dataclass whose values are SI. A field that carries a unit declares it once::

    memory_bandwidth: Annotated[Positive, TB_PER_S]

and is then written ``memory_bandwidth_tb_per_s: 3.35`` in YAML and read as 3.35e12 (B/s).
This module and `simulator.documents` are the only ones that import pydantic.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    TypeVar,
    dataclass_transform,
    get_args,
    get_origin,
    get_type_hints,
)

from pydantic import BeforeValidator, Discriminator, Field, Strict, Tag
from pydantic_core import core_schema

from simulator import units

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Unit:
    """A boundary unit: the suffix of its YAML key and its factor to SI.

    Applies to a number and to every value of a mapping or list of numbers.
    """

    suffix: str
    factor: float

    def to_si(self, value: Any) -> Any:  # noqa: ANN401 - numbers, mappings and lists of numbers
        """Return ``value`` in SI, element by element."""
        if isinstance(value, dict):
            return {key: self.to_si(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return tuple(self.to_si(item) for item in value)
        return value if value is None else value * self.factor

    def __get_pydantic_core_schema__(
        self, source: type, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        """Convert after the value has been validated in its own unit."""
        return core_schema.no_info_after_validator_function(self.to_si, handler(source))


TFLOP_PER_S = Unit("tflop_per_s", units.TERA)
TB_PER_S = Unit("tb_per_s", units.TERA)
GB_PER_S = Unit("gb_per_s", units.GIGA)
GBIT_PER_S = Unit("gbit_per_s", units.GBIT_PER_S)
GB = Unit("gb", units.GIGA)
GIB = Unit("gib", units.GIB)
MIB = Unit("mib", units.MIB)
SECONDS = Unit("s", 1.0)
MILLISECONDS = Unit("ms", units.MILLI)
MICROSECONDS = Unit("us", units.MICRO)
WATTS = Unit("w", 1.0)

LARGEST_COUNT = 10**9
"""No count in a scenario is larger: a typing slip, not a cluster."""

Count = Annotated[int, Strict(), Field(ge=1, le=LARGEST_COUNT)]
CountOrZero = Annotated[int, Strict(), Field(ge=0, le=LARGEST_COUNT)]
Positive = Annotated[float, Strict(), Field(gt=0, le=1e18, allow_inf_nan=False)]
NonNegative = Annotated[float, Strict(), Field(ge=0, le=1e18, allow_inf_nan=False)]
Signed = Annotated[float, Strict(), Field(ge=-1e18, le=1e18, allow_inf_nan=False)]
AtLeastOne = Annotated[float, Strict(), Field(ge=1, le=1e18, allow_inf_nan=False)]
Share = Annotated[float, Strict(), Field(ge=0, le=1, allow_inf_nan=False)]
Efficiency = Annotated[float, Strict(), Field(gt=0, le=1, allow_inf_nan=False)]
Flag = Annotated[bool, Strict()]
Text = Annotated[str, Strict(), Field(min_length=1, max_length=500)]


def _numbers(value: Any) -> Any:  # noqa: ANN401 - text, or what the type itself accepts
    """Return the numbers in a text; a table in a block of text reads and loads faster than YAML."""
    if not isinstance(value, str):
        return value
    words = value.split()
    try:
        return tuple(float(word) for word in words)
    except ValueError:
        wrong = next(word for word in words if not _is_number(word))
        message = f"must be numbers with blanks between them, got {wrong[:40]!r} among them"
        raise ValueError(message) from None


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


Numbers = Annotated[
    tuple[Annotated[float, Field(allow_inf_nan=False)], ...], BeforeValidator(_numbers)
]
"""A table of numbers, written as text with blanks and line breaks between them."""


def told_apart(key: str, *, present: type, absent: type) -> Discriminator:
    """Return what chooses between two records, members of a union each tagged by `called`.

    ``present`` if the document's mapping has the key ``key``, else ``absent``.
    """

    def choose(value: object) -> str:
        has = isinstance(value, dict) and key in value
        return (present if has else absent).__name__

    return Discriminator(choose)


def called(cls: type) -> Tag:
    """Return the tag by which `told_apart` chooses the record ``cls``."""
    return Tag(cls.__name__)


@dataclass_transform(frozen_default=True, kw_only_default=True)
def record(cls: type[T]) -> type[T]:
    """Return ``cls`` as a frozen, keyword-only dataclass that documents are validated into.

    Unknown keys are refused; a field with a `Unit` is read from the key with the unit's suffix;
    a plain ``bool`` is as strict as a `Flag` (neither 1 nor "yes" is true).
    """
    hints = get_type_hints(cls, include_extras=True)
    keys = {name: document_key(name, hint) for name, hint in hints.items()}
    cls.__annotations__.update({name: Flag for name, hint in hints.items() if hint is bool})
    cls.__pydantic_config__ = {  # type: ignore[attr-defined]
        "extra": "forbid",
        "alias_generator": lambda name: keys.get(name, name),
    }
    return dataclass(frozen=True, slots=True, kw_only=True)(cls)


def document_key(name: str, hint: object) -> str:
    """Return the YAML key of a field: its name, and its unit's suffix where it has one."""
    unit = unit_of(hint)
    return f"{name}_{unit.suffix}" if unit else name


def unit_of(hint: object) -> Unit | None:
    """Return the `Unit` in an annotation such as ``Annotated[Positive, GB]`` or ``… | None``."""
    if get_origin(hint) is Annotated:
        return next((item for item in get_args(hint)[1:] if isinstance(item, Unit)), None)
    return next((unit for unit in map(unit_of, get_args(hint)) if unit), None)
