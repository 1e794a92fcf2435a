"""``simulator show cluster NAME --plot FILE``: a cluster's links, listed and drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from simulator.catalog import Catalog
from simulator.cli.output import print_files
from simulator.cli.show import found
from simulator.documents import validate
from simulator.errors import SimulatorError
from simulator.hardware.cluster import Cluster
from simulator.hardware.topology import topology_of
from simulator.report.palette import require_picture, write_picture
from simulator.report.quantities import significant
from simulator.units import GIGA, KILO, TERA

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from simulator.hardware.topology import Topology


def show_cluster(
    what: str,
    name: str | None,
    plot: Path | None,
    accelerators: int | None,
    profiles: Sequence[Path],
) -> None:
    """Print the classes of links of a cluster, and draw it if asked to.

    Raises
    ------
    SimulatorError
        If this is no cluster, or it joins fewer accelerators.
    OutputError
        If the picture cannot be written.
    """
    if plot is not None:
        require_picture(plot)
    catalog = Catalog(tuple(profiles))
    kind, profile = found(catalog, what if name is None else f"{what}/{name}")
    if kind != "cluster":
        raise SimulatorError(f"{profile} is of the kind {kind}; only clusters have links to show")
    cluster = validate(Cluster, catalog.document("cluster", profile))
    topology = topology_of(cluster, accelerators)
    if plot is not None:
        # Only pictures pay for matplotlib.
        from simulator.report.cluster_plot import cluster_figure  # noqa: PLC0415 - as said

        write_picture(cluster_figure(cluster, accelerators), plot)
    console = Console()
    size, nodes = topology.wiring.size, topology.accelerators // topology.wiring.size
    heading = f"{topology.accelerators:,} accelerators in {nodes:,} nodes of {size:,}"
    console.print(Text(f"{cluster.name}: {heading}; line rates, one direction", style="bold"))
    console.print(links_table(topology))
    print_files(console, [plot] if plot is not None else [])


def links_table(topology: Topology) -> Table:
    """Return the classes of links of a topology: how many, how wide, how fast."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("links")
    for heading in ("bundles", "links\nin each", "GB/s\na bundle", "TB/s\nin all"):
        table.add_column(heading, justify="right")
    for number, label in enumerate(topology.names):
        own = np.flatnonzero(topology.klass == number)
        capacity, width = topology.capacity[own], topology.width[own]
        table.add_row(
            Text(label),
            f"{len(own):,}",
            _range(width.min(), width.max(), 1),
            _range(capacity.min(), capacity.max(), GIGA),
            significant(float(capacity.sum()) / TERA),
        )
    return table


def _range(least: float, most: float, unit: float) -> str:
    """Return one number, or the least and the most where bundles differ."""
    ends = [_number(value / unit) for value in (least, most)]
    return ends[0] if ends[0] == ends[1] else " to ".join(ends)


def _number(value: float) -> str:
    return f"{value:.4g}" if value < KILO else f"{value:,.0f}"
