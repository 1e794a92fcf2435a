"""Where groups sit on the fabric: nodes, tiers, and how hard they lean on the busiest uplink.

Slots are numbered node by node: slot s is in node ``s // node size``. Which slot a rank sits in is
`simulator.parallel.slots`' affair; everything here follows from the slots of a group's members.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING

import numpy as np

from simulator.errors import LayoutError
from simulator.hardware.collectives import GroupSpan
from simulator.hardware.interfaces import interfaces_of
from simulator.hardware.levels import levels_of
from simulator.hardware.memo import remembered
from simulator.operators import Axis
from simulator.parallel.ranks import groups, rank_grid
from simulator.parallel.slots import CONTIGUOUS, slots_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from simulator.hardware.cluster import Cluster
    from simulator.hardware.levels import Level
    from simulator.hardware.routes import Integers
    from simulator.parallel.layout import Layout
    from simulator.parallel.slots import Allocation

GRADIENT_AXES = (Axis.DATA, Axis.CONTEXT)
"""Gradients are reduced over all ranks that hold the same weights."""
MODEL_AXES = (Axis.TENSOR, Axis.PIPELINE)
GROUPED = ((Axis.TENSOR,), (Axis.CONTEXT,), GRADIENT_AXES, MODEL_AXES)
"""Axes along which there are groups, in the order of `Placement`."""


@dataclass(frozen=True, slots=True)
class AxisPlacement:
    """All groups of one axis on the cluster."""

    axes: tuple[Axis, ...]
    span: GroupSpan
    """The widest span of any group: collectives of the axis are priced with it."""
    crosses: str
    """Name of the outermost thing that a group crosses: the node or a fabric tier."""
    uniform: bool
    """Whether all groups of the axis span alike."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Where every kind of communication of a layout happens."""

    tensor: AxisPlacement
    context: AxisPlacement
    gradient: AxisPlacement
    model: AxisPlacement
    """All ranks of one replica: the gradient norm is summed over them."""
    stage_links: tuple[GroupSpan, ...]
    """Span of the transfer from stage s to stage (s + 1) mod p, the worst over replicas."""
    stage_link_names: tuple[str, ...]
    slots: Integers = field(repr=False, compare=False)
    """Slot of every rank, shape ``(ranks,)``."""

    @property
    def collectives(self) -> dict[Axis, GroupSpan]:
        """Span by the axis that a `Communication` names."""
        return {
            Axis.TENSOR: self.tensor.span,
            Axis.CONTEXT: self.context.span,
            Axis.DATA: self.gradient.span,
        }

    def link(self, sender: int, receiver: int) -> GroupSpan:
        """Return the span of a transfer between two neighbouring stages.

        Raises
        ------
        LayoutError
            If the stages are not neighbours on the ring of stages.
        """
        stages = len(self.stage_links)
        if receiver == (sender + 1) % stages:
            return self.stage_links[sender]
        if sender == (receiver + 1) % stages:
            return self.stage_links[receiver]
        raise LayoutError(f"stages {sender} and {receiver} exchange data but are not neighbours")


def place(layout: Layout, cluster: Cluster, allocation: Allocation = CONTIGUOUS) -> Placement:
    """Return the placement of ``layout`` on the slots of ``cluster`` that it is given.

    Raises
    ------
    LayoutError
        If the cluster has too few nodes left.
    """
    slots = slots_of(allocation, layout.ranks, cluster)
    links = _links(layout, cluster, allocation, slots)
    tensor, context, gradient, model = (
        _axis_placement(axes, layout, cluster, allocation, slots) for axes in GROUPED
    )
    return Placement(
        tensor=tensor,
        context=context,
        gradient=gradient,
        model=model,
        stage_links=links,
        stage_link_names=tuple(tier_name(span.tier, cluster) for span in links),
        slots=slots,
    )


def tier_name(tier: int, cluster: Cluster) -> str:
    """Return what a span's ``tier`` crosses: the name of the node, of a tier or the wide area's."""
    return cluster.node.name if tier == 0 else levels_of(cluster)[tier - 1].name


def span_of(members: Integers, cluster: Cluster) -> tuple[GroupSpan, bool]:
    """Return the widest span of groups, and whether all are alike.

    Contention counts the ring edges (between consecutive members) that leave the busiest unit of
    each level, in shares of the interfaces, over what that unit's uplinks carry; 1 where the
    uplinks suffice. Units of the first tier of a rail-optimised fabric are its rails' switches.
    Other traffic on the same uplinks is neglected.

    Parameters
    ----------
    members
        Slots of the groups' members in the order of their ring, shape ``(groups, ranks)``.
    cluster
        Node and fabric.
    """
    levels, interfaces = levels_of(cluster), interfaces_of(cluster)
    nodes = members // cluster.node.accelerators
    per_group = _distinct(nodes)
    tiers = _tiers_crossed(members, levels, cluster)
    if interfaces.rails > 1 and np.any(tiers == 1):
        tiers = _across_rails(tiers, interfaces.rail(members), nodes)
    widest = int(np.lexsort((per_group, tiers))[-1])
    tier = int(tiers[widest])
    _, members_per_node = np.unique(nodes[widest], return_counts=True)
    span = GroupSpan(
        ranks=members.shape[1],
        ranks_per_node=int(members_per_node.min()),
        nodes=int(per_group[widest]),
        tier=tier,
        contention=_contention(members, tier, cluster),
        latency=sum(level.latency for level in levels[:tier]),
        rails=len(np.unique(members[widest] % cluster.node.accelerators)),
    )
    alike = bool(np.all(tiers == tier) and np.all(per_group == span.nodes))
    return span, alike


