"""Clocks under a power limit: single kernels outrun what a training step sustains."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulator.hardware.memo import remembered

if TYPE_CHECKING:
    from simulator.hardware.accelerator import Accelerator


def power_limited(burst: float, sustained: float, boost_time: float) -> float:
    """Return the time [s] of a kernel that takes ``burst`` at full clock, ``sustained`` at power.

    A kernel much shorter than ``boost_time`` [s] keeps its burst time, a much longer one takes
    its sustained time; one that is slower than the sustained rate anyway is not slowed.

    Notes
    -----
    Neglected: what ran before. Times of single kernels are measured after idle moments; for work
    without any see `in_training`.
    """
    if sustained <= burst:
        return burst
    return burst + (sustained - burst) * burst / (burst + boost_time)


def in_training(accelerator: Accelerator) -> Accelerator:
    """Return the part as it works in a training step: kernels follow one another without rest.

    The power limit then holds short kernels as it holds long ones: GEMMs of 0.14 to 3.3 ms that an
    H100 repeats without rest run at 0.58 to 0.74 PFLOP/s, where single ones of 1 ms and more reach
    0.73 to 0.81 (benchmarks/measurements/h100/sustained.csv).

    Notes
    -----
    Neglected: the reserve that memory-bound kernels and waiting leave to the next GEMM.
    """
    return remembered(
        accelerator, ("in training",), lambda: accelerator.with_kernels(boost_time=0.0)
    )
