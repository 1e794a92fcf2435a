"""Median error of the modelled collectives on a table of measured ones.

    python benchmarks/collective_errors.py TABLE.csv

TABLE.csv has one measurement per row, with at least the columns ``accelerator``, ``n_gpus``,
``nodes``, ``nic``, ``collective``, ``library_version``, ``message_bytes`` (as nccl-tests counts)
and ``time_us``. Rows of parts or networks without a profile, of libraries other than NCCL and
RCCL, and of fused mixture-of-experts kernels are left out and counted.
"""

from __future__ import annotations

import argparse
import csv
from collections import defaultdict
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Final

from simulator.catalog import Catalog
from simulator.documents import validate
from simulator.hardware.cluster import Cluster
from simulator.hardware.collective_costs import collective_time
from simulator.hardware.collectives import GroupSpan
from simulator.operators import Collective
from simulator.units import KIB, MIB, MICRO

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

INSIDE: Final = (
    ("A100-SXM4", "a100-hdr200"),
    ("H100-SXM5-80GB", "h100-ndr400"),
    ("H200", "h200-ndr400"),
    ("B200", "b200-ndr400"),
    ("B300", "b300-xdr800"),
    ("GB200", "gb200-nvl72"),
    ("GB300", "gb300-nvl72"),
    ("MI300X", "mi300x-pollara400"),
    ("MI325X", "mi325x-pollara400"),
    ("MI355X", "mi355x-pollara400"),
)
"""Start of the accelerator's name, and the cluster whose nodes hold it."""

BETWEEN: Final = (
    ("A100-SXM4", "8x200G IB HDR", "a100-hdr200"),
    ("A100-SXM4", "8x200G RoCE", "a100-megascale"),
    ("H100-SXM5-80GB", "8x400G IB NDR", "h100-ndr400"),
    ("H100-SXM5-80GB", "8x400G RoCE", "h100-roce400"),
    ("B200", "8x400G EFA", "b200-ndr400"),
    ("MI300X", "8x400G", "mi300x-pollara400"),
    ("MI325X", "8x400G", "mi325x-pollara400"),
    ("MI355X", "8x400G", "mi355x-pollara400"),
)
"""Starts of the accelerator's and of the network's name, and the nearest cluster profile."""

KINDS: Final[Mapping[str, Collective]] = {
    "all_reduce": Collective.ALL_REDUCE,
    "all_gather": Collective.ALL_GATHER,
    "reduce_scatter": Collective.REDUCE_SCATTER,
    "alltoall": Collective.ALL_TO_ALL,
    "sendrecv": Collective.SEND_RECV,
}

BANDS: Final = (("< 64 KB", 64 * KIB), ("64 KB - 16 MB", 16 * MIB), ("> 16 MB", float("inf")))


@dataclass(frozen=True, slots=True)
class Measured:
    """One measured collective and the profile that should predict it."""

    cluster: str
    scope: str
    kind: Collective
    span: GroupSpan
    n_bytes: float
    time: float

    @property
    def error(self) -> float:
        """Predicted over measured time, minus one."""
        return (
            collective_time(self.kind, self.n_bytes, self.span, profile(self.cluster)) / self.time
            - 1
        )


@cache
def profile(name: str) -> Cluster:
    """Return the shipped cluster profile ``name``."""
    return validate(Cluster, Catalog().document("cluster", name))


def measured(row: Mapping[str, str]) -> Measured | None:
    """Return the row as a measurement, or None if no profile claims to predict it."""
    cluster, kind = cluster_of(row), KINDS.get(row["collective"])
    foreign = not row["time_us"] or row["library_version"].startswith("MSCCL")
    if cluster is None or kind is None or foreign:
        return None
    ranks, nodes = int(row["n_gpus"]), int(row["nodes"])
    span = GroupSpan(ranks=ranks, ranks_per_node=ranks // nodes, nodes=nodes, tier=int(nodes > 1))
    scope = "inside" if nodes == 1 else f"{nodes} nodes"
    n_bytes, time = float(row["message_bytes"]), float(row["time_us"]) * MICRO
    return Measured(cluster, scope, kind, span, n_bytes, time)


def cluster_of(row: Mapping[str, str]) -> str | None:
    """Return the name of the cluster profile that fits the row's part and network."""
    part, nic = row["accelerator"], row["nic"]
    if int(row["nodes"]) == 1:
        return next((name for start, name in INSIDE if part.startswith(start)), None)
    matches = (name for p, n, name in BETWEEN if part.startswith(p) and nic.startswith(n))
    return next(matches, None)


def band(n_bytes: float) -> str:
    """Return the name of the size band that ``n_bytes`` falls in."""
    return next(name for name, limit in BANDS if n_bytes <= limit)


def report(rows: list[Measured]) -> Iterator[str]:
    """Yield one line for each cluster, scope and kind, and a line for all."""
    groups: defaultdict[tuple[str, str, str], list[Measured]] = defaultdict(list)
    for row in rows:
        groups[row.cluster, row.scope, row.kind].append(row)
    heads = "".join(f"{name:>22}" for name, _ in BANDS)
    yield f"{'median |error| % (bias %), rows':46}{heads}"
    for (cluster, scope, kind), members in sorted(groups.items()):
        yield f"{cluster:20}{scope:10}{kind:16}{cells(members)}"
    yield f"{'all':20}{'inside':26}{cells([row for row in rows if row.span.nodes == 1])}"
    yield f"{'all':20}{'between':26}{cells([row for row in rows if row.span.nodes > 1])}"


def cells(rows: list[Measured]) -> str:
    """Return the median absolute error, the median error and the rows of each band."""
    return "".join(
        cell([row.error for row in rows if band(row.n_bytes) == name]) for name, _ in BANDS
    )


def cell(errors: list[float]) -> str:
    """Return one band's text."""
    if not errors:
        return f"{'-':>22}"
    size = 100 * median(abs(error) for error in errors)
    return f"{f'{size:.1f} ({100 * median(errors):+.1f}) {len(errors):5d}':>22}"


def main() -> None:
    """Print the report of the table named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", type=Path, metavar="TABLE.csv")
    with parser.parse_args().table.open(encoding="utf-8", newline="") as file:
        candidates = [measured(row) for row in csv.DictReader(file)]
    rows = [row for row in candidates if row is not None]
    print("\n".join(report(rows)))
    print(f"{len(rows)} of {len(candidates)} rows have a profile")


if __name__ == "__main__":
    main()
