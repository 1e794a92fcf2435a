"""Fit the lines of collectives to published curves, and predict each source without itself.

    python benchmarks/fit_collectives.py TABLE.csv                           # errors by source
    python benchmarks/fit_collectives.py TABLE.csv --write                   # docs/collectives.md
    python benchmarks/fit_collectives.py TABLE.csv --profile nodes/hgx-h100  # its lines, as YAML

``TABLE.csv`` is a table of nccl-tests figures as ``simulator validate`` reads it. ``--profile``
prints the lines that fit a profile's rows, to four digits, their errors, and those of the profile
as it is (where it holds a site's own curve, with that); a profile is changed by hand.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Final

from simulator.calibration.line_fit import (
    Measurement,
    costs,
    fit_measurements,
    scope_of,
    with_costs,
    with_lines,
)
from simulator.calibration.site_profiles import line_text
from simulator.catalog import Catalog
from simulator.documents import validate
from simulator.hardware.cluster import Site
from simulator.hardware.collective_costs import collective_cost, collective_time
from simulator.hardware.collective_tables import BANDS, KINDS, MEDIUM, band
from simulator.hardware.fabric import Fabric
from simulator.hardware.node import Node
from simulator.operators import Collective
from simulator.report.validation_document import markdown_table
from simulator.units import KIB, MICRO
from simulator.validation.collective_sites import (
    RINGS,
    default_fabric,
    node_of,
    site_of,
    span_of,
)
from simulator.validation.collectives import predict
from simulator.validation.tables import read_table

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import pandas as pd

    from simulator.hardware.collectives import CollectiveLine

PAGE: Final = Path(__file__).parents[1] / "docs" / "collectives.md"
DONORS: Final = {
    "hgx-b200": ("hgx-b200", "hgx-b200-torch"),
    "hdr200-rail": ("hdr200-azure",),
    "ndr400-rail": ("ndr400-rail", "roce400-clos"),
}
"""Profiles whose lines were fitted to the curves of these ones, not to their own alone."""
HOPS: Final = {
    "nvl72-gb200": "hgx-b200",
    "nvl72-gb300": "hgx-b300",
    "nvl72-gb200-ring": "hgx-b200-ring",
    "nvl72-gb300-ring": "hgx-b300-ring",
}
"""Node profiles measured on few ranks, and the part whose latencies by the hop they keep."""
FAMILY: Final = {"hgx-b200-torch": "hgx-b200"}
"""Node profile of the part, for one that stands for a site."""
FEWEST_SIZES: Final = 8
"""Sizes of the other sources without which nothing is fitted to them."""
SMALL: Final = 1 * KIB
"""Largest message [B] that tells a site's launch latency."""
WAYS: Final = ("shipped", "left out", "two runs")
"""How a source is predicted."""
HEADING: Final = """# Collectives on a new site

`python benchmarks/fit_collectives.py TABLE.csv --write` wrote this page from {table}:
{rows:,} timings of nccl-tests, rccl-tests and benchmarks of PyTorch. A cell holds three median
absolute errors in %: of messages to 64 KiB, to 16 MiB, and above.

* **shipped**: the profiles as they are. The rows of most sources fitted them: quality of fit. Those
  marked * did not.
* **left out**: lines, bandwidths and the network's efficiency fitted to all *other* sources of the
  part and scope, whatever their library, network and year: what to expect of a site of which
  nothing is known.
* **two runs**: the same with `launch_us` from the source's smallest message and, between nodes,
  `efficiency` from its largest one ([what a site sets](hardware.md#what-a-site-sets)); the rows of
  these two sizes are not counted.

A band is empty where the source or all others have no rows, and a cell where the others have too
few to fit.
"""
READING: Final = """
The medians are those of sources that others can predict. Above 16 MiB these tell most of what there
is to know of a site; below, they do not. Library, host and launch decide there, of which a launch
latency alone does not tell enough; a curve of the site does
([calibrate](hardware.md#what-a-site-sets)).
"""


@dataclass(frozen=True)
class Row:
    """One timing, and the site that stands for it."""

    source: str
    family: str
    """Node profile of the part under a current library, or without in-switch reduction."""
    scope: str
    kind: Collective
    node: str
    fabric: str
    calibration: bool
    measurement: Measurement

    @property
    def band(self) -> str:
        """Name of the size band."""
        return band(self.measurement.n_bytes)

    @property
    def group(self) -> tuple[str, str, str]:
        """What sources are compared in: part, scope and collective."""
        return self.family, self.scope, self.kind

    def error(self, site: Site | None = None) -> float:
        """Return the relative absolute error at ``site``, by default as the profiles have it."""
        one = self.measurement
        time = collective_time(self.kind, one.n_bytes, one.span, site or one.site)
        return abs(time / one.time - 1)


