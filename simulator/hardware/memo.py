"""What has been computed of an accelerator or a cluster, kept while that is in use."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from simulator.hardware.accelerator import Accelerator
    from simulator.hardware.cluster import Cluster

T = TypeVar("T")

_MOST_PARTS: Final = 32
"""Parts remembered at once; the first to come is the first to be forgotten."""
_MOST_ENTRIES: Final = 100_000
"""Values remembered of one part; beyond them it starts afresh."""

_parts: OrderedDict[int, tuple[Accelerator | Cluster, dict[Hashable, Any]]] = OrderedDict()


def remembered(part: Accelerator | Cluster, key: Hashable, compute: Callable[[], T]) -> T:
    """Return what ``compute`` returned when first asked for ``key`` of this very object.

    Parts hold mappings and cannot be hashed; they are values, so one object is known by
    its identity, which is kept valid by holding the object.
    """
    _, known = _parts.get(id(part)) or _forget_oldest(part)
    if key not in known:
        if len(known) >= _MOST_ENTRIES:
            known.clear()
        known[key] = compute()
    value: T = known[key]
    return value


def _forget_oldest(
    part: Accelerator | Cluster,
) -> tuple[Accelerator | Cluster, dict[Hashable, Any]]:
    while len(_parts) >= _MOST_PARTS:
        _parts.popitem(last=False)
    entry: tuple[Accelerator | Cluster, dict[Hashable, Any]] = (part, {})
    _parts[id(part)] = entry
    return entry
