"""Cost of knowing which bytes go where: ``pytest benchmarks/test_collectives.py``."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

from simulator.catalog import Catalog
from simulator.documents import validate
from simulator.hardware.cluster import Cluster
from simulator.hardware.collective_traffic import traffic
from simulator.hardware.members import members_of
from simulator.hardware.pattern_costs import pattern_cost
from simulator.hardware.patterns import Pattern
from simulator.operators import Collective
from simulator.parallel.placement import span_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_benchmark.fixture import BenchmarkFixture

RANKS = 16384
MESSAGE = 2**30
SECONDS = 1.0
"""Most that an all_reduce with bytes on every link may take."""


@pytest.mark.parametrize("pattern", ["ring", "tree", "halving_doubling", "sharp", "hierarchical"])
def test_all_reduce_over_a_fat_tree(benchmark: BenchmarkFixture, pattern: str) -> None:
    """1 GiB over 16,384 accelerators: bytes on each of 66,576 bundles, and the time."""
    cluster = validate(Cluster, Catalog().document("cluster", "h100-ndr400"))
    members = members_of(np.arange(RANKS), cluster.node.accelerators)

    def price() -> float:
        found = traffic(Collective.ALL_REDUCE, Pattern(pattern), MESSAGE, members, cluster)
        span, _ = span_of(members.slots.reshape(1, -1), cluster)
        cost = pattern_cost(Collective.ALL_REDUCE, Pattern(pattern), found, span, cluster)
        assert np.count_nonzero(found.load) > RANKS
        return cost.time

    assert benchmark(price) > 0.001
    if benchmark.stats is not None:
        assert benchmark.stats.stats.median < SECONDS


@pytest.mark.parametrize("pattern", ["pairwise", "pxn"])
def test_all_to_all_over_a_fat_tree(benchmark: BenchmarkFixture, pattern: str) -> None:
    """268 million pairs, counted and not followed."""
    cluster = validate(Cluster, Catalog().document("cluster", "h100-ndr400"))
    members = members_of(np.arange(RANKS), cluster.node.accelerators)
    found = benchmark(
        lambda: traffic(Collective.ALL_TO_ALL, Pattern(pattern), MESSAGE, members, cluster)
    )
    assert found.busiest.name.startswith("nic")


def test_process(measure: Callable[..., None]) -> None:
    """``simulator collective`` as a user starts it; the memory that it needs is printed, too."""
    command = [
        *(sys.executable, "-m", "simulator.cli.main", "collective", "all_reduce", "--json"),
        *("--cluster", "h100-ndr400", "--ranks", str(RANKS), "--bytes", "1GiB"),
    ]

    def run() -> str:
        done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603
        return done.stdout

    (row,) = json.loads(run())["sizes"]
    assert row["bytes_by_link_class"]["nic up"] > 0
    measure(f"simulator collective, {RANKS:,} accelerators", run)
