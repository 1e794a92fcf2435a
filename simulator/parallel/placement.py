"""Where groups sit on the fabric: nodes, tiers, and how hard they lean on the busiest uplink.

Ranks fill the cluster contiguously: rank r sits in accelerator slot r, node r // node size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from simulator.errors import LayoutError
from simulator.hardware.collectives import GroupSpan
from simulator.operators import Axis
from simulator.parallel.ranks import groups, rank_grid

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from simulator.hardware.cluster import Cluster
    from simulator.parallel.layout import Layout

GRADIENT_AXES = (Axis.DATA, Axis.CONTEXT)
"""Gradients are reduced over all ranks that hold the same weights."""


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


def place(layout: Layout, cluster: Cluster, slots: NDArray[np.int64] | None = None) -> Placement:
    """Return the placement of ``layout`` on slots of ``cluster``.

    Parameters
    ----------
    layout, cluster
        What to place, and where.
    slots
        Slot of each rank, rising, shape ``(ranks,)``; without it slot r holds rank r.
    """
    where = np.arange(layout.ranks) if slots is None else slots
    spans = [span_of(where[pairs], cluster) for pairs in stage_pairs(layout)]

    def placed(*axes: Axis) -> AxisPlacement:
        span, uniform = span_of(where[groups(layout, axes)], cluster)
        return AxisPlacement(axes, span, tier_name(span.tier, cluster), uniform)

    return Placement(
        tensor=placed(Axis.TENSOR),
        context=placed(Axis.CONTEXT),
        gradient=placed(*GRADIENT_AXES),
        model=placed(Axis.TENSOR, Axis.PIPELINE),
        stage_links=tuple(span for span, _ in spans),
        stage_link_names=tuple(tier_name(span.tier, cluster) for span, _ in spans),
    )


def tier_name(tier: int, cluster: Cluster) -> str:
    """Return what a span's ``tier`` crosses: the node's name or a fabric tier's."""
    return cluster.node.name if tier == 0 else cluster.fabric.tiers[tier - 1].name


def span_of(members: NDArray[np.int64], cluster: Cluster) -> tuple[GroupSpan, bool]:
    """Return the widest span of groups of shape ``(groups, ranks)``, and whether all are alike.

    Contention counts the ring edges (between consecutive members) that leave the busiest unit of
    each oversubscribed tier, in NIC rates, over what that unit's uplinks carry; 1 where the
    uplinks suffice. Other traffic on the same uplinks is neglected.
    """
    ranks = members.shape[1]
    nodes = members // cluster.node.accelerators
    per_group = 1 + np.count_nonzero(np.diff(nodes, axis=1), axis=1)
    slots = members % cluster.node.accelerators
    tiers = _tiers_crossed(members, cluster)
    if cluster.fabric.rail_optimised:
        tiers = _across_rails(tiers, slots, per_group, cluster)
    widest = int(np.lexsort((per_group, tiers))[-1])
    tier = int(tiers[widest])
    node_count = int(per_group[widest])
    _, members_per_node = np.unique(nodes[widest], return_counts=True)
    span = GroupSpan(
        ranks=ranks,
        ranks_per_node=int(members_per_node.min()),
        nodes=node_count,
        tier=tier,
        contention=_contention(members, tier, cluster),
        latency=sum(level.latency for level in cluster.fabric.tiers[:tier]),
        rails=len(np.unique(slots[widest])),
    )
    alike = bool(np.all(tiers == tier) and np.all(per_group == node_count))
    return span, alike


def stage_pairs(layout: Layout) -> list[NDArray[np.int64]]:
    """Return, for each stage, the (sender, receiver) pairs to the next stage, shape (n, 2)."""
    grid = rank_grid(layout)
    axis = list(reversed(layout.order)).index(Axis.PIPELINE)
    by_stage = np.moveaxis(grid, axis, 0).reshape(layout.pipeline, -1)
    following = np.roll(by_stage, -1, axis=0)
    pairs = np.sort(np.stack([by_stage, following], axis=-1), axis=-1)
    return list(pairs)


def _tiers_crossed(members: NDArray[np.int64], cluster: Cluster) -> NDArray[np.int64]:
    """Return for each group 0 inside a node, else the innermost tier that holds all members."""
    lowest, highest = members[:, 0], members[:, -1]
    sizes = [cluster.node.accelerators, *(tier.accelerators for tier in cluster.fabric.tiers)]
    inside = np.array([lowest // size == highest // size for size in sizes])
    outermost = len(sizes) - 1
    return np.where(inside.any(axis=0), inside.argmax(axis=0), outermost).astype(np.int64)


def _across_rails(
    tiers: NDArray[np.int64],
    slots: NDArray[np.int64],
    per_group: NDArray[np.int64],
    cluster: Cluster,
) -> NDArray[np.int64]:
    """Return the tiers with one more for groups under one leaf whose members change rails.

    A group keeps to its rails if it uses the same slots in each of its nodes.
    """
    used = 1 + np.count_nonzero(np.diff(np.sort(slots, axis=1), axis=1), axis=1)
    changes = (used * per_group != slots.shape[1]) & (tiers == 1)
    return np.where(changes, min(2, len(cluster.fabric.tiers)), tiers)


def _contention(members: NDArray[np.int64], tier: int, cluster: Cluster) -> float:
    worst = 1.0
    for level in cluster.fabric.tiers[: max(0, tier - 1)]:
        units = members // level.accelerators
        after = np.roll(units, -1, axis=1)
        leaving = np.bincount(units[units != after])
        if leaving.size:
            uplinks = level.accelerators / level.oversubscription
            worst = max(worst, float(leaving.max()) / uplinks)
    return worst
