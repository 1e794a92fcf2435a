"""One accelerator: its rates, its memory and how efficient its kernels are."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any

from simulator.errors import SimulatorError
from simulator.fields import (
    GB,
    GB_PER_S,
    MICROSECONDS,
    TB_PER_S,
    TFLOP_PER_S,
    WATTS,
    Count,
    NonNegative,
    Positive,
    Text,
    record,
)
from simulator.hardware.kernels import KernelModel
from simulator.precision import Precision


@record
class Accelerator:
    """An accelerator profile (``hardware_profiles/accelerators/*.yaml``), in SI."""

    name: Text
    vendor: Text
    peak_flop_rate: Annotated[dict[Precision, Positive], TFLOP_PER_S]
    """Dense peak by precision [FLOP/s]; MFU divides by this."""
    achievable_flop_rate: Annotated[dict[Precision, Positive], TFLOP_PER_S]
    """Rate of the best large GEMM [FLOP/s]; a kernel's efficiency is a share of this."""
    memory: Annotated[Positive, GB]
    """Device memory [B] that a process can allocate."""
    memory_bandwidth: Annotated[Positive, TB_PER_S]
    """Peak memory bandwidth [B/s]."""
    achievable_memory_bandwidth: Annotated[Positive, TB_PER_S]
    """Bandwidth of a large copy, reads plus writes [B/s]."""
    multiprocessors: Count
    """SMs, compute units or cores over which a GEMM's tiles are spread in waves."""
    launch_gap: Annotated[NonNegative, MICROSECONDS]
    """Idle time between two dependent kernels already queued on the device [s]."""
    host_bandwidth: Annotated[Positive, GB_PER_S]
    """Pinned host-to-device bandwidth, one direction [B/s]."""
    power: Annotated[Positive, WATTS] | None
    """Board power limit [W]; none where the vendor publishes none."""
    kernels: KernelModel
    """Shape dependence of kernel efficiency, measured or transferred."""

    def peak(self, precision: Precision) -> float:
        """Return the dense peak rate [FLOP/s] at ``precision``.

        Raises
        ------
        SimulatorError
            If the part has no such rate; the message lists those it has.
        """
        return self._rate(self.peak_flop_rate, precision)

    def achievable(self, precision: Precision) -> float:
        """Return the rate [FLOP/s] of the best large GEMM at ``precision``.

        Raises
        ------
        SimulatorError
            If the part has no such rate; the message lists those it has.
        """
        return self._rate(self.achievable_flop_rate, precision)

    def with_kernels(self, **changes: Any) -> Accelerator:  # noqa: ANN401 - any field of theirs
        """Return the part with other values of fields of its kernels."""
        return dataclasses.replace(self, kernels=dataclasses.replace(self.kernels, **changes))

    def _rate(self, rates: dict[Precision, float], precision: Precision) -> float:
        if precision not in rates:
            known = ", ".join(sorted(rates))
            raise SimulatorError(f"{self.name} has no {precision} rate; it has: {known}")
        return rates[precision]
