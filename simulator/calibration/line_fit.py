"""Fit of one collective's line, inside nodes or between them, to the curves of its groups.

Latencies are fitted with the relative error as the measure, robustly (soft L1).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from simulator.hardware.collective_costs import bus_factor, collective_cost, collective_time
from simulator.hardware.collectives import GroupSpan
from simulator.units import KIB, MICRO

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from simulator.calibration.nccl_tests import Group
    from simulator.hardware.cluster import Cluster
    from simulator.hardware.collectives import CollectiveModel, TwoLine
    from simulator.operators import Collective

    Curve = Mapping[int, float]
    """Time [s] by message [B]."""
    Curves = Mapping[Group, Curve]
    Vector = NDArray[np.float64]

ROBUST: Final = 0.05
"""Relative error from which on a point counts less."""


def span_of(group: Group, cluster: Cluster) -> GroupSpan:
    """Return where the ranks of a measured group sit, under the innermost tier that holds them."""
    ranks_per_node = group.ranks // group.nodes
    slots = group.nodes * cluster.node.accelerators
    tiers = enumerate(cluster.fabric.tiers, start=1)
    tier = next((n for n, tier in tiers if tier.accelerators >= slots), len(cluster.fabric.tiers))
    return GroupSpan(
        ranks=group.ranks,
        ranks_per_node=ranks_per_node,
        nodes=group.nodes,
        tier=tier if group.nodes > 1 else 0,
        rails=ranks_per_node,
    )


def scope_of(group: Group) -> str:
    """Return whose lines a group's costs come from: the node's or the fabric's."""
    return "node" if group.nodes == 1 else "fabric"


def costs(cluster: Cluster, scope: str) -> CollectiveModel:
    """Return the collective costs of the cluster's node or fabric."""
    return cluster.node.collectives if scope == "node" else cluster.fabric.collectives


def with_costs(cluster: Cluster, scope: str, model: CollectiveModel) -> Cluster:
    """Return the cluster with these collective costs of its node or fabric."""
    if scope == "node":
        return replace(cluster, node=replace(cluster.node, collectives=model))
    return replace(cluster, fabric=replace(cluster.fabric, collectives=model))


def fitted_line(kind: Collective, groups: Curves, cluster: Cluster) -> TwoLine:
    """Return the line of one collective, fitted to curves of groups of one scope."""
    import numpy as np  # noqa: PLC0415 - slow to import
    from scipy.optimize import least_squares  # noqa: PLC0415 - slow to import

    scope = scope_of(next(iter(groups)))
    problem = _Problem.of(kind, groups, cluster, costs(cluster, scope).lines[kind])
    lower, upper = problem.bounds()
    found = [
        least_squares(
            problem.errors,
            np.clip(start, lower + 1e-6, upper - 1e-6),
            bounds=(lower, upper),
            loss="soft_l1",
            f_scale=ROBUST,
            max_nfev=600,
        )
        for start in problem.starts()
    ]
    return problem.line(min(found, key=lambda one: one.cost).x)


