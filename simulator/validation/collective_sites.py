"""Which profiles stand for a row of measured collectives.

Rows name parts and networks as their sources did; `NODES` and `NETWORKS` say which profiles stand
for them. What no profile claims to predict is refused with its reason, never guessed.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from simulator.catalog import Catalog
from simulator.documents import validate
from simulator.hardware.cluster import Site
from simulator.hardware.collectives import GroupSpan
from simulator.hardware.fabric import Fabric
from simulator.hardware.node import Node
from simulator.operators import Collective

if TYPE_CHECKING:
    from collections.abc import Mapping

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


@dataclass(frozen=True, slots=True)
class Claim:
    """The profiles that stand for a row, or why none do."""

    node: str = ""
    fabric: str = ""
    reason: str = ""


def claim_of(row: Mapping[str, Any], kind: Collective, nodes: int) -> Claim:
    """Return the profiles of a part on a network under a library, or why there are none."""
    part, nic = text_of(row["accelerator"]), text_of(row["nic"])
    node = node_of(part)
    if node is None:
        return Claim(reason=f"no profile of {part}")
    if _is_old(library_of(row)):
        node = OLD_NCCL.get(node, node)
    if kind in REDUCTIONS and text_of(row["dtype"]) in ("int8", "uint8"):
        node = RINGS.get(node, node)
    if nodes == 1:
        return Claim(node, default_fabric(part))
    claim = _across(node, part, nic)
    version = _version(library_of(row), "RCCL")
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


def library_of(row: Mapping[str, Any]) -> str:
    """Return the library of a row, with its release if the source states one."""
    return text_of(row["library_version"]) or text_of(row["library"])


def text_of(value: object) -> str:
    """Return ``value`` if it is a text, else an empty one."""
    return value if isinstance(value, str) else ""


def number_of(value: object) -> float | None:
    """Return ``value`` as a number; None for what is empty, none or infinite."""
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None