def _axis_placement(
    axes: tuple[Axis, ...],
    layout: Layout,
    cluster: Cluster,
    allocation: Allocation,
    slots: Integers,
) -> AxisPlacement:
    span, uniform = remembered(
        cluster,
        ("span of groups", _nesting(layout, axes), allocation),
        lambda: span_of(slots[groups(layout, axes)], cluster),
    )
    return AxisPlacement(
        axes=axes, span=span, crosses=tier_name(span.tier, cluster), uniform=uniform
    )


def _links(
    layout: Layout, cluster: Cluster, allocation: Allocation, slots: Integers
) -> tuple[GroupSpan, ...]:
    """Return the span of the transfer from each stage to the next."""
    return remembered(
        cluster,
        ("spans of links", _nesting(layout, (Axis.PIPELINE,)), allocation),
        lambda: tuple(span_of(slots[pairs], cluster)[0] for pairs in stage_pairs(layout)),
    )


def _nesting(layout: Layout, axes: Sequence[Axis]) -> tuple[tuple[bool, int], ...]:
    """Return, outermost first, the degrees of runs of axes that are of ``axes``, or are not.

    Layouts nested alike have the same groups along ``axes``: the others only have other names.
    """
    degrees = ((axis in axes, size) for axis, size in layout.degrees.items() if size > 1)
    runs = groupby(reversed(list(degrees)), key=itemgetter(0))
    return tuple((inside, math.prod(size for _, size in run)) for inside, run in runs)


def stage_pairs(layout: Layout) -> list[Integers]:
    """Return, for each stage, the ranks that hand over to the next stage, shape ``(pairs, 2)``."""
    grid = rank_grid(layout)
    axis = list(reversed(layout.order)).index(Axis.PIPELINE)
    by_stage = np.moveaxis(grid, axis, 0).reshape(layout.pipeline, -1)
    following = np.roll(by_stage, -1, axis=0)
    return list(np.stack([by_stage, following], axis=-1))


def _distinct(numbers: Integers) -> Integers:
    """Return how many different numbers each row holds."""
    steps = np.diff(numbers, axis=1)
    if steps.size and steps.min() < 0:
        steps = np.diff(np.sort(numbers, axis=1), axis=1)
    return np.asarray(1 + np.count_nonzero(steps, axis=1))


def _tiers_crossed(members: Integers, levels: Sequence[Level], cluster: Cluster) -> Integers:
    """Return for each group 0 inside a node, else the innermost level that holds all members."""
    lowest, highest = members.min(axis=1), members.max(axis=1)
    sizes = [cluster.node.accelerators, *(level.accelerators for level in levels)]
    inside = np.array([lowest // size == highest // size for size in sizes])
    return np.where(inside.any(axis=0), inside.argmax(axis=0), len(levels)).astype(np.int64)


def _across_rails(tiers: Integers, rails: Integers, nodes: Integers) -> Integers:
    """Return the tiers with one more for groups under one leaf whose members change rails.

    A group keeps to its rails if it uses the same ones in each of its nodes.
    """
    ports = _distinct(nodes * (1 + int(rails.max())) + rails)
    changes = (ports != _distinct(nodes) * _distinct(rails)) & (tiers == 1)
    return np.where(changes, 2, tiers)


def _contention(members: Integers, tier: int, cluster: Cluster) -> float:
    """Return how many times over the busiest uplinks are asked for, at least 1."""
    worst = 1.0
    if tier <= 1:
        return worst  # nothing leaves a unit upwards
    interfaces = interfaces_of(cluster)
    sender, receiver = network_edges(members, cluster.node.accelerators)
    for depth, level in enumerate(levels_of(cluster)[: tier - 1]):
        below, after = (interfaces.switch(slots, level, depth) for slots in (sender, receiver))
        leaving = np.bincount(below[below != after])
        if leaving.size:
            uplinks = level.uplink / interfaces.rails_at(depth) / cluster.nic_bandwidth
            worst = max(worst, float(leaving.max()) / uplinks)
    return worst


def network_edges(members: Integers, size: int) -> tuple[Integers, Integers]:
    """Return sender and receiver of the ring edges that leave a node of ``size``.

    As many rings run as members share a node, each through an interface of its own: member i of
    a node sends to member i of the next. Groups spread unevenly run one, in their order.
    """
    ranks = members.shape[1]
    nodes = members // size
    together = int(np.count_nonzero(nodes == nodes[:, :1], axis=1).max())
    rings = nodes.reshape(len(nodes), -1, together) if ranks % together == 0 else None
    even = rings is not None and bool(np.all(rings == rings[..., :1]))
    after = np.roll(members, -together if even else -1, axis=1)
    leaves = nodes != after // size
    return members[leaves], after[leaves]
