"""Clusters of 100,352 accelerators from a short profile: ``pytest benchmarks/test_topology.py``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from simulator.catalog import Catalog
from simulator.documents import validate
from simulator.hardware.cluster import Cluster
from simulator.hardware.graphs import graph
from simulator.hardware.topology import Topology, topology_of
from simulator.parallel.layout import Layout
from simulator.parallel.placement import place

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_benchmark.fixture import BenchmarkFixture

SIZE = 100_352
PROFILE = f"""
base: h100-ndr400
name: hundred-thousand
largest: {SIZE}
fabric:
  tiers:
    - {{name: leaf, accelerators: 256, oversubscription: 1, latency_us: 0}}
    - {{name: spine, accelerators: 2048, oversubscription: 2, latency_us: 0.76}}
    - {{name: core, accelerators: {SIZE}, oversubscription: 1, latency_us: 0.76}}
"""


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    """Return a catalog with the profile."""
    folder = tmp_path / "clusters"
    folder.mkdir()
    (folder / "hundred-thousand.yaml").write_text(PROFILE, encoding="utf-8")
    return Catalog((tmp_path,))


def read(catalog: Catalog) -> Cluster:
    """Return the cluster as a new object, of which nothing is remembered."""
    return validate(Cluster, catalog.document("cluster", "hundred-thousand"))


def test_from_profile_to_bundles(benchmark: BenchmarkFixture, catalog: Catalog) -> None:
    """Reading the YAML, and all bundles with their capacities."""
    topology: Topology = benchmark(lambda: topology_of(read(catalog)))
    assert topology.accelerators == SIZE
    assert len(topology.klass) == 4 * SIZE + 2 * 8 * SIZE // 256 + 2 * SIZE // 2048


def test_from_bundles_to_folded_graph(benchmark: BenchmarkFixture, catalog: Catalog) -> None:
    """One unit of each level and how many like it there are."""
    topology = topology_of(read(catalog))
    folded = benchmark(lambda: graph(topology))
    assert len(folded) < 100


@pytest.mark.parametrize("pairs", [1_000, 100_352])
def test_routes(benchmark: BenchmarkFixture, catalog: Catalog, pairs: int) -> None:
    """Bytes on every bundle when so many random pairs send."""
    topology = topology_of(read(catalog))
    sender, receiver = np.random.default_rng(0).integers(0, SIZE, (2, pairs))
    load = benchmark(lambda: topology.routes(sender, receiver).load(1.0))
    assert topology.by_class(load)["nic up"] <= pairs


def test_placement(benchmark: BenchmarkFixture, catalog: Catalog) -> None:
    """All groups of 98,304 ranks and what they cross."""
    cluster = read(catalog)
    layout = Layout(tensor=8, pipeline=16, data=768)
    placed = benchmark(lambda: place(layout, cluster))
    assert placed.gradient.crosses == "core"
