"""What has been computed of an accelerator, kept while the accelerator is in use."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from simulator.hardware.accelerator import Accelerator

T = TypeVar("T")

_MOST_PARTS: Final = 16
"""Accelerators remembered at once; the first to come is the first to be forgotten."""
_MOST_ENTRIES: Final = 100_000
"""Values remembered of one accelerator; beyond them it starts afresh."""

_parts: OrderedDict[int, tuple[Accelerator, dict[Hashable, Any]]] = OrderedDict()


def remembered(accelerator: Accelerator, key: Hashable, compute: Callable[[], T]) -> T:
    """Return what ``compute`` returned when first asked for ``key`` of this very object.

    Accelerators hold mappings and cannot be hashed; they are values, so one object is known by
    its identity, which is kept valid by holding the object.
    """
    _, known = _parts.get(id(accelerator)) or _forget_oldest(accelerator)
    if key not in known:
        if len(known) >= _MOST_ENTRIES:
            known.clear()
        known[key] = compute()
    value: T = known[key]
    return value


def _forget_oldest(accelerator: Accelerator) -> tuple[Accelerator, dict[Hashable, Any]]:
    while len(_parts) >= _MOST_PARTS:
        _parts.popitem(last=False)
    entry: tuple[Accelerator, dict[Hashable, Any]] = (accelerator, {})
    _parts[id(accelerator)] = entry
    return entry
