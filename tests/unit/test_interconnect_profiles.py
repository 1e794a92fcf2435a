"""The shipped nodes, fabrics and clusters: sourced, consistent, and close to what was measured."""

from __future__ import annotations

import re
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest

from simulator.catalog import Catalog
from simulator.documents import Document, Status, validate
from simulator.hardware.cluster import Cluster
from simulator.hardware.collective_costs import bus_bandwidth, collective_time
from simulator.hardware.collectives import GroupSpan
from simulator.hardware.fabric import Fabric
from simulator.hardware.levels import levels_of
from simulator.hardware.node import Node, ScaleUp
from simulator.hardware.topology import topology_of
from simulator.operators import Collective
from simulator.validation.collectives import predict

if TYPE_CHECKING:
    from collections.abc import Iterator

    from simulator.documents import FieldPath

ROOT = Path(__file__).parents[2]
MEASURED = ROOT.parent / "shared" / "data" / "collectives_measured.csv"

CLUSTERS = Catalog().names("cluster")
PROFILES = [(kind, name) for kind in ("node", "fabric") for name in Catalog().names(kind)]
EXPECTED_CLUSTERS = {
    *("a100-hdr200", "a100-megascale", "h100-ndr400", "h100-roce400", "h200-ndr400"),
    *("h800-ndr400", "b200-ndr400", "b300-xdr800", "gb200-nvl72", "gb300-nvl72"),
    *("mi300x-pollara400", "mi325x-pollara400", "mi350x-pollara400", "mi355x-pollara400"),
    *("tpu-v5e", "tpu-v5p", "tpu-v6e", "p100-50g"),
    *("a100-selene", "a100-vtrain", "a100-jean-zay", "a100-roce200", "a100-40gb-roce200"),
    *("h800-hpn400", "h100-two-regions"),
    *("h100-torchtitan", "h100-p5", "h200-p5en", "b200-p6", "h100-a3mega", "a100-p4d"),
}


@cache
def document(kind: str, name: str) -> Document:
    return Catalog().document(kind, name)


@cache
def cluster(name: str) -> Cluster:
    return validate(Cluster, document("cluster", name))


@cache
def node(name: str) -> Node:
    return validate(Node, document("node", name))


def span(ranks_per_node: int, nodes: int = 1) -> GroupSpan:
    return GroupSpan(
        ranks=ranks_per_node * nodes,
        ranks_per_node=ranks_per_node,
        nodes=nodes,
        tier=int(nodes > 1),
    )


def numbers(data: Any, path: FieldPath = ()) -> Iterator[FieldPath]:  # noqa: ANN401 - plain data
    items = data.items() if isinstance(data, dict) else enumerate(data)
    for key, value in items:
        if isinstance(value, (dict, list)):
            yield from numbers(value, (*path, key))
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            yield (*path, key)


def test_the_promised_clusters_are_shipped() -> None:
    assert set(CLUSTERS) >= EXPECTED_CLUSTERS


@pytest.mark.parametrize(("kind", "name"), PROFILES)
def test_profiles_are_valid_and_named_like_their_file(kind: str, name: str) -> None:
    record: Node | Fabric = validate({"node": Node, "fabric": Fabric}[kind], document(kind, name))
    assert record.name == name


@pytest.mark.parametrize(("kind", "name"), PROFILES)
def test_every_number_has_a_source_and_a_status(kind: str, name: str) -> None:
    profile = document(kind, name)
    paths = list(numbers(profile.data))
    assert len(paths) > 10
    for path in paths:
        # The entries of a list share the source of the list.
        source = profile.sources.get(path) or profile.sources.get(path[:-1])
        assert source is not None, path
        assert source.text, path
        assert source.status is not None, path


@pytest.mark.parametrize("name", CLUSTERS)
def test_the_size_of_every_cluster_has_a_source(name: str) -> None:
    source = document("cluster", name).sources["largest",]
    assert source.text
    assert source.status is not None


@pytest.mark.parametrize(("kind", "name"), PROFILES)
def test_assumptions_say_why_and_fits_what_they_were_fitted_on(kind: str, name: str) -> None:
    for path, source in document(kind, name).sources.items():
        if source.status in (Status.ASSUMED, Status.FITTED):
            assert len(source.text.split()) >= 3, path


@pytest.mark.parametrize(("kind", "name"), PROFILES)
def test_sources_can_be_looked_up_by_anyone(kind: str, name: str) -> None:
    on_this_machine = re.compile(r"(?:^|\s)(?:~|\.{0,2})/\w")
    for path, source in document(kind, name).sources.items():
        assert not on_this_machine.search(source.text), path


@pytest.mark.parametrize("name", CLUSTERS)
def test_tiers_grow_by_whole_nodes_up_to_the_cluster(name: str) -> None:
    site = cluster(name)
    levels = levels_of(site)
    sizes = [level.accelerators for level in levels]
    assert all(inner < outer for inner, outer in pairwise(sizes))
    assert all(outer % site.node.accelerators == 0 for outer in sizes)
    assert site.largest == sizes[-1]
    assert site.fabric.tiers[-1].oversubscription == 1
    assert levels[-1].uplink == 0
    assert topology_of(site).accelerators == site.largest


