"""``simulator collective``: time and bandwidth of one collective, beside the rates of its wires."""

from __future__ import annotations

import json
import re
import sys
from typing import TYPE_CHECKING, Any, Final

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from simulator.catalog import Catalog
from simulator.documents import did_you_mean, validate
from simulator.errors import SimulatorError
from simulator.hardware.cluster import Cluster
from simulator.hardware.collective_costs import bus_factor, collective_cost
from simulator.hardware.collective_tables import KINDS
from simulator.operators import Collective
from simulator.report.quantities import percent_text, time_text
from simulator.units import GIB, GIGA, KIB, KILO, MEGA, MIB, MICRO

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from simulator.hardware.collectives import GroupSpan

BYTE_UNITS: Final[Mapping[str, float]] = {
    "": 1.0,
    "B": 1.0,
    "KB": KILO,
    "MB": MEGA,
    "GB": GIGA,
    "KiB": KIB,
    "MiB": MIB,
    "GiB": GIB,
}
"""Units of a message size: powers of ten, and of two with an i."""


def print_collective(
    kind: str,
    *,
    cluster: str,
    ranks: int,
    ranks_per_node: int | None,
    sizes: str,
    as_json: bool,
    profiles: list[Path],
) -> None:
    """Print time, algorithm and bandwidths of a collective for several sizes.

    Raises
    ------
    SimulatorError
        If the collective, a size or the placement is impossible; says what is allowed.
    """
    site = validate(Cluster, Catalog(tuple(profiles)).document("cluster", cluster))
    collective = _collective(kind)
    span = placed(ranks, ranks_per_node, site)
    rows = [_row(collective, size, span, site) for size in parsed_sizes(sizes)]
    facts = _facts(collective, cluster, span, site)
    if as_json:
        sys.stdout.write(json.dumps({**facts, "sizes": rows}, indent=2) + "\n")
    else:
        _print(facts, rows)


def parsed_sizes(text: str) -> list[float]:
    """Return the message sizes [B] in ``text``, such as ``1MiB,1GB``.

    Raises
    ------
    SimulatorError
        If one is not a number with a known unit.
    """
    return [_parsed_size(part.strip()) for part in text.split(",")]


def _parsed_size(text: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?) ?([A-Za-z]*)", text)
    units = {name.lower(): factor for name, factor in BYTE_UNITS.items()}
    if not match or match[2].lower() not in units:
        allowed = ", ".join(name for name in BYTE_UNITS if name)
        raise SimulatorError(f"--bytes: {text!r} is not a size; write a number with {allowed}")
    return float(match[1]) * units[match[2].lower()]


def placed(ranks: int, ranks_per_node: int | None, site: Cluster) -> GroupSpan:
    """Return where ``ranks`` sit: the first slots of the first nodes, ``ranks_per_node`` in each.

    By default they fill their nodes.

    Raises
    ------
    SimulatorError
        If they do not fit into the cluster or not evenly into nodes.
    """
    import numpy as np  # noqa: PLC0415 - --help is fast

    from simulator.parallel.placement import span_of  # noqa: PLC0415 - as above

    slots = site.node.accelerators
    members = min(ranks, slots) if ranks_per_node is None else ranks_per_node
    if not 1 <= members <= slots:
        raise SimulatorError(f"--ranks-per-node: a node has {slots} accelerators, not {members}")
    if ranks < 1 or ranks % members:
        raise SimulatorError(f"--ranks: {ranks} is not a multiple of {members} ranks per node")
    nodes = ranks // members
    if nodes * slots > site.largest:
        raise SimulatorError(
            f"--ranks: {nodes} nodes of {slots} are more than the {site.largest} accelerators "
            f"of {site.name}"
        )
    grid = np.arange(nodes)[:, None] * slots + np.arange(members)
    return span_of(grid.reshape(1, -1), site)[0]


def _collective(name: str) -> Collective:
    kind = KINDS.get(name.replace("-", "_"))
    if kind is None:
        hint = did_you_mean(name, list(Collective))
        known = ", ".join(Collective)
        raise SimulatorError(f"no collective is called {name!r}; {hint or known}")
    return kind


