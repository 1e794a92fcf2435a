"""How the time of a matrix product depends on its shape: the section ``gemm`` of a profile."""

from __future__ import annotations

from dataclasses import field
from typing import Annotated

from simulator.fields import (
    MICROSECONDS,
    Count,
    Efficiency,
    NonNegative,
    Positive,
    Share,
    Text,
    record,
)
from simulator.hardware.grouped_model import GroupedModel
from simulator.hardware.shape_table import ShapeTable
from simulator.operators import Role
from simulator.precision import Precision


@record
class Tile:
    """A block of the output that one multiprocessor computes."""

    m: Count
    n: Count


@record
class GemmModel:
    """Tiled matrix products: tiles in waves over the multiprocessors, k split where it pays."""

    tiles: tuple[Tile, ...]
    """Tile shapes to choose from; the fastest is taken, as the library's heuristics aim to."""
    split_k: tuple[Count, ...]
    """In how many parts k may be cut where there are fewer tiles than multiprocessors."""
    burst_rate: Positive
    """Rate inside the k loop before power limits, as a share of the achievable rate (capped at
    the part's peak)."""
    sustained_rate: dict[Precision, Efficiency]
    """Rate at which power holds long GEMMs, as a share of the achievable rate, by precision."""
    tile_overhead: Annotated[NonNegative, MICROSECONDS]
    """Filling the pipeline and storing the result of one tile [s]."""
    kernel_overhead: Annotated[NonNegative, MICROSECONDS]
    """Ramp-up and drain of the kernel [s], without the launch gap."""
    bandwidth: Efficiency
    """Bandwidth of a memory-bound GEMM as a share of the achievable memory bandwidth."""
    role_rate: dict[Role, Efficiency]
    """Rate of forward, input-gradient and weight-gradient operand layouts, relative."""
    ragged_wave: Share
    """Share of the multiprocessors' idle time in a ragged last wave that is lost: 1 where tiles
    run in whole waves, 0 where the work is spread evenly."""
    misaligned_rate: Efficiency
    """Rate where rows of an operand or of the result do not start at multiples of 16 B, so that
    the fast copies cannot be used; relative."""
    shapes: dict[Precision, ShapeTable] = field(default_factory=dict)
    """Measured deviations from the tile model, by precision; none where it is transferred."""
    library: Text | None = None
    """Which of ``libraries`` runs ungrouped products; none: the one that the constants describe."""
    libraries: dict[Text, dict[Precision, Positive]] = field(default_factory=dict)
    """How many times as fast other libraries are than that one, by precision; 1 where not named.
    Nothing outruns the sustained rate in training, nor the peak."""
    grouped: GroupedModel | None = None
    """The library's kernel for groups of products; without it the tiles above price them."""
