"""How the time of a grouped matrix product depends on its groups: ``gemm.grouped`` of a profile."""

from __future__ import annotations

from typing import Annotated

from simulator.fields import MICROSECONDS, Count, Efficiency, NonNegative, Positive, Share, record
from simulator.operators import Role


@record
class GroupedTile:
    """A block of a group's output that one multiprocessor computes, and how fast."""

    m: Count
    n: Count
    burst_rate: Positive
    """Rate inside the k loop before power limits, as a share of the achievable rate (capped at
    the part's peak)."""
    overhead: Annotated[NonNegative, MICROSECONDS]
    """Filling the pipeline and storing the result of one tile [s]."""


@record
class GroupedModel:
    """One kernel that stays on all multiprocessors and takes tiles of one group after the other."""

    tile: GroupedTile
    few_rows_tile: GroupedTile
    """Taken where groups have few rows in the mean: the library looks no closer."""
    few_rows: Count
    """Mean rows of a group, or columns, up to which `few_rows_tile` is taken."""
    cluster: Count
    """Multiprocessors that work side by side along m and share what they load: the rows of each
    group are filled up to a multiple of their tiles."""
    ragged_wave: Share
    """Share of the multiprocessors' idle time in a ragged last wave that is lost."""
    kernel_overhead: Annotated[NonNegative, MICROSECONDS]
    """Ramp-up and drain, and the small kernel before it that lays out the groups [s]."""
    group_overhead: Annotated[NonNegative, MICROSECONDS]
    """Turning to the operands of the next group [s]."""
    bandwidth: Efficiency
    """Bandwidth of memory-bound groups as a share of the achievable memory bandwidth."""
    overlap_exponent: Positive
    """How arithmetic and memory time overlap: the sum of their powers; 1 adds them, a large one
    leaves the longer."""
    role_rate: dict[Role, Positive]
    """Rate of forward, input-gradient and weight-gradient operand layouts, relative."""
