"""Fit of one collective's line, inside nodes or between them, to the curves of its groups.

Latencies are fitted with the relative error as the measure, robustly (soft L1).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, TypeVar

from simulator.hardware.cluster import Cluster, Site
from simulator.hardware.collective_costs import bus_factor, collective_cost, collective_time
from simulator.hardware.collectives import CollectiveLine, GroupSpan
from simulator.units import KIB, MICRO

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from simulator.calibration.nccl_tests import Group
    from simulator.hardware.collectives import CollectiveModel
    from simulator.operators import Collective

    Curve = Mapping[int, float]
    """Time [s] by message [B]."""
    Curves = Mapping[Group, Curve]
    Vector = NDArray[np.float64]

ROBUST: Final = 0.02
"""Relative error from which on a point counts less."""
FEWEST_FOR_THREE: Final = 12
"""Sizes from which on three lines are fitted."""

Place = TypeVar("Place", Cluster, Site)


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


def scope_of(group: Group | GroupSpan) -> str:
    """Return whose lines a group's costs come from: the node's or the fabric's."""
    return "node" if group.nodes == 1 else "fabric"


def costs(cluster: Cluster | Site, scope: str) -> CollectiveModel:
    """Return the collective costs of the cluster's node or fabric."""
    return cluster.node.collectives if scope == "node" else cluster.fabric.collectives


def with_costs(cluster: Place, scope: str, model: CollectiveModel) -> Place:
    """Return the cluster with these collective costs of its node or fabric."""
    if scope == "node":
        return replace(cluster, node=replace(cluster.node, collectives=model))
    return replace(cluster, fabric=replace(cluster.fabric, collectives=model))


def with_lines(cluster: Place, scope: str, lines: Mapping[Collective, CollectiveLine]) -> Place:
    """Return the cluster with these lines of its node or fabric beside those of other kinds."""
    model = costs(cluster, scope)
    return with_costs(cluster, scope, replace(model, lines={**model.lines, **lines}))


@dataclass(frozen=True, slots=True)
class Measurement:
    """One measured collective, and where it ran."""

    span: GroupSpan
    n_bytes: float
    """Message [B]."""
    time: float
    """Measured [s]."""
    site: Site


def fitted_line(kind: Collective, groups: Curves, cluster: Cluster) -> CollectiveLine:
    """Return the line of one collective, fitted to curves of groups of one scope."""
    site = Site(cluster.node, cluster.fabric)
    base = costs(cluster, scope_of(next(iter(groups)))).lines[kind]
    return fit_measurements(
        kind,
        base,
        [
            Measurement(span_of(group, cluster), size, time, site)
            for group, curve in groups.items()
            for size, time in curve.items()
        ],
    )


def fit_measurements(
    kind: Collective,
    base: CollectiveLine,
    measurements: Sequence[Measurement],
    *,
    keep_hops: bool = False,
) -> CollectiveLine:
    """Return the line of one collective that passes best through measurements of one scope.

    ``base`` says whether lines or a ramp are fitted, and keeps what the measured groups cannot
    tell; with ``keep_hops``, all latencies by the hop. Lines are three where the base has three,
    or where `FEWEST_FOR_THREE` sizes were measured.
    """
    import numpy as np  # noqa: PLC0415 - slow to import
    from scipy.optimize import least_squares  # noqa: PLC0415 - slow to import

    problem = _Problem.of(kind, base, measurements, keep_hops=keep_hops)
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


_COMMON: Final = ("a0", "a1", "b0", "b1")
_BETWEEN: Final = ("c0", "c1", "middle")
_BOUNDS: Final[Mapping[str, tuple[float, float]]] = MappingProxyType(
    {
        "a0": (1e-8, 2e-3),
        "a1": (1e-8, 3e-4),
        "b0": (1e-8, 2e-2),
        "b1": (1e-8, 3e-3),
        "low": (0.02, 300.0),
        "c0": (1e-8, 1e-2),
        "c1": (1e-8, 3e-4),
        "middle": (0.01, 20.0),
        "half": (2e4, 4e9),
        "sharpness": (0.3, 2.0),
    }
)
"""Least and largest value of every unknown, in SI."""
_SCALE: Final = (0.2, 5.0)
"""Least and largest factor on the time of the bytes, for each group size."""