def _facts(kind: Collective, cluster: str, span: GroupSpan, site: Cluster) -> dict[str, Any]:
    """Return what is the same for all sizes, with units in the names."""
    from simulator.parallel.placement import tier_name  # noqa: PLC0415 - --help is fast

    between = span.nodes > 1
    wire = site.nic_bandwidth * span.ranks_per_node if between else None
    return {
        "collective": str(kind),
        "cluster": cluster,
        "ranks": span.ranks,
        "nodes": span.nodes,
        "ranks_per_node": span.ranks_per_node,
        "crosses": tier_name(span.tier, site),
        "nic_gb_per_s_per_accelerator": site.nic_bandwidth / GIGA,
        "network_gb_per_s_of_the_group_per_node": wire / GIGA if wire else None,
        "scale_up_gb_per_s_per_accelerator": site.node.bandwidth / GIGA,
        "network_efficiency": site.fabric.efficiency if between else None,
    }


def _row(kind: Collective, size: float, span: GroupSpan, site: Cluster) -> dict[str, Any]:
    cost = collective_cost(kind, size, span, site)
    rate = size / cost.time if cost.time else 0.0
    bus = rate * bus_factor(kind, span.ranks)
    wire = _wire_limit(kind, span, site)
    return {
        "bytes": size,
        "time_us": cost.time / MICRO,
        "regime": str(cost.regime),
        "algorithm": cost.algorithm,
        "algbw_gb_per_s": rate / GIGA,
        "busbw_gb_per_s": bus / GIGA,
        "share_of_network": bus / wire if span.nodes > 1 else None,
        "share_of_scale_up": bus / site.node.bandwidth,
    }


def _wire_limit(kind: Collective, span: GroupSpan, site: Cluster) -> float:
    """Return the bus bandwidth [B/s] at which the group's interfaces run at their line rate.

    A ring leaves a node once for all members. In an all_to_all each rank sends its own share of
    what leaves, ``(n - g) / n`` of the message of which the bus counts ``(n - 1) / n``; in a
    send_recv, its whole message.
    """
    if kind is Collective.SEND_RECV:
        return site.nic_bandwidth
    if kind is Collective.ALL_TO_ALL and span.nodes > 1:
        return site.nic_bandwidth * (span.ranks - 1) / (span.ranks - span.ranks_per_node)
    return site.nic_bandwidth * span.ranks_per_node


def _print(facts: Mapping[str, Any], rows: list[dict[str, Any]]) -> None:
    console = Console(highlight=False, soft_wrap=True)
    console.print(
        f"{facts['collective']} over {facts['ranks']} ranks, {facts['ranks_per_node']} in each of "
        f"{facts['nodes']} nodes of {facts['cluster']} (crosses: {facts['crosses']})"
    )
    inside = facts["scale_up_gb_per_s_per_accelerator"]
    console.print(f"line rate inside a node: {inside:g} GB/s per accelerator")
    wire = facts["network_gb_per_s_of_the_group_per_node"]
    if wire:
        alone = facts["nic_gb_per_s_per_accelerator"]
        share = percent_text(facts["network_efficiency"])
        console.print(
            f"line rate of the network: {alone:g} GB/s per accelerator, {wire:g} GB/s for the "
            f"group's ranks in a node; large messages reach {share} of it"
        )
    console.print(_table(rows, between=bool(wire)))
    if any((row["share_of_network"] or 0) > 1 for row in rows):
        console.print(
            "More than the network's line rate is no mistake: a tree between two nodes sends each\n"
            "buffer once, and the bus bandwidth of nccl-tests counts a ring."
        )


def _table(rows: list[dict[str, Any]], *, between: bool) -> Table:
    table = Table(box=SIMPLE_HEAD)
    shares = ["of\nnetwork"] if between else []
    for heading in ("size", "time", "algbw\nGB/s", "busbw\nGB/s", *shares, "of\nnode"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("how", no_wrap=True)
    for row in rows:
        network = [percent_text(row["share_of_network"])] if between else []
        table.add_row(
            size_text(row["bytes"]),
            time_text(row["time_us"] * MICRO),
            f"{row['algbw_gb_per_s']:.2f}",
            f"{row['busbw_gb_per_s']:.2f}",
            *network,
            percent_text(row["share_of_scale_up"]),
            f"{row['algorithm']}, {row['regime']}",
        )
    return table


def size_text(n_bytes: float) -> str:
    """Return a size as it reads best: in powers of two if they are whole, else of ten."""
    for units in (("GiB", "MiB", "KiB"), ("GB", "MB", "KB")):
        for unit in units:
            count = n_bytes / BYTE_UNITS[unit]
            if count >= 1 and count == int(count):
                return f"{int(count):,} {unit}"
    return f"{n_bytes:,.0f} B"
