"""What sets single ranks apart: slow accelerators and network interfaces, and nodes left out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

from simulator.errors import SimulatorError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

LARGEST_FACTOR: Final = 1e3
"""No accelerator or interface that still works is a thousand times slower: a typing slip."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Perturbations:
    """Factors on the times of single ranks; a rank that is not named has the factor 1."""

    slow_ranks: Mapping[int, float] = field(default_factory=dict)
    """Rank -> how many times as long its compute takes (below 1: it is faster)."""
    slow_interfaces: Mapping[int, float] = field(default_factory=dict)
    """Rank -> how many times as long transfers through its network interface take."""
    lost_nodes: tuple[int, ...] = ()
    """Nodes of the cluster that hold no ranks: those after them have moved up."""

    def __bool__(self) -> bool:
        """Return whether any rank is set apart."""
        return bool(self.slow_ranks or self.slow_interfaces or self.lost_nodes)

    def compute(self, ranks: int) -> NDArray[np.float64]:
        """Return the factor on each rank's compute, shape ``(ranks,)``.

        Raises
        ------
        SimulatorError
            If a rank or a factor is out of range.
        """
        return _by_rank("slow rank", self.slow_ranks, ranks)

    def interface(self, ranks: int) -> NDArray[np.float64]:
        """Return the factor on transfers through each rank's interface, shape ``(ranks,)``.

        Raises
        ------
        SimulatorError
            If a rank or a factor is out of range.
        """
        return _by_rank("slow interface", self.slow_interfaces, ranks)


def parse_factors(option: str, texts: Sequence[str]) -> dict[int, float]:
    """Return rank -> factor of texts such as ``37:1.2``.

    Parameters
    ----------
    option
        What the user calls it, for messages: ``--slow-rank``.
    texts
        One per rank.

    Raises
    ------
    SimulatorError
        If a text is not ``RANK:FACTOR``, or a rank is named twice.
    """
    factors: dict[int, float] = {}
    for text in texts:
        rank, _, factor = text.partition(":")
        try:
            number, value = int(rank), float(factor)
        except ValueError:
            raise SimulatorError(
                f"{option} {text}: must be RANK:FACTOR, such as 37:1.2 for a fifth slower"
            ) from None
        if number in factors:
            raise SimulatorError(f"{option} {text}: rank {number} is named twice")
        factors[number] = value
    return factors


def _by_rank(what: str, factors: Mapping[int, float], ranks: int) -> NDArray[np.float64]:
    by_rank = np.ones(ranks)
    for rank, factor in factors.items():
        if not 0 <= rank < ranks:
            raise SimulatorError(f"{what} {rank}: the job has ranks 0 to {ranks - 1:,}")
        if not 0 < factor <= LARGEST_FACTOR:
            raise SimulatorError(
                f"{what} {rank}: its factor is {factor}, but must be above 0 and at most "
                f"{LARGEST_FACTOR:.0f}"
            )
        by_rank[rank] = factor
    return by_rank