@dataclass(frozen=True, slots=True)
class _Problem:
    """Points of one collective in one scope, and the line that is to pass through them.

    Unknowns are logarithms: those `names`, then the bandwidth by group size where the base
    tabulates it. Latencies by the hop are the base's if one number of hops was measured.
    """

    base: CollectiveLine
    names: tuple[str, ...]
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

    @classmethod
    def of(
        cls,
        kind: Collective,
        base: CollectiveLine,
        measurements: Sequence[Measurement],
        *,
        keep_hops: bool,
    ) -> _Problem:
        """Return the problem of fitting the base line to measurements."""
        import numpy as np  # noqa: PLC0415 - slow to import

        ranks = sorted({one.span.ranks for one in measurements})
        points = [
            (one.n_bytes, one.time, *_terms(kind, one), ranks.index(one.span.ranks))
            for one in measurements
        ]
        sizes, times, moving, hops, offset, index = (
            np.array(column, dtype=float) for column in zip(*points, strict=True)
        )
        inside = base.bus_bandwidth is not None
        rates = [(n, _bus_bandwidth(kind, n, measurements[0].site)) for n in ranks if inside]
        several = len(set(hops)) > 1 and not keep_hops
        names = _unknowns(base, several=several, sizes=len(set(sizes)))
        return cls(base, names, sizes, times, moving, hops, offset, index.astype(int), tuple(rates))

    def starts(self) -> list[Vector]:
        """Return the points from which the search begins."""
        floor = max(float(self.times.min() - self.offset.min()), MICRO)
        common = {"a0": 0.7 * floor, "a1": 1e-6, "b1": 2e-6, "c1": 5e-7, "middle": 0.3}
        shapes = [
            {"low": low, "half": half, "sharpness": 0.7}
            for low, half in ((1.0, 3e5), (8.0, 5e6), (50.0, 5e7))
        ]
        return [
            self._vector({**common, **shape, "b0": b0, "c0": b0 / 4})
            for shape in shapes
            for b0 in (1e-5, 1e-4)
        ]

    def _vector(self, start: Mapping[str, float]) -> Vector:
        import numpy as np  # noqa: PLC0415 - slow to import

        values = [start[name] for name in self.names]
        return np.log([*values, *[1.0] * len(self.bandwidths)])

    def bounds(self) -> tuple[Vector, Vector]:
        """Return the least and the largest value of every unknown."""
        import numpy as np  # noqa: PLC0415 - slow to import

        limits = [_BOUNDS[name] for name in self.names] + [_SCALE] * len(self.bandwidths)
        least, most = zip(*limits, strict=True)
        return np.log(least), np.log(most)

    def errors(self, unknowns: Vector) -> Vector:
        """Return the logarithms of modelled over measured times."""
        import numpy as np  # noqa: PLC0415 - slow to import

        line = self._values(unknowns)
        moving = self.moving * self._scale(unknowns)
        steady = line["b0"] + line["b1"] * self.hops
        if "half" in line:
            phased = (self.sizes / line["half"]) ** line["sharpness"]
            more = steady * phased / (1 + phased) + moving
        else:
            more = np.minimum((1 + line["low"]) * moving, steady + moving)
        if "middle" in line:
            between = line["c0"] + line["c1"] * self.hops + (1 + line["middle"]) * moving
            more = np.minimum(more, between)
        modelled: Vector = self.offset + line["a0"] + line["a1"] * self.hops + more
        return np.log(modelled / self.times)

    def _values(self, unknowns: Vector) -> dict[str, float]:
        """Return the constants of the line: what is fitted, and what the base keeps."""
        import numpy as np  # noqa: PLC0415 - slow to import

        fitted = dict(zip(self.names, map(float, np.exp(unknowns)), strict=False))
        kept = {"a1": self.base.a1, "b1": self.base.b1}
        if "middle" in fitted:
            kept["c1"] = self.base.c1 or 0.0
        return {**kept, **fitted}

    def _scale(self, unknowns: Vector) -> Vector | float:
        """Return the factor on the time of each point's bytes."""
        import numpy as np  # noqa: PLC0415 - slow to import

        if not self.bandwidths:
            return 1.0
        scale: Vector = np.exp(unknowns[len(self.names) :])[self.group]
        return scale

    def line(self, unknowns: Vector) -> CollectiveLine:
        """Return the line of these unknowns."""
        import numpy as np  # noqa: PLC0415 - slow to import

        # The shape is the fit's alone: what the base has of another one is dropped.
        values = self._values(unknowns)
        new = CollectiveLine(
            a0=values["a0"],
            a1=values["a1"],
            b0=values["b0"],
            b1=values["b1"],
            low=values.get("low"),
            c0=values.get("c0"),
            c1=values.get("c1"),
            middle=values.get("middle"),
            half=values.get("half"),
            sharpness=values.get("sharpness"),
            bus_bandwidth=self.base.bus_bandwidth,
            algorithm=self.base.algorithm,
        )
        if not self.bandwidths:
            return new
        scales = np.exp(unknowns[len(self.names) :])
        table = {
            ranks: rate / float(scale)
            for (ranks, rate), scale in zip(self.bandwidths, scales, strict=True)
        }
        return replace(new, bus_bandwidth={**(self.base.bus_bandwidth or {}), **table})


def _unknowns(base: CollectiveLine, *, several: bool, sizes: int) -> tuple[str, ...]:
    """Return the constants to fit; those by the hop if groups differ in their hops."""
    shape: tuple[str, ...] = ("low",)
    if base.low is None:
        shape = ("half", "sharpness")
    elif base.middle is not None or sizes >= FEWEST_FOR_THREE:
        shape = ("low", *_BETWEEN)
    by_hop = ("a1", "b1", "c1")
    return tuple(name for name in (*_COMMON, *shape) if several or name not in by_hop)


def _terms(kind: Collective, one: Measurement) -> tuple[float, float, float]:
    """Return moving time [s], hops and the other scope's latency [s] of a point.

    Hops and latency are read off by pricing nothing at all with one second for each hop.
    """
    moving = collective_cost(kind, one.n_bytes, one.span, one.site).moving
    none = _probe(kind, one, 0.0)
    return moving, _probe(kind, one, 1.0) - none, none


def _bus_bandwidth(kind: Collective, ranks: int, site: Site) -> float:
    """Return the bus bandwidth [B/s] at which bytes move inside a node."""
    span = GroupSpan(ranks=ranks, ranks_per_node=ranks, nodes=1, tier=0)
    return bus_factor(kind, ranks) * KIB / collective_cost(kind, KIB, span, site).moving


def _probe(kind: Collective, one: Measurement, hop: float) -> float:
    """Return the time [s] of no bytes if a hop took ``hop`` seconds and a start nothing."""
    scope = scope_of(one.span)
    base = costs(one.site, scope).lines[kind]
    line = replace(base, a0=0.0, a1=hop, b0=0.0, b1=0.0, measured=None)
    return collective_time(kind, 0.0, one.span, with_lines(one.site, scope, {kind: line}))