def main() -> None:
    """Print or write the errors, or print the lines of one profile."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("table", type=Path, metavar="TABLE.csv")
    parser.add_argument("--write", action="store_true", help="write docs/collectives.md")
    parser.add_argument("--profile", metavar="FOLDER/NAME", help="print the fit of a profile")
    arguments = parser.parse_args()
    rows = measured_rows(read_table(arguments.table))
    if arguments.profile:
        print_profile(arguments.profile, rows)
        return
    text = page(rows, arguments.table.name)
    print(text)
    if arguments.write:
        PAGE.write_text(text, encoding="utf-8")


# Rows


def measured_rows(table: pd.DataFrame) -> list[Row]:
    """Return the rows of a table that profiles predict and that have a time."""
    found = predict(table)
    known = found[(found["status"] == "ok") & (found["measured_time_us"] > 0)]
    return [_row(dict(zip(known.columns, one, strict=True))) for one in known.to_numpy()]


def _row(one: Mapping[str, Any]) -> Row:
    part, node = one["accelerator"], one["node"]
    site = site_of(node, one["fabric"] or default_fabric(part))
    span = span_of(int(float(one["n_gpus"])), int(float(one["nodes"])), site)
    assert not isinstance(span, str)
    time = one["measured_time_us"] * MICRO
    return Row(
        source=one["source"],
        family=node if node in RINGS.values() else FAMILY.get(node, node_of(part) or node),
        scope=one["scope"],
        kind=KINDS[one["collective"]],
        node=node,
        fabric=one["fabric"],
        calibration=one["split"] == "calibration",
        measurement=Measurement(span, float(one["message_bytes"]), time, site),
    )


# Each source without itself


def left_out_sites(held: Sequence[Row], others: Sequence[Row]) -> list[Site]:
    """Return the sites of the rows of a source by a fit to others.

    Nothing if these are too few, or of pairs, which have no line.
    """
    few = len({row.measurement.n_bytes for row in others}) < FEWEST_SIZES
    if few or held[0].kind is Collective.SEND_RECV:
        return []
    kind, first = held[0].kind, others[0].measurement.site
    if held[0].scope == "inside":
        base = first.node.collectives.line(kind, first.node.name)
        fit = fit_measurements(kind, base, [replace(row.measurement, site=first) for row in others])
        return [without_launch(first, kind, fit, "node")] * len(held)
    base = first.fabric.collectives.line(kind, first.fabric.name)
    fit = fit_measurements(kind, base, [row.measurement for row in others])
    usual = {row.fabric: row.measurement.site.fabric.efficiency for row in others}
    return [unknown_site(row, kind, fit, median(usual.values())) for row in held]


def unknown_site(row: Row, kind: Collective, fit: CollectiveLine, efficiency: float) -> Site:
    """Return the site of a row between nodes with a line and an efficiency of others.

    How a library crosses the network is known of a site; how well this one does is not.
    """
    node, fabric = row.measurement.site.node, row.measurement.site.fabric
    algorithm = fabric.collectives.line(kind, row.fabric).algorithm
    site = Site(node, replace(fabric, efficiency=efficiency))
    return without_launch(site, kind, replace(fit, algorithm=algorithm), "fabric")


def without_launch(site: Site, kind: Collective, line: CollectiveLine, scope: str) -> Site:
    """Return a site with another line of one collective and no launch latency of its own."""
    site = with_lines(site, scope, {kind: line})
    return with_costs(site, scope, replace(costs(site, scope), launch=0.0))


def after_two_runs(held: Sequence[Row], sites: Sequence[Site]) -> dict[int, Site]:
    """Return the sites, by row, once a source's smallest and largest message have been used."""
    order = sorted(range(len(held)), key=lambda at: held[at].measurement.n_bytes)
    first, last = (held[order[end]].measurement for end in (0, -1))
    kind, scope = held[0].kind, scope_of(first.span)
    used: set[float] = set()
    launch, ratio = 0.0, 1.0
    if first.n_bytes <= SMALL:
        used.add(first.n_bytes)
        launch = first.time - collective_time(kind, first.n_bytes, first.span, sites[order[0]])
    if scope == "fabric" and last.n_bytes > MEDIUM:
        used.add(last.n_bytes)
        cost = collective_cost(kind, last.n_bytes, last.span, sites[order[-1]])
        ratio = cost.moving / last.time
    told = {}
    for at, (row, site) in enumerate(zip(held, sites, strict=True)):
        if row.measurement.n_bytes not in used:
            efficiency = min(1.0, ratio * site.fabric.efficiency)
            known = with_costs(site, scope, replace(costs(site, scope), launch=launch))
            told[at] = replace(known, fabric=replace(known.fabric, efficiency=efficiency))
    return told


