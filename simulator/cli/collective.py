"""``simulator collective``: time and bandwidth of one collective, beside the rates of its wires."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from simulator.catalog import Catalog
from simulator.cli.collective_rows import Case, all_rows, library_rows, pattern_rows
from simulator.cli.message_sizes import parsed_sizes, size_text
from simulator.cli.output import write_json
from simulator.documents import did_you_mean, validate
from simulator.errors import SimulatorError
from simulator.hardware.cluster import Cluster
from simulator.hardware.collective_tables import KINDS
from simulator.hardware.members import members_of
from simulator.hardware.pattern_choice import usual_pattern
from simulator.hardware.patterns import Pattern
from simulator.operators import Collective
from simulator.parallel.placement import span_of, tier_name
from simulator.report.quantities import count_text, percent_text, time_text
from simulator.units import GIGA, MICRO

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from simulator.hardware.routes import Integers

ROUNDING = 1.01
"""Share of the line rate that is still the line rate."""
ALL = "all"
"""Instead of an algorithm: all of them."""


def print_collective(
    kind: str,
    *,
    cluster: str,
    ranks: int,
    ranks_per_node: int | None,
    sizes: str,
    algorithm: str | None,
    imbalance: float,
    as_json: bool,
    profiles: list[Path],
) -> None:
    """Print time, algorithm, bandwidths and bytes on links of a collective for several sizes.

    Raises
    ------
    SimulatorError
        If the collective, a size, the placement or the algorithm is impossible; says what is
        allowed.
    """
    site = validate(Cluster, Catalog(tuple(profiles)).document("cluster", cluster))
    case = _case(_collective(kind), site, placed(ranks, ranks_per_node, site), imbalance)
    rows, notes = _rows(case, algorithm, parsed_sizes(sizes))
    facts = _facts(case, cluster)
    if as_json:
        write_json({**facts, "sizes": rows, "notes": notes})
    else:
        _print(facts, rows, notes)


def placed(ranks: int, ranks_per_node: int | None, site: Cluster) -> Integers:
    """Return the slots of ``ranks``: the first of the first nodes, ``ranks_per_node`` in each.

    By default they fill their nodes.

    Raises
    ------
    SimulatorError
        If they do not fit into the cluster or not evenly into nodes.
    """
    import numpy as np  # noqa: PLC0415 - --help is fast

    if ranks < 1:
        raise SimulatorError(f"--ranks: must be at least 1, not {ranks}")
    slots = site.node.accelerators
    members = min(ranks, slots) if ranks_per_node is None else ranks_per_node
    if not 1 <= members <= slots:
        raise SimulatorError(f"--ranks-per-node: a node has {slots} accelerators, not {members}")
    if ranks % members:
        raise SimulatorError(f"--ranks: {ranks} is not a multiple of {members} ranks per node")
    nodes = ranks // members
    if nodes * slots > site.largest:
        raise SimulatorError(
            f"--ranks: {nodes} nodes of {slots} are more than the {site.largest} accelerators "
            f"of {site.name}"
        )
    return (np.arange(nodes)[:, None] * slots + np.arange(members)).ravel()


def _case(kind: Collective, site: Cluster, slots: Integers, imbalance: float) -> Case:
    if imbalance != 1 and kind is not Collective.ALL_TO_ALL:
        raise SimulatorError(f"--imbalance is for an all_to_all, not for {kind}")
    span, _ = span_of(slots.reshape(1, -1), site)
    return Case(kind, site, span, members_of(slots, site.node.accelerators), imbalance)


def _rows(
    case: Case, algorithm: str | None, sizes: Sequence[float]
) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the rows to print, and what else is to be said."""
    if algorithm is None and case.imbalance == 1:
        rows, reason = library_rows(case, sizes)
        return rows, [f"bytes on links are not known: {reason}"] if reason else []
    if algorithm == ALL:
        rows, refused = all_rows(case, sizes)
        return rows, [f"not here: {reason}" for reason in refused]
    if algorithm is None:
        pattern = usual_pattern(case.kind, case.members, case.site)
        return pattern_rows(case, pattern, sizes), []
    return pattern_rows(case, _pattern(algorithm), sizes), []


def _pattern(name: str) -> Pattern:
    try:
        return Pattern(name.replace("-", "_"))
    except ValueError:
        hint = did_you_mean(name, list(Pattern))
        known = ", ".join((*Pattern, ALL))
        raise SimulatorError(
            f"--algorithm: no algorithm is called {name!r}; {hint or known}"
        ) from None


