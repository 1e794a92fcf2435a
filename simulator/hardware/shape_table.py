"""Tables of how far measured kernels are from their model, over the logarithms of three sizes."""

from __future__ import annotations

import math
from bisect import bisect_right
from typing import TYPE_CHECKING

from simulator.errors import SimulatorError
from simulator.fields import Count, Numbers, record

if TYPE_CHECKING:
    from collections.abc import Sequence


@record
class ShapeTable:
    """Deviations of measured from modelled times over three sizes of an operator.

    What a model of tiles or blocks cannot know: which kernel the library picks at a size, how
    well its pipeline fills, what the caches keep. Interpolated linearly in the logarithms of the
    sizes between the points, constant beyond them.
    """

    first: tuple[Count, ...]
    """Points of the first size, ascending: m of a GEMM; batch times heads of attention."""
    second: tuple[Count, ...]
    """Points of the second: n of a GEMM; queries of attention."""
    third: tuple[Count, ...]
    """Points of the third: k of a GEMM; head dimension of attention."""
    percent: Numbers
    """Logarithm of measured over modelled time, times 100: third size fastest, first slowest."""


class LoadedTable:
    """A `ShapeTable`, ready to be looked up.

    Raises
    ------
    SimulatorError
        If the points do not ascend or are not as many as the values.
    """

    def __init__(self, table: ShapeTable) -> None:
        self._axes = [_logarithms(axis) for axis in (table.first, table.second, table.third)]
        points = math.prod(map(len, self._axes))
        if points != len(table.percent):
            message = f"a table of shapes has {len(table.percent)} values for {points} points"
            raise SimulatorError(message)
        self._values = [value / 100 for value in table.percent]
        self._stride_second = len(table.third)
        self._stride_first = len(table.second) * len(table.third)

    def factor(self, first: int, second: int, third: int) -> float:
        """Return measured over modelled time at these sizes."""
        axes = self._axes
        i, a = _position(axes[0], math.log2(first))
        at, down = i * self._stride_first, self._stride_first
        j, b = _position(axes[1], math.log2(second))
        h, c = _position(axes[2], math.log2(third))
        at += j * self._stride_second + h
        near = self._blend(at, b, c)
        return math.exp(near + a * (self._blend(at + down, b, c) - near) if a else near)

    def _blend(self, at: int, b: float, c: float) -> float:
        """Return the bilinear value between four points of one plane of the table."""
        low = self._line(at, c)
        return low + b * (self._line(at + self._stride_second, c) - low) if b else low

    def _line(self, at: int, c: float) -> float:
        value = self._values[at]
        return value + c * (self._values[at + 1] - value) if c else value


def _logarithms(axis: Sequence[int]) -> list[float]:
    logarithms = [math.log2(point) for point in axis]
    if not axis or logarithms != sorted(set(logarithms)):
        raise SimulatorError("the points of a table of shapes must ascend")
    return logarithms


def _position(axis: Sequence[float], at: float) -> tuple[int, float]:
    """Return the point at or below ``at`` and the share of the way to the next."""
    if at <= axis[0]:
        return 0, 0.0
    if at >= axis[-1]:
        return len(axis) - 1, 0.0
    index = bisect_right(axis, at) - 1
    return index, (at - axis[index]) / (axis[index + 1] - axis[index])
