"""How tokens are dealt out to experts in the table of grouped products."""

from __future__ import annotations

from typing import Final

ALIGNMENT: Final = 16
"""Rows of an uneven group come in multiples of so many."""
ROUTINGS: Final = ("even", "skewed", "zipf")


def rows_of_groups(routing: str, groups: int, mean: int) -> list[int]:
    """Return the rows of each group.

    Even; skewed: the first group has four times the mean, the others share what is left; zipf:
    group i has a share of 1/i. Both in multiples of `ALIGNMENT` and no fewer.
    """
    if routing == "even":
        return [mean] * groups
    if routing == "skewed":
        return [4 * mean] + [_aligned((groups - 4) * mean // max(1, groups - 1))] * (groups - 1)
    harmonic = sum(1 / index for index in range(1, groups + 1))
    return [_aligned(groups * mean / harmonic / index) for index in range(1, groups + 1)]


def _aligned(rows: float) -> int:
    return max(ALIGNMENT, int(rows) // ALIGNMENT * ALIGNMENT)