def source_errors(source: str, members: Sequence[Row]) -> dict[str, dict[str, float]]:
    """Return the median error of a source's rows by way and size band."""
    held = [row for row in members if row.source == source]
    others = [row for row in members if row.source != source and row.calibration]
    sites = left_out_sites(held, others)
    ways: dict[str, Mapping[int, Site | None]] = {
        "shipped": dict.fromkeys(range(len(held))),
        "left out": dict(enumerate(sites)),
        "two runs": after_two_runs(held, sites) if sites else {},
    }
    supported = {row.band for row in others}
    return {
        way: band_medians(
            (held[at].band, held[at].error(site))
            for at, site in known.items()
            if way == "shipped" or held[at].band in supported
        )
        for way, known in ways.items()
    }


def band_medians(errors: Iterable[tuple[str, float]]) -> dict[str, float]:
    """Return the median error of each size band that has any."""
    known = list(errors)
    by_band = {name: [error for where, error in known if where == name] for name, _ in BANDS}
    return {name: median(some) for name, some in by_band.items() if some}


# Pages


def page(rows: Sequence[Row], table: str) -> str:
    """Return the errors of all sources as a page."""
    lines, all_errors = [], []
    for group in sorted({row.group for row in rows}):
        members = [row for row in rows if row.group == group]
        for source in sorted({row.source for row in members}):
            held = [row for row in members if row.source == source]
            errors = source_errors(source, members)
            all_errors.append((group[1], errors))
            name = source if held[0].calibration else f"{source} *"
            lines.append([*group, name, str(len(held)), *map(_cell, errors.values())])
    heading = HEADING.format(table=f"`{table}`", rows=len(rows))
    titles = ["part", "scope", "collective", "source", "rows", *WAYS]
    parts = [heading, overview(all_errors), READING, markdown_table(titles, lines, names=4), ""]
    return "\n".join(parts)


def overview(errors: Sequence[tuple[str, dict[str, dict[str, float]]]]) -> str:
    """Return the median over sources and collectives that others can predict, by scope."""
    lines = []
    for scope in ("inside", "between"):
        known = [found for where, found in errors if where == scope]
        cells = []
        for way in WAYS:
            medians = {
                name: [
                    one[way][name] for one in known if name in one["left out"] and name in one[way]
                ]
                for name, _ in BANDS
            }
            cells.append(_cell({name: median(some) for name, some in medians.items() if some}))
        lines.append([scope, *cells])
    return markdown_table(["median over sources", *WAYS], lines, names=1)


def _cell(medians: Mapping[str, float]) -> str:
    return " / ".join(percent(medians.get(name)) for name, _ in BANDS)


def percent(value: float | None) -> str:
    """Return a share in percent, a dash if there is none."""
    return "-" if value is None else f"{100 * value:.1f}"


# Profiles


def print_profile(name: str, rows: Sequence[Row]) -> None:
    """Print the lines of a profile that are fitted to the rows, as YAML, and their errors."""
    folder, _, stem = name.partition("/")
    place = {"nodes": "node", "fabrics": "fabric"}.get(folder)
    if place is None or not stem:
        raise SystemExit(f"--profile: {name} is not nodes/NAME or fabrics/NAME")
    mine = [row for row in rows if fits(row, place, stem)]
    for kind in sorted({row.kind for row in mine}):
        some = [row for row in mine if row.kind is kind]
        sizes = len({row.measurement.n_bytes for row in some})
        shipped = _cell(band_medians((row.band, row.error()) for row in some))
        if sizes < FEWEST_SIZES:
            print(f"# {kind}: only {sizes} sizes; median error as shipped {shipped} %")
            continue
        line = fitted_profile(place, stem, kind, some)
        told = [with_lines(row.measurement.site, place, {kind: line}) for row in some]
        errors = zip(some, told, strict=True)
        medians = _cell(band_medians((row.band, row.error(site)) for row, site in errors))
        print(f"    {kind}:  # {len(some)} rows; median error {medians} %, as shipped {shipped} %")
        print(f"      value:\n{line_text(line)}", end="")


def fits(row: Row, place: str, stem: str) -> bool:
    """Return whether a row fitted the lines of a profile."""
    inside = row.scope == "inside"
    profile = row.node if inside else row.fabric
    right = inside == (place == "node")
    return right and row.calibration and profile in DONORS.get(stem, (stem,))


def fitted_profile(place: str, stem: str, kind: Collective, rows: Sequence[Row]) -> CollectiveLine:
    """Return the line of a profile, fitted to rows."""
    record: type[Node | Fabric] = Node if place == "node" else Fabric
    base = validate(record, Catalog().document(place, stem)).collectives.line(kind, stem)
    donor = HOPS.get(stem)
    if donor:
        hops = validate(Node, Catalog().document("node", donor)).collectives.line(kind, donor)
        base = replace(base, a1=hops.a1, b1=hops.b1, c1=hops.c1)
    measurements = [row.measurement for row in rows]
    return fit_measurements(kind, base, measurements, keep_hops=bool(donor))


if __name__ == "__main__":
    main()
