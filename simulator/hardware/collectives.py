"""How collectives of one scope behave: two lines per kind, and what bounds their bandwidth."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from simulator.errors import SimulatorError
from simulator.fields import GB_PER_S, MICROSECONDS, NonNegative, Positive, record
from simulator.operators import Collective


class Algorithm(StrEnum):
    """What a collective between nodes does: its network hops and the volume on the wire."""

    TREE = "tree"
    """All-reduce by double binary tree: log2(nodes) hops; two nodes swap each buffer once."""
    TREE_OR_RING = "tree_or_ring"
    """A tree's hops and a ring's volume: what small and large messages choose (NCCL's PAT, too)."""
    RING = "ring"
    """One ring through all ranks: nodes - 1 hops over the network, the others inside the nodes.

    A hop's latency counts both passes of an all-reduce.
    """
    PAIRWISE = "pairwise"
    """All-to-all, gathered by rail: nodes - 1 peers over the network."""


@record
class TwoLine:
    """Parameters of ``T = min(a0 + a1 L + (1 + low) V/B, a0 + b0 + (a1 + b1) L + V/B)``.

    ``V`` is the bus volume (message times bus factor), ``L`` the number of hops, ``B`` the bus
    bandwidth. The first line is the latency-bound protocol (LL, LL128), the second the
    bandwidth-bound one (Simple, NVLS).

    A node wired by switch, mesh or PCIe tabulates ``bus_bandwidth``; a fabric names its
    ``algorithm``; a torus gives neither, its links bound the bandwidth.
    """

    a0: Annotated[NonNegative, MICROSECONDS]
    a1: Annotated[NonNegative, MICROSECONDS]
    b0: Annotated[NonNegative, MICROSECONDS]
    b1: Annotated[NonNegative, MICROSECONDS]
    low: NonNegative
    """Relative extra cost per byte of the latency-bound protocol."""
    bus_bandwidth: Annotated[dict[int, Positive], GB_PER_S] | None = None
    """Asymptotic bus bandwidth [B/s] by group size; 1/B is interpolated in log2 of the size."""
    algorithm: Algorithm | None = None
    """How the collective crosses the network."""


@record
class CollectiveModel:
    """Two-line parameters by collective."""

    lines: dict[Collective, TwoLine]

    def line(self, kind: Collective, owner: str) -> TwoLine:
        """Return the parameters of ``kind``; ``owner`` names the profile in the message.

        A broadcast without parameters of its own is taken to be the pipelined ring that an
        all_gather is: the same hops, the same bus bandwidth.

        Raises
        ------
        SimulatorError
            If the profile says nothing about ``kind``; the message lists what it has.
        """
        if kind is Collective.BROADCAST and kind not in self.lines:
            kind = Collective.ALL_GATHER
        if kind not in self.lines:
            known = ", ".join(sorted(self.lines)) or "none"
            raise SimulatorError(f"{owner} has no {kind} parameters; it has: {known}")
        return self.lines[kind]


@dataclass(frozen=True, slots=True)
class GroupSpan:
    """Where the ranks of one process group sit: what a collective of the group has to cross."""

    ranks: int
    ranks_per_node: int
    """Members of the group in each node that it touches (the fewest, if uneven)."""
    nodes: int
    tier: int
    """0: inside a node; t: the t-th fabric tier from the innermost."""
    contention: float = 1.0
    """How many times over the busiest uplink is asked for when all groups of the axis talk at once.

    At least 1; divides the network bandwidth of the group.
    """
    latency: float = 0.0
    """Added one-way latency [s] of the tiers crossed.

    Paid once per traversal: twice by all_reduce, once by the others.
    """
    rails: int = 1
    """Distinct slots (interfaces, rails) of a node that the group's members use."""
