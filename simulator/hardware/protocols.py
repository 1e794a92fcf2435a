"""Seconds of a collective by what its library may do: protocols with a line each, or a ramp."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from operator import itemgetter
from typing import TYPE_CHECKING, Final

from simulator.errors import SimulatorError

if TYPE_CHECKING:
    from simulator.hardware.collectives import CollectiveLine, Interconnect
    from simulator.hardware.node import Node
    from simulator.operators import Collective


class Regime(StrEnum):
    """Which part of a cost model a message falls into."""

    LATENCY = "latency"
    """The latency-bound line: LL."""
    MIDDLE = "middle"
    """The line between: LL128."""
    BANDWIDTH = "bandwidth"
    """The bandwidth-bound line: Simple, NVLS."""
    RAMP = "ramp"
    """Between both, where protocols and algorithms change with the size."""
    MEASURED = "measured"
    """Interpolated in a measured curve of the site."""
    TRANSFER = "transfer"
    """Latency and bytes over bandwidth of one pair."""
    NOTHING = "nothing"
    """A group of one."""


@dataclass(frozen=True, slots=True)
class Protocols:
    """The protocols of a collective at a number of hops.

    Hops of another scope bring their own constants.
    """

    line: CollectiveLine
    owner: str
    """Profile that the line stands in, for messages."""
    hops: float
    launch: float = 0.0
    """Start cost of the site [s]."""
    inner_hops: float = 0.0
    """Hops inside the nodes, of a line between them."""
    inner: CollectiveLine | None = None
    """Line whose constants these have."""

    @classmethod
    def inside(cls, kind: Collective, node: Node, hops: float) -> Protocols:
        """Return the protocols of a collective in one node."""
        model = node.collectives
        return cls(model.line(kind, node.name), node.name, hops, model.launch)

    @classmethod
    def between(
        cls, kind: Collective, cluster: Interconnect, hops: float, inner_hops: float
    ) -> Protocols:
        """Return the protocols of a collective over the network, some of its hops inside nodes."""
        node, fabric = cluster.node, cluster.fabric
        line = fabric.collectives.line(kind, fabric.name)
        inner = node.collectives.line(kind, node.name)
        return cls(line, fabric.name, hops, fabric.collectives.launch, inner_hops, inner)

    def time(self, n_bytes: float, moving: float) -> tuple[float, Regime]:
        """Return the time [s] of bytes that take ``moving`` seconds, and the regime.

        A negative launch setting takes latency away, never the time of the bytes.
        """
        more, regime = self._beyond(n_bytes, moving)
        return max(self._start, 0.0) + more, regime

    def streaming(self, moving: float) -> float:
        """Return the time [s] by the bandwidth-bound protocol alone."""
        return max(self._start + self._steady, 0.0) + moving

    @property
    def _start(self) -> float:
        """Seconds before any bytes move, by every protocol."""
        line, inner = self.line, self.inner
        return self.launch + self._latency(line.a0, line.a1, inner.a1 if inner else 0.0)

    @property
    def _steady(self) -> float:
        """Seconds that the bandwidth-bound protocol adds to those of the bytes."""
        line, inner = self.line, self.inner
        return self._latency(line.b0, line.b1, inner.b1 if inner else 0.0)

    def _latency(self, base: float, hop: float, inner_hop: float | None) -> float:
        """Return the latency [s] of all hops, those of the other scope included."""
        return base + hop * self.hops + (inner_hop or 0.0) * self.inner_hops

    def _beyond(self, n_bytes: float, moving: float) -> tuple[float, Regime]:
        """Return the time [s] after the start, and the regime."""
        line, steady = self.line, self._steady
        between = self._between(moving)
        if line.half is None and line.sharpness is None and line.low is not None:
            first, last = (1 + line.low) * moving, steady + moving
            lines = ((first, Regime.LATENCY), *between, (last, Regime.BANDWIDTH))
            return min(lines, key=_TIME)
        if line.half is None or line.sharpness is None or line.low is not None or between:
            raise SimulatorError(
                f"{self.owner}: give a collective low (and c0_us, c1_us and middle), "
                "or half_mib and sharpness"
            )
        phased = (n_bytes / line.half) ** line.sharpness
        return steady * phased / (1 + phased) + moving, Regime.RAMP

    def _between(self, moving: float) -> tuple[tuple[float, Regime], ...]:
        """Return the time [s] after the start by the protocol between, if there is one."""
        line, inner = self.line, self.inner
        if line.c0 is None or line.c1 is None or line.middle is None:
            if (line.c0, line.c1, line.middle) != (None, None, None):
                raise SimulatorError(f"{self.owner}: c0_us, c1_us and middle belong together")
            return ()
        latency = self._latency(line.c0, line.c1, inner.c1 if inner else 0.0)
        return ((latency + (1 + line.middle) * moving, Regime.MIDDLE),)


_TIME: Final = itemgetter(0)
