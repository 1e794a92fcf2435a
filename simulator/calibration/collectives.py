"""Collective costs of a site, fitted to its own curves: profiles out, and how well they fit.

Latencies are fitted with the relative error as the measure, robustly (soft L1). What the measured
groups cannot tell apart stays as in the profile that one starts from: the latency of a hop if all
groups have the same number of hops, and everything but launch latency and bandwidth where fewer
than `FEWEST_SIZES` sizes were measured.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from statistics import median
from typing import TYPE_CHECKING, Final

from simulator.errors import SimulatorError
from simulator.hardware.collective_costs import bus_factor, collective_cost, collective_time
from simulator.hardware.collectives import GroupSpan, TwoLine
from simulator.hardware.node import ScaleUp
from simulator.units import GIGA, KIB, MIB, MICRO

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from simulator.calibration.nccl_tests import Group
    from simulator.hardware.cluster import Cluster
    from simulator.hardware.collectives import CollectiveModel
    from simulator.operators import Collective

    Vector = NDArray[np.float64]

FEWEST_SIZES: Final = 8
"""Sizes of a curve from which on its latencies are fitted."""
SMALL: Final = 1 * KIB
"""Messages up to this size [B] tell the launch latency."""
BANDS: Final = (("<= 64 KiB", 64 * KIB), ("<= 16 MiB", 16 * MIB), ("> 16 MiB", float("inf")))
ROBUST: Final = 0.05
"""Relative error from which on a point counts less."""


@dataclass(frozen=True, slots=True)
class Fit:
    """A site's cluster, and what was fitted."""

    cluster: Cluster
    lines: Mapping[tuple[str, Collective], TwoLine]
    """Fitted or tabulated lines by scope (node, fabric) and collective."""
    launch: Mapping[str, float]
    """Fitted launch latency [s] by scope, where nothing else could be fitted."""
    efficiency: float | None
    """Fitted share of the network's line rate."""


@dataclass(frozen=True, slots=True)
class Quality:
    """Relative errors of one curve, by size band."""

    group: Group
    sizes: int
    median_error: Mapping[str, float]
    worst: float


def fit_site(
    curves: Mapping[Group, Mapping[int, float]], cluster: Cluster, *, tabulate: bool = False
) -> Fit:
    """Return ``cluster`` with collective costs fitted to measured curves.

    Parameters
    ----------
    curves
        Time [s] by message [B] for each group.
    cluster
        Where one starts from: its wiring, interfaces, tiers, and what cannot be fitted.
    tabulate
        Let the measured curves take the place of the fit for the groups measured.

    Raises
    ------
    SimulatorError
        If a group does not fit into the cluster's nodes, or the fitted bandwidth exceeds the wire.
    """
    known = {group: curve for group, curve in curves.items() if group.kind in _fittable(cluster)}
    for group in known:
        _check(group, cluster)
    inside = {group: curve for group, curve in known.items() if group.nodes == 1}
    between = {group: curve for group, curve in known.items() if group.nodes > 1}
    fit = Fit(cluster, {}, {}, None)
    fit = _fitted_scope(fit, "node", inside)
    efficiency = _efficiency(between, fit.cluster)
    if efficiency is not None:
        fabric = replace(fit.cluster.fabric, efficiency=efficiency)
        fit = replace(fit, cluster=replace(fit.cluster, fabric=fabric), efficiency=efficiency)
    fit = _fitted_scope(fit, "fabric", between)
    return _tabulated(fit, known) if tabulate else fit


def quality(curves: Mapping[Group, Mapping[int, float]], cluster: Cluster) -> list[Quality]:
    """Return how far ``cluster`` is off on measured curves, curve by curve."""
    return [_quality(group, curve, cluster) for group, curve in curves.items()]


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


def _fittable(cluster: Cluster) -> frozenset[Collective]:
    """Return the kinds that node and fabric have lines of."""
    lines = cluster.node.collectives.lines.keys() & cluster.fabric.collectives.lines.keys()
    return frozenset(lines)


def _check(group: Group, cluster: Cluster) -> None:
    members = group.ranks // group.nodes
    if members > cluster.node.accelerators:
        raise SimulatorError(
            f"{group}: {members} ranks per node, but {cluster.node.name} has "
            f"{cluster.node.accelerators} accelerators; name another --cluster"
        )
    if group.nodes == 1 and cluster.node.scale_up is ScaleUp.TORUS:
        raise SimulatorError(f"{group}: the links of a torus are not fitted")


