"""Points: what is compared, each a scenario with its own overrides."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from math import prod
from typing import TYPE_CHECKING, Final

from simulator.errors import SimulatorError
from simulator.report.comparison_words import LINE_RATE
from simulator.scenario.loading import full_key

if TYPE_CHECKING:
    from collections.abc import Sequence

    from simulator.comparison.sweeps import Sweep

MOST_POINTS: Final = 10_000
"""Points of one comparison beyond which memory and patience end."""
CLUSTER: Final = "cluster"


@dataclass(frozen=True, slots=True)
class Point:
    """One scenario of a comparison."""

    cluster: str | None
    """Reference of the cluster; None for the scenario's own."""
    settings: tuple[tuple[str, str], ...]
    """Swept fields and their values."""
    overrides: tuple[str, ...]
    """What the user changed on every point."""
    own: tuple[str, ...] = ()
    """What the user changed on this cluster alone."""

    def all_overrides(self, *, line_rate: bool = True) -> tuple[str, ...]:
        """Return everything that the scenario is loaded with; the last of a key wins.

        Without ``line_rate`` a swept line rate stays as the cluster has it.
        """
        chosen = () if self.cluster is None else (f"{CLUSTER}={self.cluster}",)
        swept = tuple(f"{k}={v}" for k, v in self.settings if line_rate or k != LINE_RATE)
        return (*chosen, *self.overrides, *self.own, *swept)


def make_points(
    clusters: Sequence[str],
    sweeps: Sequence[Sweep],
    overrides: Sequence[str] = (),
    on_cluster: Sequence[str] = (),
) -> list[Point]:
    """Return every cluster with every combination of swept values, the last sweep fastest.

    Parameters
    ----------
    clusters
        References of clusters; none for the scenario's own.
    sweeps
        Fields and their values.
    overrides
        ``KEY=VALUE`` for every point.
    on_cluster
        ``CLUSTER:KEY=VALUE`` for the points of one of ``clusters``.

    Raises
    ------
    SimulatorError
        If there is nothing to compare, a cluster or field comes twice, or there are too many.
    """
    _require_once("--clusters", clusters)
    _require_once("--sweep", [sweep.key for sweep in sweeps])
    _require_no_conflict(clusters, sweeps, overrides)
    count = max(1, len(clusters)) * prod(len(sweep.values) for sweep in sweeps)
    if count > MOST_POINTS:
        raise SimulatorError(f"{count:,} scenarios to compare; at most {MOST_POINTS:,} are")
    own = _by_cluster(clusters, on_cluster)
    axes = [[(sweep.key, value) for value in sweep.values] for sweep in sweeps]
    return [
        Point(cluster, settings, tuple(overrides), own.get(cluster or "", ()))
        for cluster in (clusters or (None,))
        for settings in product(*axes)
    ]


def _by_cluster(clusters: Sequence[str], on_cluster: Sequence[str]) -> dict[str, tuple[str, ...]]:
    own: dict[str, tuple[str, ...]] = {}
    for text in on_cluster:
        cluster, colon, override = text.partition(":")
        if not colon or "=" not in override:
            raise SimulatorError(f"--on: expected CLUSTER:KEY=VALUE, got {text[:80]!r}")
        if cluster not in clusters:
            known = ", ".join(clusters) or "none, give --clusters"
            raise SimulatorError(f"--on: {cluster!r} is not among the clusters: {known}")
        own[cluster] = (*own.get(cluster, ()), override)
    return own


def _require_once(option: str, names: Sequence[str]) -> None:
    if repeated := next((name for name in names if names.count(name) > 1), None):
        raise SimulatorError(f"{option}: {repeated} stands there twice")
    if not all(names):
        raise SimulatorError(f"{option}: a name is empty")


def _require_no_conflict(
    clusters: Sequence[str], sweeps: Sequence[Sweep], overrides: Sequence[str]
) -> None:
    if not clusters and not sweeps:
        raise SimulatorError("nothing to compare: give --clusters, --sweep or both")
    swept = {sweep.key for sweep in sweeps}
    fixed = {full_key(override.partition("=")[0].strip()) for override in overrides}
    if both := sorted(swept & fixed):
        raise SimulatorError(f"{both[0]} is both swept and set: leave out one of them")
    if CLUSTER in swept:
        raise SimulatorError("clusters are listed by --clusters, not by --sweep cluster")
    if clusters and CLUSTER in fixed:
        raise SimulatorError("--set cluster and --clusters both choose the cluster")
