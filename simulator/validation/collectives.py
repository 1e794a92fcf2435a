"""Predicted beside measured collectives: a table of nccl-tests figures in, errors out.

Rows name parts and networks as their sources did; `NODES` and `NETWORKS` say which profiles stand
for them. What no profile claims to predict is ``unsupported`` with its reason, never guessed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from simulator.catalog import Catalog
from simulator.documents import validate
from simulator.errors import SimulatorError
from simulator.hardware.cluster import Site
from simulator.hardware.collective_costs import bus_factor, collective_time
from simulator.hardware.collective_tables import KINDS, band
from simulator.hardware.collectives import GroupSpan
from simulator.hardware.fabric import Fabric
from simulator.hardware.node import Node
from simulator.operators import Collective
from simulator.units import GIGA, MICRO

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

REQUIRED: Final = ("accelerator", "n_gpus", "nodes", "collective", "message_bytes")
"""Columns without which a table is not one of collectives."""
MEASURES: Final = ("time_us", "busbw_GBps")
"""Columns of which a table of collectives has at least one."""
OPTIONAL: Final = ("source", "nic", "dtype", "library_version", "library")


NODES: Final = (
    ("A100 pairwise|H100 pairwise|^A100 or H100", None),
    ("A100", "dgx-a100"),
    ("H100", "hgx-h100"),
    ("H200", "hgx-h200"),
    ("H800", "hgx-h800"),
    ("p6-b200", "hgx-b200-torch"),
    ("GB200", "nvl72-gb200"),
    ("GB300", "nvl72-gb300"),
    ("B200", "hgx-b200"),
    ("B300", "hgx-b300"),
    ("MI300X", "mi300x-platform"),
    ("MI325X", "mi325x-platform"),
    ("MI350X", "mi350x-platform"),
    ("MI355X", "mi355x-platform"),
    ("L40S", "pcie-l40s"),
    ("RTX PRO 6000", "pcie-rtx-pro-6000"),
    ("Arc Pro B60", "pcie-arc-b60"),
)
"""Pattern in the accelerator's name, and the node profile: the first that matches."""
OLD_NCCL: Final = {"dgx-a100": "dgx-a100-nccl2.10"}
"""Node profile of the same machine under NCCL before `NEW_NCCL`."""
RINGS: Final = {
    name: f"{name}-ring"
    for name in ("hgx-h100", "hgx-h200", "hgx-b200", "hgx-b300", "nvl72-gb200", "nvl72-gb300")
}
"""Node profile of the same machine where the switches cannot reduce (8-bit integers)."""
REDUCTIONS: Final = (Collective.ALL_REDUCE, Collective.REDUCE_SCATTER)
NEW_NCCL: Final = (2, 15)
"""First NCCL release of the newer A100 profile; no curve between 2.12 and 2.27 is known."""
OLD_RCCL: Final = {"pollara400-rails": "pollara400-rccl2.26"}
"""Fabric profile of the same network under RCCL before `NEW_RCCL`."""
NEW_RCCL: Final = (2, 27)
"""First RCCL release of the newer Pollara profile."""
OLD_FORMATS: Final = ("pre-2.12", "torch/NCCL n/s")
"""Libraries without a number that behave like the old ones (see hardware_profiles/nodes)."""

LARGEST_HOST: Final = 16
"""Accelerators of the largest host; a larger scale-up domain is a rack of several."""


class Network(NamedTuple):
    """Patterns in the names of accelerator and network, and the profiles that they stand for."""

    part: str
    nic: str
    fabric: str
    node: str | None = None
    """Where that network's nodes differ from the part's."""


NETWORKS: Final = (
    Network("A100", "EFA", "efa100-v1", "p4d-a100"),
    Network("A100", "Azure|ND A100", "hdr200-azure"),
    Network("A100", "8x200G.*(IB|HDR)", "hdr200-rail"),
    Network("A100", "4x200G.*(IB|HDR)", "hdr200-rail4", "hgx-a100-4nic-nccl2.10"),
    Network("A100", "8x200G.*RoCE", "roce200-oci"),
    Network("H100", "TCPXO", "tcpxo200"),
    Network("H100", "Slingshot", "slingshot200", "kestrel-h100"),
    Network("H100", "EFA", "efa100-v2", "p5-h100"),
    Network("H100", "RoCE", "roce400-clos"),
    Network("H100", "IB|NDR|CX-?7|H100 DGX|one GPU per node", "ndr400-rail"),
    Network("H200", "EFA", "efa200-v3", "p5en-h200"),
    Network("H200|H800", "IB|NDR|CX-?7", "ndr400-rail"),
    Network("GB200", "", "ndr400-nvl72"),
    Network("GB300", "", "xdr800-rail"),
    Network("B200", "EFA", "efa400-v4"),
    Network("B200", "RoCE", "roce400-clos"),
    Network("B200", "IB|NDR|CX-?7", "ndr400-rail"),
    Network("B300", "", "xdr800-rail"),
    Network("MI325X", "Thor|RoCE|", "thor2-400-rails"),
    Network("MI3", "Pollara", "pollara400-rails"),
    Network("MI300X", "mlx5", "roce400-mi300x-slow"),
    Network("MI300X", "", "roce400-mi300x"),
    Network("MI3", "", "pollara400-rails"),
)
"""The first that matches counts."""