def _fitted_scope(fit: Fit, scope: str, curves: Mapping[Group, Mapping[int, float]]) -> Fit:
    """Return ``fit`` with the lines of one scope fitted, and its launch latency otherwise."""
    kinds: defaultdict[Collective, dict[Group, Mapping[int, float]]] = defaultdict(dict)
    for group, curve in curves.items():
        kinds[group.kind][group] = curve
    lines = {
        kind: _line(kind, scope, groups, fit.cluster)
        for kind, groups in kinds.items()
        if max(map(len, groups.values())) >= FEWEST_SIZES
    }
    fit = _with_lines(fit, scope, lines)
    short = {group: curve for group, curve in curves.items() if group.kind not in lines}
    launches = [
        time - collective_time(group.kind, size, span_of(group, fit.cluster), fit.cluster)
        for group, curve in short.items()
        for size, time in curve.items()
        if size <= SMALL
    ]
    return _with_launch(fit, scope, median(launches)) if launches and not lines else fit


def _with_lines(fit: Fit, scope: str, lines: Mapping[Collective, TwoLine]) -> Fit:
    place = fit.cluster.node if scope == "node" else fit.cluster.fabric
    model = replace(place.collectives, lines={**place.collectives.lines, **lines})
    new = {(scope, kind): line for kind, line in lines.items()}
    return replace(fit, cluster=_with_model(fit.cluster, scope, model), lines={**fit.lines, **new})


def _with_launch(fit: Fit, scope: str, launch: float) -> Fit:
    place = fit.cluster.node if scope == "node" else fit.cluster.fabric
    total = place.collectives.launch + launch
    model = replace(place.collectives, launch=total)
    cluster = _with_model(fit.cluster, scope, model)
    return replace(fit, cluster=cluster, launch={**fit.launch, scope: total})


def _with_model(cluster: Cluster, scope: str, model: CollectiveModel) -> Cluster:
    if scope == "node":
        return replace(cluster, node=replace(cluster.node, collectives=model))
    return replace(cluster, fabric=replace(cluster.fabric, collectives=model))


def _efficiency(curves: Mapping[Group, Mapping[int, float]], cluster: Cluster) -> float | None:
    """Return the share of the line rate that the largest messages reach, None without large ones.

    Groups of three nodes and more decide, if there are any: between two, a tree exceeds the wire.
    """
    wide = {group: curve for group, curve in curves.items() if group.nodes > 2}  # noqa: PLR2004
    shares = []
    for group, curve in (wide or curves).items():
        size = max(curve)
        if size <= BANDS[1][1]:
            continue
        cost = collective_cost(group.kind, size, span_of(group, cluster), cluster)
        shares.append(cluster.fabric.efficiency * cost.moving / curve[size])
    if not shares:
        return None
    # What is more than the line rate is not the wire's: a tree between two nodes, bound inside.
    return min(median(shares), 1.0)


def _line(
    kind: Collective, scope: str, groups: Mapping[Group, Mapping[int, float]], cluster: Cluster
) -> TwoLine:
    """Return the line of one collective in one scope, fitted to its curves."""
    import numpy as np  # noqa: PLC0415 - slow to import
    from scipy.optimize import least_squares  # noqa: PLC0415 - slow to import

    place = cluster.node if scope == "node" else cluster.fabric
    base = place.collectives.lines[kind]
    problem = _Problem.of(kind, groups, cluster, base)
    best = None
    for start in problem.starts():
        lower, upper = problem.bounds()
        found = least_squares(
            problem.errors,
            np.clip(start, lower + 1e-6, upper - 1e-6),
            bounds=(lower, upper),
            loss="soft_l1",
            f_scale=ROBUST,
            max_nfev=600,
        )
        best = found if best is None or found.cost < best.cost else best
    return problem.line(best.x) if best is not None else base


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
        groups: Mapping[Group, Mapping[int, float]],
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
        rates = (
            [(n, bus_factor(kind, n) * KIB / _terms_of(kind, n, cluster)) for n in ranks]
            if inside
            else []
        )
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


def _terms_of(kind: Collective, ranks: int, cluster: Cluster) -> float:
    """Return the moving time [s] of a kibibyte inside a node."""
    span = GroupSpan(ranks=ranks, ranks_per_node=ranks, nodes=1, tier=0)
    return collective_cost(kind, KIB, span, cluster).moving


def _probe(group: Group, cluster: Cluster, hop: float) -> float:
    """Return the time [s] of no bytes if a hop took ``hop`` seconds and a start nothing."""
    scope = "node" if group.nodes == 1 else "fabric"
    place = cluster.node if scope == "node" else cluster.fabric
    line = replace(
        place.collectives.lines[group.kind], a0=0.0, a1=hop, b0=0.0, b1=0.0, measured=None
    )
    model = replace(place.collectives, lines={**place.collectives.lines, group.kind: line})
    probed = _with_model(cluster, scope, model)
    return collective_time(group.kind, 0.0, span_of(group, probed), probed)


