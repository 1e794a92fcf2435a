"""Collective costs of a site, fitted to its own curves, and how well they fit.

What the measured groups cannot tell apart stays as in the profile that one starts from: the latency
of a hop if all groups have the same number of hops, and everything but launch latency and bandwidth
where fewer than `FEWEST_SIZES` sizes were measured.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from statistics import median
from typing import TYPE_CHECKING, Final

from simulator.calibration.line_fit import (
    costs,
    fitted_line,
    scope_of,
    span_of,
    with_costs,
    with_lines,
)
from simulator.errors import SimulatorError
from simulator.hardware.collective_costs import collective_cost, collective_time
from simulator.hardware.collective_tables import MEDIUM, band
from simulator.hardware.node import ScaleUp
from simulator.units import KIB

if TYPE_CHECKING:
    from collections.abc import Mapping

    from simulator.calibration.line_fit import Curve, Curves
    from simulator.calibration.nccl_tests import Group
    from simulator.hardware.cluster import Cluster
    from simulator.hardware.collectives import CollectiveLine
    from simulator.operators import Collective

FEWEST_SIZES: Final = 8
"""Sizes of a curve from which on its latencies are fitted."""
SMALL: Final = 1 * KIB
"""Messages up to this size [B] tell the launch latency."""


@dataclass(frozen=True, slots=True)
class Fit:
    """A site's cluster, and what was fitted."""

    cluster: Cluster
    lines: Mapping[tuple[str, Collective], CollectiveLine]
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


def fit_site(curves: Curves, cluster: Cluster, *, tabulate: bool = False) -> Fit:
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
        If a group does not fit into the cluster's nodes, or these are wired as a torus.
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


def quality(curves: Curves, cluster: Cluster) -> list[Quality]:
    """Return how far ``cluster`` is off on measured curves, curve by curve."""
    return [_quality(group, curve, cluster) for group, curve in curves.items()]


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


def _fitted_scope(fit: Fit, scope: str, curves: Curves) -> Fit:
    """Return ``fit`` with the lines of one scope fitted, and its launch latency otherwise."""
    kinds: defaultdict[Collective, dict[Group, Curve]] = defaultdict(dict)
    for group, curve in curves.items():
        kinds[group.kind][group] = curve
    lines = {
        kind: fitted_line(kind, groups, fit.cluster)
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


def _with_lines(fit: Fit, scope: str, lines: Mapping[Collective, CollectiveLine]) -> Fit:
    new = {(scope, kind): line for kind, line in lines.items()}
    cluster = with_lines(fit.cluster, scope, lines)
    return replace(fit, cluster=cluster, lines={**fit.lines, **new})


def _with_launch(fit: Fit, scope: str, launch: float) -> Fit:
    model = costs(fit.cluster, scope)
    total = model.launch + launch
    cluster = with_costs(fit.cluster, scope, replace(model, launch=total))
    return replace(fit, cluster=cluster, launch={**fit.launch, scope: total})


def _efficiency(curves: Curves, cluster: Cluster) -> float | None:
    """Return the share of the line rate that the largest messages reach, None without large ones.

    Groups of three nodes and more decide, if there are any: between two, a tree exceeds the wire.
    """
    wide = {group: curve for group, curve in curves.items() if group.nodes > 2}  # noqa: PLR2004
    shares = []
    for group, curve in (wide or curves).items():
        size = max(curve)
        if size <= MEDIUM:
            continue
        cost = collective_cost(group.kind, size, span_of(group, cluster), cluster)
        shares.append(cluster.fabric.efficiency * cost.moving / curve[size])
    if not shares:
        return None
    # What is more than the line rate is not the wire's: a tree between two nodes, bound inside.
    return min(median(shares), 1.0)


def _tabulated(fit: Fit, curves: Curves) -> Fit:
    """Return ``fit`` whose lines give the measured times for the groups measured."""
    for group, curve in curves.items():
        scope = scope_of(group)
        whole = group.ranks == group.nodes * fit.cluster.node.accelerators
        if scope == "fabric" and not whole:
            continue
        line = costs(fit.cluster, scope).lines[group.kind]
        key = group.ranks if scope == "node" else group.nodes
        measured = {**(line.measured or {}), key: dict(curve)}
        fit = _with_lines(fit, scope, {group.kind: replace(line, measured=measured)})
    return fit


def _quality(group: Group, curve: Curve, cluster: Cluster) -> Quality:
    span = span_of(group, cluster)
    errors = {
        size: abs(collective_time(group.kind, size, span, cluster) / time - 1)
        for size, time in curve.items()
    }
    bands: defaultdict[str, list[float]] = defaultdict(list)
    for size, error in errors.items():
        bands[band(size)].append(error)
    medians = {name: median(values) for name, values in bands.items()}
    return Quality(group, len(curve), medians, max(errors.values()))