FITTED: Final = (
    "aiconfigurator|Echo|issue #309|oci-hpc|SimuMax|ai-scripts|prasad|NREL|cluster-toolkit|"
    "ml-engineering|issue #527|awsome-distributed|nccl-tests"
)
"""Sources whose rows fitted a profile: their errors are quality of fit, not evidence."""


@dataclass(frozen=True, slots=True)
class Claim:
    """The profiles that stand for a row, or why none do."""

    node: str = ""
    fabric: str = ""
    reason: str = ""


def is_collective_table(columns: Sequence[str]) -> bool:
    """Return whether a table with these columns is one of collectives."""
    return set(REQUIRED) <= set(columns) and bool(set(MEASURES) & set(columns))


def predict(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a prediction for every row of a table of measured collectives, in its order.

    Parameters
    ----------
    frame
        With the columns `REQUIRED`, one of `MEASURES` and any of `OPTIONAL`; sizes as nccl-tests
        counts them. A missing time is derived from the bus bandwidth.

    Returns
    -------
    DataFrame
        On the index of ``frame``: ``source, accelerator, n_gpus, nodes, collective,
        message_bytes``; ``measured_time_us``; ``time_us`` predicted; ``status`` (ok, unsupported,
        invalid) and ``reason``; ``node, fabric`` profiles; ``scope, band``; ``split``
        (calibration: rows of that source fitted a profile).

    Raises
    ------
    SimulatorError
        If columns are missing.
    """
    import pandas as pd  # noqa: PLC0415 - slow to import

    missing = [name for name in REQUIRED if name not in frame.columns]
    if missing or not is_collective_table(list(frame.columns)):
        lacking = ", ".join(missing) or " or ".join(MEASURES)
        raise SimulatorError(f"not a table of collectives: it has no column {lacking}")
    columns = [*REQUIRED, *MEASURES, *OPTIONAL]
    plain = {
        name: frame[name].tolist() if name in frame.columns else [None] * len(frame)
        for name in columns
    }
    records = (dict(zip(columns, row, strict=True)) for row in zip(*plain.values(), strict=True))
    return pd.DataFrame([_predicted(record) for record in records], index=frame.index)


def summary(predictions: pd.DataFrame) -> pd.DataFrame:
    """Return errors of `predict`'s rows by part, scope, kind and size band.

    Columns: ``accelerator, scope, collective, band, split, rows, covered``, and of covered rows
    with a time the median absolute, 90th-percentile absolute and median signed error as shares
    (``median_error, p90_error, bias``).
    """
    keys = ["accelerator", "scope", "collective", "band", "split"]
    return _errors(predictions, keys)


def part_summary(predictions: pd.DataFrame) -> pd.DataFrame:
    """Return errors of `predict`'s rows by split, part, scope and size band, as `summary`."""
    return _errors(predictions, ["split", "accelerator", "scope", "band"])


def _errors(predictions: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    ok = predictions["status"] == "ok"
    timed = predictions["measured_time_us"].where(ok)
    error = predictions["time_us"] / timed - 1
    table = predictions[keys].assign(covered=ok, error=error, size=error.abs())
    groups = table.groupby(keys, sort=True, dropna=False)
    return groups.agg(
        rows=("covered", "size"),
        covered=("covered", "sum"),
        median_error=("size", "median"),
        p90_error=("size", lambda sizes: sizes.quantile(0.9)),
        bias=("error", "median"),
    ).reset_index()


def _predicted(row: dict[str, Any]) -> dict[str, Any]:
    """Return the prediction of one row, or why there is none."""
    ranks, nodes, n_bytes = (_number(row[name]) for name in ("n_gpus", "nodes", "message_bytes"))
    kind = KINDS.get(_text(row["collective"]))
    result: dict[str, Any] = {
        "source": _text(row["source"]),
        **{name: row[name] for name in REQUIRED},
        "measured_time_us": _measured_us(row, kind),
        "time_us": float("nan"),
        "status": "ok",
        "reason": "",
        "node": "",
        "fabric": "",
        "scope": "inside" if nodes == 1 else "between",
        "band": band(n_bytes) if n_bytes is not None else "",
        "split": "calibration" if re.search(FITTED, _text(row["source"])) else "validation",
    }
    status, reason = _objection(row, kind, ranks, nodes, n_bytes)
    if status:
        return result | {"status": status, "reason": reason}
    if kind is None or ranks is None or nodes is None or n_bytes is None:  # for the type checker
        return result
    claim = _claim(row, kind, int(nodes))
    if claim.reason:
        return result | {"status": "unsupported", "reason": claim.reason}
    result |= {"node": claim.node, "fabric": claim.fabric if nodes > 1 else ""}
    site = site_of(claim.node, claim.fabric)
    span = span_of(int(ranks), int(nodes), site)
    if isinstance(span, str):
        return result | {"status": "unsupported", "reason": span}
    result["scope"] = "inside" if span.nodes == 1 else "between"
    try:
        seconds = collective_time(kind, n_bytes, span, site)
    except SimulatorError as error:
        return result | {"status": "unsupported", "reason": str(error)}
    return result | {"time_us": seconds / MICRO}


def _objection(
    row: Mapping[str, Any],
    kind: Collective | None,
    ranks: float | None,
    nodes: float | None,
    n_bytes: float | None,
) -> tuple[str, str]:
    """Return the status and the reason of a row that cannot be predicted, else empty texts."""
    collective = _text(row["collective"])
    library = _library(row)
    if collective.startswith("moe_"):
        return "unsupported", "a fused kernel for experts, not a collective of the library"
    if re.search("MSCCL|TransferBench", library):
        return "unsupported", f"kernels of {library.split()[0]}, not of NCCL or RCCL"
    if kind is None:
        return "unsupported", f"no model of {collective or 'an unnamed collective'}"
    if "threshold" in _text(row["source"]):
        return "invalid", "an acceptance threshold, not a measurement"
    if not (ranks and nodes and n_bytes is not None) or ranks < nodes or n_bytes < 0:
        return (
            "invalid",
            "n_gpus, nodes and message_bytes must be numbers, with a rank in each node",
        )
    return "", ""


def _claim(row: Mapping[str, Any], kind: Collective, nodes: int) -> Claim:
    """Return the profiles of a part on a network under a library, or why there are none."""
    part, nic = _text(row["accelerator"]), _text(row["nic"])
    node = node_of(part)
    if node is None:
        return Claim(reason=f"no profile of {part}")
    if _is_old(_library(row)):
        node = OLD_NCCL.get(node, node)
    if kind in REDUCTIONS and _text(row["dtype"]) in ("int8", "uint8"):
        node = RINGS.get(node, node)
    if nodes == 1:
        return Claim(node, default_fabric(part))
    claim = _across(node, part, nic)
    version = _version(_library(row), "RCCL")
    if version and version < NEW_RCCL:
        return Claim(claim.node, OLD_RCCL.get(claim.fabric, claim.fabric), claim.reason)
    return claim


@cache
def node_of(part: str) -> str | None:
    """Return the node profile of a part by its name, None if there is none."""
    return next((name for pattern, name in NODES if re.search(pattern, part)), None)


@cache
def _across(node: str, part: str, nic: str) -> Claim:
    """Return the profiles of a group that leaves its nodes."""
    match = next(
        (row for row in NETWORKS if re.search(row.part, part) and re.search(row.nic, nic)), None
    )
    if match is None or ("unspecified" in nic and "H100" not in part):
        return Claim(reason=f"no profile of {part} on the network {nic or 'that is not named'}")
    return Claim(match.node or node, match.fabric)


@cache
def default_fabric(part: str) -> str:
    """Return a fabric to complete the site of a group that stays inside its node."""
    return next((row.fabric for row in NETWORKS if re.search(row.part, part)), "ethernet-100g")


@cache
def _is_old(library: str) -> bool:
    """Return whether a library is an NCCL before `NEW_NCCL`."""
    version = _version(library, "NCCL")
    return version < NEW_NCCL if version else any(mark in library for mark in OLD_FORMATS)


def _version(library: str, name: str) -> tuple[int, int] | None:
    """Return the release that ``library`` states for the library called ``name``."""
    number = re.search(rf"\b{name} (\d+)\.(\d+)", library)
    return (int(number[1]), int(number[2])) if number else None


@cache
def site_of(node: str, fabric: str) -> Site:
    """Return the node and the fabric of these profiles."""
    catalog = Catalog()
    return Site(
        validate(Node, catalog.document("node", node)),
        validate(Fabric, catalog.document("fabric", fabric)),
    )


def span_of(ranks: int, hosts: int, site: Site) -> GroupSpan | str:
    """Return where the ranks sit, or why they do not fit; the hosts of one rack are one node."""
    domain = site.node.accelerators
    in_trays = domain > LARGEST_HOST >= ranks / hosts
    nodes = -(-ranks // domain) if in_trays else hosts
    if ranks % nodes or ranks // nodes > domain:
        return f"{ranks} ranks do not fit evenly into {nodes} nodes of {domain}"
    return GroupSpan(ranks=ranks, ranks_per_node=ranks // nodes, nodes=nodes, tier=int(nodes > 1))


def _measured_us(row: Mapping[str, Any], kind: Collective | None) -> float:
    """Return the measured time [us], derived from the bus bandwidth if need be; else NaN."""
    time = _number(row["time_us"])
    if time:
        return time
    rate, n_bytes, ranks = (
        _number(row[name]) for name in ("busbw_GBps", "message_bytes", "n_gpus")
    )
    if not (kind and rate and n_bytes and ranks):
        return float("nan")
    return bus_factor(kind, int(ranks)) * n_bytes / (rate * GIGA) / MICRO


def _library(row: Mapping[str, Any]) -> str:
    return _text(row["library_version"]) or _text(row["library"])


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _number(value: object) -> float | None:
    """Return ``value`` as a number; None for what is empty or not one."""
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return None if number != number else number  # noqa: PLR0124 - NaN
