"""A cluster as a graph of link bundles, and the routes over it, all by arithmetic on slots.

    slots ──> inside of the node (wiring) ──> interface ──> levels up ──> levels down ──> …

A *bundle* is all parallel links of one direction between the same two ends: the uplinks of one
leaf, the port of one accelerator on its NVSwitch. A hundred thousand accelerators have a few
hundred thousand bundles, and no graph is searched. Capacities are line rates.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

import numpy as np

from simulator.errors import SimulatorError
from simulator.hardware.memo import remembered
from simulator.hardware.network import Network, network_of
from simulator.hardware.routes import Routes, joined
from simulator.hardware.wiring import Wiring, wiring_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike, NDArray

    from simulator.hardware.cluster import Cluster
    from simulator.hardware.routes import Floats, Integers


@dataclass(frozen=True, slots=True, eq=False)
class Topology:
    """Link bundles of a cluster, and which of them the bytes of any pair of slots occupy."""

    names: tuple[str, ...]
    """Classes of links: ``nvlink up``, ``nic down``, ``leaf up``, ``torus x+``, …"""
    klass: NDArray[np.int16]
    """Class of every bundle, an index into ``names``, shape ``(bundles,)``."""
    capacity: Floats
    """Line rate of every whole bundle, one direction [B/s], shape ``(bundles,)``."""
    width: NDArray[np.int32]
    """Parallel physical links in every bundle, shape ``(bundles,)``."""
    accelerators: int
    """Slots, in whole nodes."""
    first: Mapping[str, int]
    """Id of the first bundle of each class; those of a class follow one another."""
    wiring: Wiring
    """The inside of the nodes."""
    network: Network
    """Interfaces and levels between them."""

    def routes(self, sender: ArrayLike, receiver: ArrayLike, *, pxn: bool = False) -> Routes:
        """Return the bundles that a byte of each pair occupies, in the order of the way.

        Inside a node bytes stay on its wiring. Between nodes they leave by the sender's
        interface, climb to the first unit that holds both (one level more where the rails
        differ) and come down. From an accelerator to itself nothing is occupied.

        Parameters
        ----------
        sender, receiver
            Slots, whole numbers of shape ``(pairs,)``; one is repeated for the other's length.
        pxn
            Whether a message to another rail is first handed to the accelerator of the sender's
            node in the receiver's place, so that it leaves on the receiver's rail (NCCL's PXN).

        Raises
        ------
        SimulatorError
            If a slot is not one of the topology's.
        """
        source, target = np.broadcast_arrays(self._slots(sender), self._slots(receiver))
        size = self.wiring.size
        inside = source // size == target // size
        leaving = source
        if pxn:
            rail = self.network.interfaces.rail
            crosses = ~inside & (rail(source) != rail(target))
            leaving = np.where(crosses, source // size * size + target % size, source)
        parts = (
            *self.wiring.within(source, np.where(inside, target, leaving), self.first),
            *self.wiring.to_interface(leaving, ~inside, self.first),
            *self.network.between(leaving, target, ~inside, self.first),
            *self.wiring.from_interface(target, ~inside, self.first),
        )
        return joined(parts, len(source), len(self.klass))

    def by_class(self, bytes_per_bundle: Floats) -> dict[str, float]:
        """Return the bytes on all bundles of each class [B], by the class's name.

        Parameters
        ----------
        bytes_per_bundle
            Bytes on every bundle, shape ``(bundles,)``, as `Routes.load` returns them.
        """
        sums = np.bincount(self.klass, bytes_per_bundle, minlength=len(self.names))
        return dict(zip(self.names, sums.tolist(), strict=True))

    def _slots(self, slots: ArrayLike) -> Integers:
        given = np.atleast_1d(np.asarray(slots))
        if given.size == 0:
            return np.empty(0, dtype=np.int64)
        if given.dtype.kind not in "iu" or given.ndim != 1:
            raise SimulatorError("slots must be whole numbers in one dimension")
        if not 0 <= given.min() <= given.max() < self.accelerators:
            raise SimulatorError(
                f"slots must be 0 to {self.accelerators - 1:,}, got {given.min():,} to "
                f"{given.max():,}"
            )
        return given.astype(np.int64)


def topology_of(cluster: Cluster, accelerators: int | None = None) -> Topology:
    """Return the topology of ``cluster``; remembered for as long as the cluster is in use.

    Parameters
    ----------
    cluster
        Node and fabric.
    accelerators
        Only the first so many, rounded up to whole nodes; all that the cluster joins if not given.

    Raises
    ------
    SimulatorError
        If the cluster joins fewer, or its levels do not nest.
    """
    wanted = cluster.largest if accelerators is None else accelerators
    if not 1 <= wanted <= cluster.largest:
        raise SimulatorError(
            f"{cluster.name} joins 1 to {cluster.largest:,} accelerators, not {wanted:,}"
        )
    nodes = -(-wanted // cluster.node.accelerators)
    return remembered(cluster, ("topology", nodes), lambda: _build(cluster, nodes))


def _build(cluster: Cluster, nodes: int) -> Topology:
    wiring = wiring_of(cluster.node, nodes)
    network = network_of(cluster, nodes * cluster.node.accelerators)
    classes = (*wiring.classes, *network.classes)
    counts = [links.count for links in classes]
    each = [np.broadcast_to(links.capacity, links.count) for links in classes]
    widths = [np.broadcast_to(links.width, links.count) for links in classes]
    names = tuple(links.name for links in classes)
    return Topology(
        names=names,
        klass=np.repeat(np.arange(len(classes), dtype=np.int16), counts),
        capacity=np.concatenate(each).astype(np.float64),
        width=np.concatenate(widths).astype(np.int32),
        accelerators=nodes * cluster.node.accelerators,
        first=dict(zip(names, accumulate(counts, initial=0), strict=False)),
        wiring=wiring,
        network=network,
    )