def _tabulated(fit: Fit, curves: Mapping[Group, Mapping[int, float]]) -> Fit:
    """Return ``fit`` whose lines give the measured times for the groups measured."""
    for group, curve in curves.items():
        scope = "node" if group.nodes == 1 else "fabric"
        whole = group.ranks == group.nodes * fit.cluster.node.accelerators
        if scope == "fabric" and not whole:
            continue
        place = fit.cluster.node if scope == "node" else fit.cluster.fabric
        line = place.collectives.lines[group.kind]
        key = group.ranks if scope == "node" else group.nodes
        measured = {**(line.measured or {}), key: dict(curve)}
        fit = _with_lines(fit, scope, {group.kind: replace(line, measured=measured)})
    return fit


def _quality(group: Group, curve: Mapping[int, float], cluster: Cluster) -> Quality:
    span = span_of(group, cluster)
    errors = {
        size: abs(collective_time(group.kind, size, span, cluster) / time - 1)
        for size, time in curve.items()
    }
    bands: defaultdict[str, list[float]] = defaultdict(list)
    for size, error in errors.items():
        bands[next(name for name, limit in BANDS if size <= limit)].append(error)
    medians = {name: median(values) for name, values in bands.items()}
    return Quality(group, len(curve), medians, max(errors.values()))


def profile_texts(fit: Fit, base: Cluster, name: str, source: str) -> dict[str, str]:
    """Return the profiles of a fitted site as YAML, by path below a profile directory.

    They are based on the profiles of ``base``; ``source`` tells where the curves come from.
    """
    texts = {}
    parts = {"node": base.node.name, "fabric": base.fabric.name}
    for scope, folder in (("node", "nodes"), ("fabric", "fabrics")):
        body = _profile_body(fit, scope, source)
        if body:
            texts[f"{folder}/{name}.yaml"] = f"base: {parts[scope]}\nname: {name}\n{body}"
            parts[scope] = name
    chosen = "".join(f"{scope}: {profile}\n" for scope, profile in parts.items())
    texts[f"clusters/{name}.yaml"] = f"base: {base.name}\nname: {name}\n{chosen}"
    return texts


def _profile_body(fit: Fit, scope: str, source: str) -> str:
    note = f"source: {_quoted(source)}, status: fitted"
    head = ""
    if scope == "fabric" and fit.efficiency is not None:
        head = f"efficiency: {{value: {fit.efficiency:.4g}, {note}}}\n"
    lines = {kind: line for (place, kind), line in fit.lines.items() if place == scope}
    if scope not in fit.launch and not lines:
        return head
    body = head + "collectives:\n"
    if scope in fit.launch:
        body += f"  launch_us: {{value: {fit.launch[scope] / MICRO:.4g}, {note}}}\n"
    if lines:
        body += "  lines:\n"
    for kind, line in lines.items():
        body += f"    {kind}:\n      value:\n{_line_text(line)}"
        body += f"      source: {_quoted(source)}\n      status: fitted\n"
    return body


def _line_text(line: TwoLine) -> str:
    """Return the value of a line as YAML."""
    entries: list[tuple[str, str]] = [
        (f"{name}_us", f"{getattr(line, name) / MICRO:.4g}") for name in ("a0", "a1", "b0", "b1")
    ]
    optional: Sequence[tuple[str, float | None, float]] = (
        ("low", line.low, 1.0),
        ("half_mib", line.half, MIB),
        ("sharpness", line.sharpness, 1.0),
    )
    entries += [(key, f"{value / unit:.4g}") for key, value, unit in optional if value is not None]
    if line.bus_bandwidth:
        table = ", ".join(f"{n}: {rate / GIGA:.4g}" for n, rate in line.bus_bandwidth.items())
        entries.append(("bus_bandwidth_gb_per_s", f"{{{table}}}"))
    if line.algorithm:
        entries.append(("algorithm", line.algorithm))
    text = "".join(f"        {key}: {value}\n" for key, value in entries)
    if line.measured:
        text += "        measured_us:\n"
    for group, curve in (line.measured or {}).items():
        points = ", ".join(f"{size}: {time / MICRO:.4g}" for size, time in curve.items())
        text += f"          {group}: {{{points}}}\n"
    return text


def _quoted(text: str) -> str:
    """Return ``text`` as a YAML string."""
    return '"' + text.replace("\\", "/").replace('"', "'") + '"'
