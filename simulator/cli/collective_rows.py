"""What ``simulator collective`` prints, as plain data with units in the names."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from simulator.errors import SimulatorError
from simulator.hardware.collective_costs import bus_factor, collective_cost
from simulator.hardware.collective_traffic import all_to_allv, one_busy_rank, traffic
from simulator.hardware.pattern_choice import objection, usual_pattern
from simulator.hardware.pattern_costs import pattern_cost
from simulator.hardware.patterns import PATTERNS, Pattern
from simulator.operators import Collective
from simulator.units import GIGA, MICRO

if TYPE_CHECKING:
    from collections.abc import Sequence

    from simulator.hardware.cluster import Cluster
    from simulator.hardware.collective_traffic import Traffic
    from simulator.hardware.collectives import GroupSpan
    from simulator.hardware.members import Members

LIBRARY = "library"
"""What a site's library takes by itself: the calibrated curves."""


@dataclass(frozen=True, slots=True)
class Case:
    """A collective in a place."""

    kind: Collective
    site: Cluster
    span: GroupSpan
    members: Members
    imbalance: float = 1.0
    """What the first rank of an all_to_all receives, over the mean."""

    def traffic(self, pattern: Pattern) -> Traffic:
        """Return the bytes on the links, per byte of the message."""
        if self.imbalance == 1:
            return traffic(self.kind, pattern, 1.0, self.members, self.site)
        sent = one_busy_rank(self.members.ranks, 1.0, self.imbalance)
        return all_to_allv(sent, self.members, self.site, pxn=pattern is Pattern.PXN)


def library_rows(case: Case, sizes: Sequence[float]) -> tuple[list[dict[str, Any]], str]:
    """Return a row for each size as the library does it, and why no bytes on links are known."""
    links, reason = None, ""
    if case.members.ranks > 1:
        try:
            links = case.traffic(usual_pattern(case.kind, case.members, case.site))
        except SimulatorError as error:
            reason = str(error)
    rows = []
    for size in sizes:
        cost = collective_cost(case.kind, size, case.span, case.site)
        row = _row(case, size, cost.time, links)
        rows.append(row | {"regime": str(cost.regime), "algorithm": cost.algorithm})
    return rows, reason


def pattern_rows(case: Case, pattern: Pattern, sizes: Sequence[float]) -> list[dict[str, Any]]:
    """Return a row for each size by one pattern.

    Raises
    ------
    SimulatorError
        If the pattern is not possible here.
    """
    links = case.traffic(pattern)
    rows = []
    for size in sizes:
        cost = pattern_cost(case.kind, pattern, replace(links, n_bytes=size), case.span, case.site)
        rows.append(_row(case, size, cost.time, links) | {"algorithm": str(pattern)})
    return rows


def all_rows(case: Case, sizes: Sequence[float]) -> tuple[list[dict[str, Any]], list[str]]:
    """Return rows of the library and of every pattern, size by size, and what is not possible.

    The fastest of each size is marked.

    Raises
    ------
    SimulatorError
        If nothing is possible: says why.
    """
    rows, refused = [], []
    for pattern in PATTERNS[case.kind]:
        try:
            rows.append(pattern_rows(case, pattern, sizes))
        except SimulatorError as error:
            reason = objection(pattern, case.members, case.site)
            refused.append(f"{pattern}: {reason or error}")
    if case.imbalance == 1:
        ours, _ = library_rows(case, sizes)
        named = [row | {"algorithm": f"{LIBRARY}: {row['algorithm']}"} for row in ours]
        rows.insert(0, named)
    if not rows:
        raise SimulatorError("; ".join(refused))
    merged = []
    for same in zip(*rows, strict=True):
        best = min(row["time_us"] for row in same)
        merged += [row | {"fastest": row["time_us"] == best} for row in same]
    return merged, refused


def _row(case: Case, size: float, time: float, links: Traffic | None) -> dict[str, Any]:
    rate = size / time if time else 0.0
    bus = rate * bus_factor(case.kind, case.span.ranks)
    wire = _wire_limit(case)
    row = {
        "bytes": size,
        "time_us": time / MICRO,
        "regime": None,
        "algorithm": "",
        "algbw_gb_per_s": rate / GIGA,
        "busbw_gb_per_s": bus / GIGA,
        "share_of_network": bus / wire if case.span.nodes > 1 else None,
        "share_of_scale_up": bus / case.site.node.bandwidth,
        "bytes_by_link_class": None,
        "busiest_link": None,
        "busiest_link_time_us": None,
        "share_of_busiest_link": None,
    }
    if links is None:
        return row
    sized = replace(links, n_bytes=size)
    busiest = sized.busiest
    return row | {
        "bytes_by_link_class": sized.by_class,
        "busiest_link": busiest.name,
        "busiest_link_time_us": busiest.time / MICRO,
        "share_of_busiest_link": busiest.time / time if time else 0.0,
    }


def _wire_limit(case: Case) -> float:
    """Return the bus bandwidth [B/s] at which the group's interfaces run at their line rate.

    A ring leaves a node once for all members. In an all_to_all each rank sends its own share of
    what leaves, ``(n - g) / n`` of the message of which the bus counts ``(n - 1) / n``; in a
    send_recv, its whole message.
    """
    span, nic = case.span, case.site.nic_bandwidth
    if case.kind is Collective.SEND_RECV:
        return nic
    if case.kind is Collective.ALL_TO_ALL and span.nodes > 1:
        return nic * (span.ranks - 1) / (span.ranks - span.ranks_per_node)
    return nic * span.ranks_per_node
