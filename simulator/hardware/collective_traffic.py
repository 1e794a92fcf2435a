"""Bytes that a collective puts on every bundle of links, by what it does.

members ──> pattern: who sends to whom (or what switches reduce) ──> routes ──> bytes
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from simulator.errors import SimulatorError
from simulator.hardware import all_to_all
from simulator.hardware.collective_stages import Stages
from simulator.hardware.pattern_choice import require_possible
from simulator.hardware.patterns import Pattern
from simulator.hardware.topology import topology_of
from simulator.operators import Collective

if TYPE_CHECKING:
    from simulator.hardware.cluster import Cluster
    from simulator.hardware.collective_stages import Stage
    from simulator.hardware.members import Members
    from simulator.hardware.routes import Floats
    from simulator.hardware.topology import Topology


class Busiest(NamedTuple):
    """The bundle of links that takes longest at its line rate."""

    bundle: int
    name: str
    """Class of links."""
    n_bytes: float
    """Bytes on it."""
    time: float
    """Seconds at line rate."""


@dataclass(frozen=True, slots=True, eq=False)
class Traffic:
    """What one collective puts on the links of a cluster."""

    topology: Topology
    stages: tuple[Stage, ...]
    n_bytes: float
    """Message [B]."""

    @property
    def load(self) -> Floats:
        """Bytes on every bundle, shape ``(bundles,)``."""
        total = np.sum([phase for stage in self.stages for phase in stage.phases], axis=0)
        load: Floats = self.n_bytes * total
        return load

    @property
    def by_class(self) -> dict[str, float]:
        """Bytes on all bundles of each class of links that carries any."""
        return {name: n for name, n in self.topology.by_class(self.load).items() if n > 0}

    @property
    def busiest(self) -> Busiest:
        """The bundle that takes longest at its line rate."""
        load, capacity = self.load, self.topology.capacity
        worst = int(np.argmax(load / capacity))
        name = self.topology.names[self.topology.klass[worst]]
        return Busiest(worst, name, float(load[worst]), float(load[worst] / capacity[worst]))


def traffic(
    kind: Collective, pattern: Pattern, n_bytes: float, members: Members, cluster: Cluster
) -> Traffic:
    """Return the bytes that a collective puts on every bundle of links.

    Parameters
    ----------
    kind
        The collective.
    pattern
        How it goes about it.
    n_bytes
        Message [B] as nccl-tests counts it: the buffer of one rank for all_reduce, broadcast and
        send_recv; the full (gathered or scattered) buffer for the others.
    members
        Where its ranks sit.
    cluster
        Node and fabric.

    Raises
    ------
    SimulatorError
        If the pattern cannot carry out the collective, or not in this place: says why.

    Notes
    -----
    Acknowledgements, headers and the flags of latency-bound protocols (as much again as the bytes
    under LL, a sixteenth under LL128) are left out.
    """
    require_possible(kind, pattern, members, cluster)
    topology = topology_of(cluster, int(members.slots.max()) + 1)
    return Traffic(topology, Stages(kind, members, topology).by(pattern), n_bytes)


def all_to_allv(sent: Floats, members: Members, cluster: Cluster, *, pxn: bool = False) -> Traffic:
    """Return the bytes that an all_to_all of unequal parts puts on every bundle of links.

    Parameters
    ----------
    sent
        Bytes from each rank (row) to each other one (column), shape ``(ranks, ranks)``.
    members
        Where the ranks sit.
    cluster
        Node and fabric.
    pxn
        Whether messages are handed over to the receiver's rail inside the sender's node.

    Raises
    ------
    SimulatorError
        If the matrix does not fit the group, or has more than `all_to_all.MOST_PAIRS` entries.
    """
    pattern = Pattern.PXN if pxn else Pattern.PAIRWISE
    require_possible(Collective.ALL_TO_ALL, pattern, members, cluster)
    topology = topology_of(cluster, int(members.slots.max()) + 1)
    load = all_to_all.uneven(sent, members, topology, pxn=pxn)
    largest = float(sent.sum(axis=1).max())
    stages = Stages(Collective.ALL_TO_ALL, members, topology)
    return Traffic(topology, (stages.exchange(load / (largest or 1.0), pxn=pxn),), largest)


def one_busy_rank(ranks: int, n_bytes: float, imbalance: float) -> Floats:
    """Return the bytes that ranks send one another if the first receives more than the mean.

    Each sends ``n_bytes`` in all: to the first ``imbalance`` times what an even split would send
    it, to the others alike. Shape ``(ranks, ranks)``.

    Raises
    ------
    SimulatorError
        If ``imbalance`` is below 1 or leaves nothing for the others, or pairs are too many.
    """
    all_to_all.require_few(ranks * (ranks - 1))
    if not 1 <= imbalance <= ranks:
        raise SimulatorError(f"an imbalance among {ranks} ranks is 1 to {ranks}, not {imbalance:g}")
    share = np.full(ranks, (ranks - imbalance) / (ranks - 1) / ranks if ranks > 1 else 0.0)
    share[0] = imbalance / ranks
    return np.tile(n_bytes * share, (ranks, 1))