@pytest.mark.parametrize(
    ("name", "gbit_per_s"),
    [
        ("a100-hdr200", 200),
        ("h100-ndr400", 400),
        ("b300-xdr800", 800),
        ("gb200-nvl72", 400),
        ("gb300-nvl72", 800),
        ("h800-hpn400", 400),
        ("mi355x-pollara400", 400),
        ("a100-vtrain", 100),
        ("a100-jean-zay", 50),
        ("h100-p5", 400),
        ("tpu-v5e", 25),
        ("tpu-v5p", 50),
        ("tpu-v6e", 100),
        ("p100-50g", 6.25),
    ],
)
def test_network_rate_of_one_accelerator(name: str, gbit_per_s: float) -> None:
    assert cluster(name).nic_bandwidth == pytest.approx(gbit_per_s / 8 * 1e9)


@pytest.mark.parametrize("name", Catalog().names("node"))
def test_a_pair_is_no_faster_than_its_links(name: str) -> None:
    assert node(name).pair_bandwidth < node(name).bandwidth


@pytest.mark.parametrize("name", Catalog().names("node"))
def test_tables_are_by_size_within_the_node(name: str) -> None:
    box = node(name)
    for line in box.collectives.lines.values():
        assert (line.bus_bandwidth is None) == (box.scale_up is ScaleUp.TORUS)
        assert all(2 <= size <= box.accelerators for size in line.bus_bandwidth or ())


@pytest.mark.parametrize("name", CLUSTERS)
def test_every_collective_of_the_node_can_leave_it(name: str) -> None:
    site = cluster(name)
    for kind in site.node.collectives.lines:
        assert collective_time(kind, 1e9, span(8, nodes=4), site) > 0


def test_big_basin_has_no_all_to_all() -> None:
    assert Collective.ALL_TO_ALL not in node("big-basin-p100").collectives.lines


@pytest.mark.parametrize(
    ("name", "group", "n_bytes", "gb_per_s", "tolerance"),
    [
        # NVIDIA/nccl-tests issue 309: NVLS, above the 450 GB/s of the links.
        ("h100-ndr400", span(8), 16 * 2**30, 480, 0.05),
        # The same issue: four nodes of eight, and two, whose tree inflates the figure.
        ("h100-ndr400", span(8, nodes=4), 16 * 2**30, 366, 0.05),
        ("h100-ndr400", span(8, nodes=2), 16 * 2**30, 469, 0.10),
        # oracle-quickstart/oci-hpc-oke: two A100 nodes over RoCE.
        ("a100-megascale", span(8, nodes=2), 8 * 2**30, 190, 0.05),
        # ROCm/rocm-blogs mi300x-rccl-xgmi, and stas00/ml-engineering for a pair.
        ("mi300x-pollara400", span(8), 16 * 2**30, 319, 0.05),
        ("mi300x-pollara400", span(2), 4 * 2**30, 47.7, 0.10),
        # hisohara/ai-scripts: rings over two and eight nodes.
        ("mi300x-pollara400", span(8, nodes=2), 16 * 2**30, 357, 0.05),
        ("mi325x-pollara400", span(8, nodes=8), 16 * 2**30, 351, 0.05),
    ],
)
def test_published_all_reduce_bandwidth(
    name: str, group: GroupSpan, n_bytes: float, gb_per_s: float, tolerance: float
) -> None:
    modelled = bus_bandwidth(Collective.ALL_REDUCE, n_bytes, group, cluster(name))
    assert modelled / 1e9 == pytest.approx(gb_per_s, rel=tolerance)


def test_leaving_an_nvl72_rack_makes_all_to_all_several_times_slower() -> None:
    rack = collective_time(Collective.ALL_TO_ALL, 8e9, span(64), cluster("gb300-nvl72"))
    racks = collective_time(Collective.ALL_TO_ALL, 8e9, span(64, nodes=2), cluster("gb300-nvl72"))
    assert 3 < racks / rack < 10


def test_fifty_gigabit_ethernet_hides_the_gradients_of_resnet50() -> None:
    """Goyal et al., section 4: 100 MB of gradients need 15 Gbit/s to hide in 120 ms of backward."""
    site = cluster("p100-50g")
    assert collective_time(Collective.ALL_REDUCE, 100e6, span(8, nodes=32), site) < 0.120


TARGETS = {"<= 64 KiB": 0.12, "<= 16 MiB": 0.10, "> 16 MiB": 0.05}
"""Median absolute error by size band that a part with a fitted profile must not exceed."""
MISSED = {
    # Its curve is not monotone: 512 bytes take 23 us and 1 KB 14 us.
    ("MI300X", "inside", "<= 64 KiB"),
    # 10.4 %: one pair reaches 36 of 50 GB/s at the site whose send_recv was timed; the profile has
    # the share of the network that rings reach, 45.
    ("H100-SXM5-80GB", "between", "<= 16 MiB"),
}
"""Known to be worse, and why."""


def test_median_errors_on_published_measurements_are_those_promised() -> None:
    if not MEASURED.exists():
        pytest.skip("the table of published collective measurements is not available here")
    found = predict(pd.read_csv(MEASURED, low_memory=False))
    ok = found[found["status"] == "ok"]
    assert len(ok) / len(found) > 0.95
    errors = (ok["time_us"] / ok["measured_time_us"] - 1).abs()
    fitted = ok["split"] == "calibration"
    keys = [ok.loc[fitted, name] for name in ("accelerator", "scope", "band")]
    medians = errors[fitted].groupby(keys).median()
    missed = {key for key, error in medians.items() if error > TARGETS[key[2]]}
    assert missed == MISSED
