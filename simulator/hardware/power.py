"""Clocks under a power limit: kernels that run long are slower than their first moments."""

from __future__ import annotations


def power_limited(burst: float, sustained: float, boost_time: float) -> float:
    """Return the time [s] of a kernel that takes ``burst`` at full clock, ``sustained`` at power.

    A kernel much shorter than ``boost_time`` [s] keeps its burst time, a much longer one takes
    its sustained time; one that is slower than the sustained rate anyway is not slowed.

    Notes
    -----
    Neglected: what ran before. A kernel is taken to start with the reserve that kernels of mixed
    demand leave behind.
    """
    if sustained <= burst:
        return burst
    return burst + (sustained - burst) * burst / (burst + boost_time)