@dataclass(frozen=True, slots=True)
class _Problem:
    """Points of one collective in one scope, and the line that is to pass through them.

    Unknowns are logarithms: a0, a1, b0, b1, one or two of shape, and the bandwidth by group size
    where the base tabulates it. a1 and b1 are the base's if one number of hops was measured.
    """

    base: TwoLine
    sizes: Vector
    times: Vector
    moving: Vector
    """Seconds that the bytes take at the base's bandwidth."""
    hops: Vector
    offset: Vector
    """Latency that hops of the other scope bring [s]."""
    group: NDArray[np.intp]
    """Index of the point's group size."""
    bandwidths: tuple[tuple[int, float], ...]
    """Group size and bandwidth [B/s] that ``moving`` was computed with; empty between nodes."""
    several: bool
    """Whether groups differ in their hops."""

    @classmethod
    def of(
        cls,
        kind: Collective,
        groups: Curves,
        cluster: Cluster,
        base: TwoLine,
    ) -> _Problem:
        """Return the problem of fitting ``base`` to the curves of ``groups``."""
        import numpy as np  # noqa: PLC0415 - slow to import

        ranks = sorted({group.ranks for group in groups})
        points = [
            (size, time, *_terms(group, size, cluster), ranks.index(group.ranks))
            for group, curve in groups.items()
            for size, time in curve.items()
        ]
        sizes, times, moving, hops, offset, index = (
            np.array(column, dtype=float) for column in zip(*points, strict=True)
        )
        inside = base.bus_bandwidth is not None
        rates = [(n, _bus_bandwidth(kind, n, cluster)) for n in ranks] if inside else []
        return cls(
            base,
            sizes,
            times,
            moving,
            hops,
            offset,
            index.astype(int),
            tuple(rates),
            len(set(hops)) > 1,
        )

    @property
    def is_ramp(self) -> bool:
        """Whether the base is a ramp."""
        return self.base.low is None

    def starts(self) -> list[Vector]:
        """Return the points from which the search begins."""
        import numpy as np  # noqa: PLC0415 - slow to import

        floor = max(float(self.times.min() - self.offset.min()), MICRO)
        shapes = [[3e5, 0.7], [5e6, 0.7], [5e7, 0.7]] if self.is_ramp else [[1.0], [8.0]]
        return [
            np.log([0.7 * floor, 1e-6, b0, 2e-6, *shape, *[1.0] * len(self.bandwidths)])
            for shape in shapes
            for b0 in (1e-5, 1e-4)
        ]

    def bounds(self) -> tuple[Vector, Vector]:
        """Return the least and the largest value of every unknown."""
        import numpy as np  # noqa: PLC0415 - slow to import

        shape = ([2e4, 0.3], [4e9, 2.0]) if self.is_ramp else ([0.02], [300.0])
        least = [1e-8, 1e-8, 1e-8, 1e-8, *shape[0], *[0.2] * len(self.bandwidths)]
        most = [2e-3, 3e-4, 2e-2, 3e-3, *shape[1], *[5.0] * len(self.bandwidths)]
        return np.log(least), np.log(most)

    def errors(self, unknowns: Vector) -> Vector:
        """Return the logarithms of modelled over measured times."""
        import numpy as np  # noqa: PLC0415 - slow to import

        a0, a1, b0, b1, shape, scale = self._parts(unknowns)
        moving = self.moving * scale
        steady = b0 + b1 * self.hops
        if self.is_ramp:
            phased = (self.sizes / shape[0]) ** shape[1]
            more = steady * phased / (1 + phased) + moving
        else:
            more = np.minimum((1 + shape[0]) * moving, steady + moving)
        modelled: Vector = self.offset + a0 + a1 * self.hops + more
        return np.log(modelled / self.times)

    def _parts(self, unknowns: Vector) -> tuple[float, float, float, float, Vector, Vector | float]:
        import numpy as np  # noqa: PLC0415 - slow to import

        values = np.exp(unknowns)
        a0, a1, b0, b1 = map(float, values[:4])
        if not self.several:
            a1, b1 = self.base.a1, self.base.b1
        cut = 6 if self.is_ramp else 5
        scale = values[cut:][self.group] if self.bandwidths else 1.0
        return a0, a1, b0, b1, values[4:cut], scale

    def line(self, unknowns: Vector) -> TwoLine:
        """Return the line of these unknowns."""
        import numpy as np  # noqa: PLC0415 - slow to import

        a0, a1, b0, b1, shape, _ = self._parts(unknowns)
        new = replace(self.base, a0=a0, a1=a1, b0=b0, b1=b1, measured=None)
        if self.is_ramp:
            new = replace(new, half=float(shape[0]), sharpness=float(shape[1]))
        else:
            new = replace(new, low=float(shape[0]))
        if not self.bandwidths:
            return new
        scales = np.exp(unknowns[-len(self.bandwidths) :])
        table = {
            ranks: rate / float(scale)
            for (ranks, rate), scale in zip(self.bandwidths, scales, strict=True)
        }
        return replace(new, bus_bandwidth={**(self.base.bus_bandwidth or {}), **table})


def _terms(group: Group, size: float, cluster: Cluster) -> tuple[float, float, float]:
    """Return moving time [s], hops and the other scope's latency [s] of a point.

    Hops and latency are read off by pricing nothing at all with one second for each hop.
    """
    span = span_of(group, cluster)
    moving = collective_cost(group.kind, size, span, cluster).moving
    none, one = (_probe(group, cluster, hop) for hop in (0.0, 1.0))
    return moving, one - none, none


def _bus_bandwidth(kind: Collective, ranks: int, cluster: Cluster) -> float:
    """Return the bus bandwidth [B/s] at which bytes move inside a node."""
    span = GroupSpan(ranks=ranks, ranks_per_node=ranks, nodes=1, tier=0)
    return bus_factor(kind, ranks) * KIB / collective_cost(kind, KIB, span, cluster).moving


def _probe(group: Group, cluster: Cluster, hop: float) -> float:
    """Return the time [s] of no bytes if a hop took ``hop`` seconds and a start nothing."""
    scope = scope_of(group)
    model = costs(cluster, scope)
    line = replace(model.lines[group.kind], a0=0.0, a1=hop, b0=0.0, b1=0.0, measured=None)
    model = replace(model, lines={**model.lines, group.kind: line})
    probed = with_costs(cluster, scope, model)
    return collective_time(group.kind, 0.0, span_of(group, probed), probed)
