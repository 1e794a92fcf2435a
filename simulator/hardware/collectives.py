"""How collectives of one scope behave: lines per kind, and what bounds their bandwidth."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Protocol

from simulator.errors import SimulatorError
from simulator.fields import GB_PER_S, MIB, MICROSECONDS, NonNegative, Positive, Signed, record
from simulator.operators import Collective

if TYPE_CHECKING:
    from simulator.hardware.fabric import Fabric
    from simulator.hardware.node import Node


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
class CollectiveLine:
    """Latency and bandwidth of one collective in one scope, as lines or as a ramp.

    Lines, one for each protocol of the library; the fastest counts::

        T = a0 + a1 L + min((1 + low) V/B, c0 + c1 L + (1 + middle) V/B, b0 + b1 L + V/B)

    A ramp, for what goes through many (several protocols, algorithms and chunk sizes)::

        T = a0 + a1 L + (b0 + b1 L) x / (1 + x) + V/B    with x = (S / half)^sharpness

    ``S`` is the message, ``V`` the bus volume (message times bus factor), ``L`` the number of
    hops, ``B`` the bus bandwidth. The first line is the latency-bound protocol (LL), the last the
    bandwidth-bound one (Simple, NVLS); the one between (LL128) may be missing. Give ``low`` (and
    ``c0``, ``c1`` and ``middle``), or ``half`` and ``sharpness``.

    A node wired by switch, mesh or PCIe tabulates ``bus_bandwidth``; a fabric names its
    ``algorithm``; a torus gives neither, its links bound the bandwidth.
    """

    a0: Annotated[NonNegative, MICROSECONDS]
    a1: Annotated[NonNegative, MICROSECONDS]
    b0: Annotated[NonNegative, MICROSECONDS]
    b1: Annotated[NonNegative, MICROSECONDS]
    low: NonNegative | None = None
    """Relative extra cost per byte of the latency-bound protocol."""
    c0: Annotated[NonNegative, MICROSECONDS] | None = None
    c1: Annotated[NonNegative, MICROSECONDS] | None = None
    middle: NonNegative | None = None
    """Relative extra cost per byte of the protocol between the two."""
    half: Annotated[Positive, MIB] | None = None
    """Message [B] at which half of ``b0 + b1 L`` has been added."""
    sharpness: Positive | None = None
    """Exponent of the ramp: 1 rises from a tenth to nine tenths over a factor of 81 in size."""
    bus_bandwidth: Annotated[dict[int, Positive], GB_PER_S] | None = None
    """Asymptotic bus bandwidth [B/s] by group size; 1/B is interpolated in log2 of the size."""
    algorithm: Algorithm | None = None
    """How the collective crosses the network."""
    measured: Annotated[dict[int, dict[int, Positive]], MICROSECONDS] | None = None
    """Measured times [s] by ranks (node) or by nodes (fabric, whole nodes) and by message [B].

    Takes the place of the lines for exactly these groups, where nothing else contends: log-log
    between the sizes, constant below the smallest, in proportion to the bytes above the largest.
    """

    def refuse_bandwidth(self, where: str, reason: str) -> None:
        """Raise if the line tabulates a bandwidth that no formula would read.

        Raises
        ------
        SimulatorError
            Says ``where`` the line stands, and the ``reason``.
        """
        if self.bus_bandwidth is not None:
            raise SimulatorError(f"{where}: bus_bandwidth would be ignored: {reason}; remove it")


@record
class CollectiveModel:
    """Parameters by collective."""

    lines: dict[Collective, CollectiveLine]
    launch: Annotated[Signed, MICROSECONDS] = 0.0
    """Start cost of every collective of this scope [s] above that in the lines; below if negative.

    A setting of a site: how ranks are launched (threads, processes, graphs), its hosts and its
    library. Measured floor of an 8-byte message less the modelled one. Inside a node the node's
    applies, between nodes the fabric's.
    """

    def line(self, kind: Collective, owner: str) -> CollectiveLine:
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


class Interconnect(Protocol):
    """What collectives run over: a `simulator.hardware.cluster.Cluster`, or its network alone."""

    @property
    def node(self) -> Node:
        """Inside of a node."""

    @property
    def fabric(self) -> Fabric:
        """Network between the nodes."""

    @property
    def nic_bandwidth(self) -> float:
        """Network line rate of one accelerator [B/s]."""


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
    wire_share: float = 1.0
    """Share of the network bandwidth that other jobs and hash collisions leave to the group."""
