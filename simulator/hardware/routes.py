"""Routes: which link bundles the bytes between pairs of accelerators occupy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from simulator.ranges import spread

if TYPE_CHECKING:
    from collections.abc import Sequence

Integers: TypeAlias = NDArray[np.int64]
Floats: TypeAlias = NDArray[np.float64]
Flags: TypeAlias = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Routes:
    """The directed bundles from each sender to its receiver, as a compressed list."""

    offsets: Integers
    """Where each pair's bundles begin, shape ``(pairs + 1,)``."""
    bundles: Integers
    """Bundle ids of all pairs, one pair after another, in the order in which they are crossed."""
    count: int
    """Bundles of the topology."""

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.offsets) - 1

    def of(self, pair: int) -> Integers:
        """Return the bundles of one pair, in the order in which they are crossed."""
        return self.bundles[self.offsets[pair] : self.offsets[pair + 1]]

    @property
    def hops(self) -> Integers:
        """Bundles that each pair crosses, shape ``(pairs,)``; 0 from an accelerator to itself."""
        return np.diff(self.offsets)

    def load(self, n_bytes: Floats | float) -> Floats:
        """Return the bytes on every bundle, shape ``(bundles,)``.

        Parameters
        ----------
        n_bytes
            What each pair sends [B], shape ``(pairs,)``, or one number for all.
        """
        sent = np.broadcast_to(np.asarray(n_bytes, dtype=np.float64), (len(self),))
        each = np.repeat(sent, self.hops)
        return np.bincount(self.bundles, each, minlength=self.count).astype(np.float64)

    def narrowest(self, capacity: Floats) -> Floats:
        """Return the least ``capacity`` [B/s] on each pair's way, shape ``(pairs,)``.

        Infinite from an accelerator to itself.
        """
        least = np.full(len(self), np.inf)
        crossed = self.hops > 0
        if self.bundles.size:
            starts = self.offsets[:-1][crossed]
            least[crossed] = np.minimum.reduceat(capacity[self.bundles], starts)
        return least


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """The next part of every pair's way: some bundles of each pair, possibly none."""

    lengths: Integers
    """Bundles of each pair, shape ``(pairs,)``."""
    bundles: Integers
    """Their ids, one pair after another."""


def segment(bundles: Integers, used: Flags) -> Segment:
    """Return the segment of one bundle for each pair that uses it; both of shape ``(pairs,)``."""
    return Segment(used.astype(np.int64), bundles[used])


def joined(segments: Sequence[Segment], pairs: int, count: int) -> Routes:
    """Return the routes made of ``segments``, one after another.

    Parameters
    ----------
    segments
        Parts of the way in the order in which they are crossed.
    pairs
        How many pairs each describes.
    count
        Bundles of the topology.
    """
    lengths = np.zeros(pairs, dtype=np.int64)
    for part in segments:
        lengths += part.lengths
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    bundles = np.empty(offsets[-1], dtype=np.int64)
    start = offsets[:-1].copy()
    for part in segments:
        bundles[spread(start, part.lengths)] = part.bundles
        start += part.lengths
    return Routes(offsets, bundles, count)
