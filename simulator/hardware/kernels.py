"""How the efficiency of an accelerator's kernels depends on shape: what a kernels profile holds.

Rates are shares of the part's achievable rates, so that one profile serves a family of parts;
times are absolute. `simulator.hardware.operator_costs` turns these records into seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, TypeVar

from simulator.errors import SimulatorError
from simulator.fields import (
    MICROSECONDS,
    Count,
    Efficiency,
    NonNegative,
    Positive,
    record,
)
from simulator.hardware.exchange_model import ExchangeModel
from simulator.hardware.gemm_model import GemmModel
from simulator.hardware.overlap_model import OverlapModel
from simulator.hardware.pointwise_model import PointwiseModel
from simulator.operators import AttentionKernel

if TYPE_CHECKING:
    from collections.abc import Mapping
    from enum import StrEnum

    Key = TypeVar("Key", bound=StrEnum)
    Entry = TypeVar("Entry")


@record
class AttentionPass:
    """One direction of a fused attention kernel."""

    rate: dict[Count, Positive]
    """Rate inside the loop over the opposite sequence, as a share of the achievable bf16 rate
    (capped at the part's peak), by head dimension: interpolated between, constant beyond."""
    sustained_rate: Efficiency
    """Rate at which power holds long calls, as a share of the achievable bf16 rate."""
    block_overhead: Annotated[NonNegative, MICROSECONDS]
    """Filling the pipeline and storing the result of one block [s]."""
    imbalance: NonNegative
    """Share of the longest block's time for which the device waits at the end."""
    kernel_overhead: Annotated[NonNegative, MICROSECONDS]
    """Ramp-up, drain and auxiliary kernels [s], without the launch gap."""
    block: Count | None = None
    """Positions per block where this direction has others than the kernel."""


@record
class FusedAttention:
    """A flash-type kernel: scores stay on the chip."""

    block: Count
    """Positions per block, of queries forward and of keys backward."""
    forward: AttentionPass
    backward: AttentionPass
    latent_forward: AttentionPass | None = None
    """Of heads whose values have another width than their queries and keys (MLA); rates go by the
    mean of the widths. Without it, as heads of that mean width."""
    latent_backward: AttentionPass | None = None

    def pass_of(self, *, backward: bool, latent: bool) -> AttentionPass:
        """Return one direction of the kernel."""
        plain = self.backward if backward else self.forward
        other = self.latent_backward if backward else self.latent_forward
        return other if latent and other else plain


@record
class KernelModel:
    """A kernels profile (``hardware_profiles/kernels/*.yaml``), in SI."""

    boost_time: Annotated[NonNegative, MICROSECONDS]
    """How long [s] a kernel outruns its sustained rate before power holds it back."""
    gemm: GemmModel
    fused_attention: dict[AttentionKernel, FusedAttention]
    pointwise: PointwiseModel
    overlap: OverlapModel
    """What kernels lose beside a running collective."""
    exchange: ExchangeModel | None = None
    """Dispatch and combine of experts' tokens inside a node; none where nobody has measured it."""


def entry(values: Mapping[Key, Entry], key: Key, what: str, part: str) -> Entry:
    """Return the value for ``key`` of the kernels of ``part``, or say which there are.

    Raises
    ------
    SimulatorError
        If there is none.
    """
    if key not in values:
        known = ", ".join(sorted(values)) or "none"
        raise SimulatorError(f"{part} has no {what} {key}; its kernels have: {known}")
    return values[key]
