"""Islands: replicas of a whole job in several places, and how they are kept together.

An island (a data centre, a region) is one complete job with a layout of its own. Between islands
lies a thin link, over which they average gradients every step (data parallelism) or parameters
every so many steps (DiLoCo).

References
----------
Douillard et al. 2023, DiLoCo, arXiv 2311.08105; Douillard et al. 2025, Streaming DiLoCo with
overlapping communication, arXiv 2501.18512; Charles et al. 2025, Communication-Efficient Language
Model Training Scales Reliably and Robustly, arXiv 2503.09799.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from simulator.fields import (
    GBIT_PER_S,
    MILLISECONDS,
    Count,
    CountOrZero,
    NonNegative,
    Positive,
    record,
)
from simulator.units import BITS_PER_BYTE


class Method(StrEnum):
    """What islands exchange, and when."""

    DATA_PARALLEL = "data_parallel"
    """Gradients, every step, each block's as soon as it is there."""
    DILOCO = "diloco"
    """Parameter differences of the whole model, every ``inner_steps`` steps."""
    STREAMING_DILOCO = "streaming_diloco"
    """The same by fragments, each every ``inner_steps`` steps and at steps of its own."""


class FragmentOrder(StrEnum):
    """Which layers form a fragment (Streaming DiLoCo, section 2.2)."""

    STRIDED = "strided"
    """Layers f, f + P, f + 2P, … of P fragments."""
    SEQUENTIAL = "sequential"
    """Neighbouring layers."""


@record
class Synchronisation:
    """How islands are kept together (``islands.synchronisation:`` in a scenario)."""

    method: Method
    bits_per_parameter: Positive
    """Size of an exchanged gradient or parameter difference on the link."""
    inner_steps: Count = 1
    """Steps between two exchanges of the same parameters (H)."""
    layers_per_fragment: Count | None = None
    """Layers that streaming exchanges together; embedding and head are a fragment of their own."""
    order: FragmentOrder = FragmentOrder.STRIDED
    overlap_steps: CountOrZero = 0
    """Steps that go on before exchanged parameters are merged (tau); 0: the next step waits."""

    def fragments(self, layers: int) -> tuple[tuple[int, ...], ...]:
        """Return the layers of each fragment, without that of embedding and head.

        Examples
        --------
        >>> sync = Synchronisation(method=Method.STREAMING_DILOCO, bits_per_parameter=16.0,
        ...                        inner_steps=100, layers_per_fragment=3)
        >>> sync.fragments(6)
        ((0, 2, 4), (1, 3, 5))
        """
        if self.layers_per_fragment is None:
            return (tuple(range(layers)),)
        count = -(-layers // self.layers_per_fragment)
        if self.order is FragmentOrder.STRIDED:
            return tuple(tuple(range(first, layers, count)) for first in range(count))
        starts = range(0, layers, self.layers_per_fragment)
        return tuple(tuple(range(at, min(at + self.layers_per_fragment, layers))) for at in starts)


@record
class Islands:
    """Several islands with a thin link between them (``islands:`` in a scenario)."""

    count: Count
    """Islands (M); everything else in the scenario describes one of them."""
    link: Annotated[Positive, GBIT_PER_S]
    """Bandwidth of one island to the others, one direction, for all its ranks together [B/s]."""
    latency: Annotated[NonNegative, MILLISECONDS]
    """One-way latency between two islands [s]."""
    synchronisation: Synchronisation

    @property
    def sent_bytes_per_parameter(self) -> float:
        """Bytes that one island sends for each exchanged parameter: a ring over the islands."""
        passes = 2 * (self.count - 1) / self.count
        return passes * self.synchronisation.bits_per_parameter / BITS_PER_BYTE

    @property
    def ring_latency(self) -> float:
        """Latency of one exchange [s]: the ring is travelled twice, less one hop each time."""
        return 2 * (self.count - 1) * self.latency