def _collective(name: str) -> Collective:
    kind = KINDS.get(name.replace("-", "_"))
    if kind is None:
        hint = did_you_mean(name, list(Collective))
        known = ", ".join(Collective)
        raise SimulatorError(f"no collective is called {name!r}; {hint or known}")
    return kind


def _facts(case: Case, cluster: str) -> dict[str, Any]:
    """Return what is the same for all sizes, with units in the names."""
    site, span = case.site, case.span
    between = span.nodes > 1
    wire = site.nic_bandwidth * span.ranks_per_node if between else None
    return {
        "collective": str(case.kind),
        "cluster": cluster,
        "ranks": span.ranks,
        "nodes": span.nodes,
        "ranks_per_node": span.ranks_per_node,
        "crosses": tier_name(span.tier, site),
        "imbalance": case.imbalance,
        "nic_gb_per_s_per_accelerator": site.nic_bandwidth / GIGA,
        "network_gb_per_s_of_the_group_per_node": wire / GIGA if wire else None,
        "scale_up_gb_per_s_per_accelerator": site.node.bandwidth / GIGA,
        "network_efficiency": site.fabric.efficiency if between else None,
    }


def _print(facts: Mapping[str, Any], rows: list[dict[str, Any]], notes: list[str]) -> None:
    console = Console(highlight=False, soft_wrap=True)
    console.print(
        f"{facts['collective']} over {facts['ranks']} ranks, {facts['ranks_per_node']} in each of "
        f"{facts['nodes']} nodes of {facts['cluster']} (crosses: {facts['crosses']})"
    )
    if facts["imbalance"] != 1:
        console.print(f"the first rank receives {facts['imbalance']:g} times the mean")
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
    if any(row["bytes_by_link_class"] for row in rows):
        console.print(_link_table(rows))
    for note in notes:
        console.print(note, markup=False)
    if any(row.get("fastest") for row in rows):
        console.print("* the fastest of its size. Busiest link: at its line rate, of the time.")
    if any((row["share_of_busiest_link"] or 0) > ROUNDING for row in rows):
        console.print(
            "A busiest link of more than 100%: the profile's curve is that of a wiring with more\n"
            "links than these (closed or shorter axes of a torus, a cube mesh)."
        )
    if any((row["share_of_network"] or 0) > 1 for row in rows):
        console.print(
            "More than the network's line rate is no mistake: a tree between two nodes sends each\n"
            "buffer once, and the bus bandwidth of nccl-tests counts a ring."
        )


def _table(rows: list[dict[str, Any]], *, between: bool) -> Table:
    table = _plain_table()
    wire = "network" if between else "scale_up"
    of = "of\nnetwork" if between else "of\nnode"
    for heading in ("size", "time", "algbw\nGB/s", "busbw\nGB/s", of, "busiest\nlink"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("how", no_wrap=True)
    for row in rows:
        bound = row["share_of_busiest_link"]
        words = (row["algorithm"], row["regime"])
        table.add_row(
            size_text(row["bytes"]),
            time_text(row["time_us"] * MICRO) + "*" * bool(row.get("fastest")),
            f"{row['algbw_gb_per_s']:.2f}",
            f"{row['busbw_gb_per_s']:.2f}",
            percent_text(row[f"share_of_{wire}"]),
            "-" if bound is None else percent_text(bound),
            ", ".join(word for word in words if word),
        )
    return table


def _link_table(rows: list[dict[str, Any]]) -> Table:
    """Return the bytes on each class of links for the largest message, by algorithm."""
    size = max(row["bytes"] for row in rows)
    largest = [row for row in rows if row["bytes"] == size and row["bytes_by_link_class"]]
    table = _plain_table(f"Bytes on links, {size_text(size)}")
    table.add_column("links", no_wrap=True)
    for row in largest:
        name = row["algorithm"].replace("_", "_\n").replace(": ", ":\n")
        table.add_column(name, justify="right", no_wrap=True)
    for name in dict.fromkeys(name for row in largest for name in row["bytes_by_link_class"]):
        cells = [row["bytes_by_link_class"].get(name) for row in largest]
        table.add_row(name, *("-" if cell is None else f"{count_text(cell)}B" for cell in cells))
    table.add_section()
    table.add_row("busiest", *(row["busiest_link"] for row in largest))
    table.add_row("of the time", *(percent_text(row["share_of_busiest_link"]) for row in largest))
    return table


def _plain_table(title: str | None = None) -> Table:
    return Table(
        box=SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False, collapse_padding=True
    )
