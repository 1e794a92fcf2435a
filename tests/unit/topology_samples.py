"""Small clusters of every wiring and every kind of network."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from strategies import TOY

from simulator.hardware.fabric import Islands, Tier
from simulator.hardware.node import ScaleUp

if TYPE_CHECKING:
    from simulator.hardware.cluster import Cluster

GBIT = 1e9 / 8
LEAF = Tier(name="leaf", accelerators=16, oversubscription=1.0, latency=0.0)
SPINE = Tier(name="spine", accelerators=32, oversubscription=2.0, latency=1e-6)
CORE = Tier(name="core", accelerators=64, oversubscription=1.0, latency=2e-6)

_NODE = replace(TOY.cluster.node, accelerators=4, nics=4, bandwidth=450e9)
_FABRIC = replace(
    TOY.cluster.fabric,
    nic=400 * GBIT,
    rail_optimised=False,
    tiers=(LEAF, SPINE, CORE),
)
CLOS: Cluster = replace(TOY.cluster, name="clos", node=_NODE, fabric=_FABRIC, largest=64)
"""Sixteen nodes of four on NVSwitch, leaves of 16, spines of 32 (2:1), one core."""

RAILS = replace(CLOS, name="rails", fabric=replace(_FABRIC, rail_optimised=True))
TWO_RAILS = replace(CLOS, name="two rails", fabric=replace(RAILS.fabric, rails=2))
PLANES = replace(CLOS, name="planes", fabric=replace(RAILS.fabric, planes=2))
SHARED = replace(CLOS, name="shared interfaces", node=replace(_NODE, nics=2))
SEVERAL = replace(CLOS, name="several interfaces", node=replace(_NODE, nics=8))
MESH = replace(CLOS, name="mesh", node=replace(_NODE, scale_up=ScaleUp.MESH, bandwidth=192e9))
HOST = replace(
    CLOS,
    name="host",
    node=replace(_NODE, scale_up=ScaleUp.PCIE, bandwidth=32e9, host_bridge=45e9, nics=1),
)
ISLANDS = replace(
    CLOS,
    name="islands",
    fabric=replace(_FABRIC, islands=Islands(accelerators=32, link=100 * GBIT, latency=20e-3)),
)
ONE_SWITCH = replace(
    CLOS, name="one switch", fabric=replace(_FABRIC, tiers=(CORE,), rail_optimised=True)
)


def torus(*shape: int, wrapped: bool, pods: int = 2) -> Cluster:
    """Return ``pods`` tori of that shape under one switch, an interface for every two chips."""
    size = 1
    for extent in shape:
        size *= extent
    node = replace(
        _NODE,
        accelerators=size,
        scale_up=ScaleUp.TORUS,
        torus=shape,
        wrapped=wrapped,
        bandwidth=2 * len(shape) * 50e9,
        nics=max(1, size // 2),
    )
    tier = replace(CORE, accelerators=size * pods)
    fabric = replace(_FABRIC, tiers=(tier,))
    name = f"{'torus' if wrapped else 'grid'} {shape}"
    return replace(CLOS, name=name, node=node, fabric=fabric, largest=size * pods)


BOXES = (CLOS, RAILS, TWO_RAILS, PLANES, SHARED, SEVERAL, MESH, HOST, ISLANDS, ONE_SWITCH)
"""Clusters whose accelerators send what they send over links of their own."""
SMALL = (
    *BOXES,
    *(torus(4, 4, wrapped=True), torus(4, 4, wrapped=False), torus(2, 3, 4, wrapped=True)),
    *(torus(5, wrapped=True), torus(2, 2, 2, wrapped=False)),
)
