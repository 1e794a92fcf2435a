"""A cluster: nodes of one kind joined by a fabric."""

from __future__ import annotations

from dataclasses import dataclass

from simulator.fields import Count, Text, record
from simulator.hardware.accelerator import Accelerator
from simulator.hardware.fabric import Fabric
from simulator.hardware.node import Node
from simulator.hardware.price import Price


@dataclass(frozen=True, slots=True)
class Site:
    """A node and a fabric: all that collectives need of a cluster."""

    node: Node
    fabric: Fabric

    @property
    def nic_bandwidth(self) -> float:
        """Network line rate of one accelerator [B/s]: its share of the node's interfaces."""
        return self.fabric.nic * self.node.nics / self.node.accelerators


@record
class Cluster:
    """A cluster profile (``hardware_profiles/clusters/*.yaml``) with its parts resolved."""

    name: Text
    accelerator: Accelerator
    node: Node
    fabric: Fabric
    largest: Count
    """Most accelerators that the fabric joins."""
    price: Price | None = None
    """What it costs; none where nothing is published."""

    @property
    def nic_bandwidth(self) -> float:
        """Network line rate of one accelerator [B/s]."""
        return Site(self.node, self.fabric).nic_bandwidth
