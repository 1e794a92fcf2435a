"""Sweeps and points: texts of options become fields, values and scenarios."""

from __future__ import annotations

import pytest

from simulator.comparison.points import LINE_RATE, make_points
from simulator.comparison.sweeps import Sweep, parse_sweep
from simulator.errors import SimulatorError


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("batch.micro_batch=1,2,4", ("1", "2", "4")),
        ("batch.micro_batch=1:8:x2", ("1", "2", "4", "8")),
        ("batch.micro_batch=1:7:x2", ("1", "2", "4")),
        ("software.tensor_overlap=0:1:0.25", ("0", "0.25", "0.5", "0.75", "1")),
        ("software.tensor_overlap=0.1:0.3:0.1", ("0.1", "0.2", "0.3")),
        ("layout.tensor=8:8:x2", ("8",)),
        ("schedule=1f1b, gpipe", ("1f1b", "gpipe")),
        ("recompute={mode: full, every: 2},none", ("{mode: full, every: 2}", "none")),
        ("layout.order=[tensor, context, pipeline, data]", ("[tensor, context, pipeline, data]",)),
    ],
)
def test_values_are_lists_or_ranges(text: str, values: tuple[str, ...]) -> None:
    assert parse_sweep(text).values == values


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("fabric.nic_gbit_per_s", LINE_RATE),
        ("node.nics", "cluster.node.nics"),
        ("accelerator.memory_gb", "cluster.accelerator.memory_gb"),
        ("fabric.tiers.1.oversubscription", "cluster.fabric.tiers.1.oversubscription"),
        ("accelerators", "accelerators"),
        ("cluster.fabric.efficiency", "cluster.fabric.efficiency"),
    ],
)
def test_parts_of_the_cluster_may_be_named_alone(key: str, path: str) -> None:
    assert parse_sweep(f"{key}=1,2").key == path


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("layout.tensor", "expected KEY=VALUES"),
        ("=1,2", "expected KEY=VALUES"),
        ("layout.tensor=", "expected KEY=VALUES"),
        ("layout.tensor=1,,2", "a value is empty"),
        ("layout.tensor=1,2,1", "the value 1 stands there twice"),
        ("layout.tensor=1:8:x1", "needs a factor above 1"),
        ("layout.tensor=0:8:x2", "a first value above 0"),
        ("layout.tensor=1:8:0", "needs a step above 0"),
        ("layout.tensor=8:1:1", "has no values"),
        ("layout.tensor=a:8:x2", "'a' is no number"),
        ("layout.tensor=1:inf:x2", "'inf' is no number"),
        ("layout.tensor=0:1000:0.5", "more than 1,000 values"),
    ],
)
def test_mistakes_in_a_sweep_are_named(text: str, message: str) -> None:
    with pytest.raises(SimulatorError, match="--sweep") as error:
        parse_sweep(text)
    assert message in str(error.value)


def test_points_are_the_grid_of_clusters_and_values() -> None:
    sweeps = [Sweep("batch.micro_batch", ("1", "2")), Sweep(LINE_RATE, ("100", "200", "400"))]
    points = make_points(["a", "b"], sweeps, ["precision=fp8"], ["b:layout.tensor=4"])
    assert len(points) == 12
    assert points[0].all_overrides() == (
        "cluster=a",
        "precision=fp8",
        "batch.micro_batch=1",
        f"{LINE_RATE}=100",
    )
    assert [p.settings[1][1] for p in points[:3]] == ["100", "200", "400"]
    last = points[-1].all_overrides(line_rate=False)
    assert last == ("cluster=b", "precision=fp8", "layout.tensor=4", "batch.micro_batch=2")


@pytest.mark.parametrize(
    ("clusters", "sweeps", "overrides", "on", "message"),
    [
        ([], [], [], [], "nothing to compare"),
        (["a", "a"], [], [], [], "--clusters: a stands there twice"),
        (["a", ""], [], [], [], "--clusters: a name is empty"),
        ([], ["layout.tensor=1", "layout.tensor=2"], [], [], "--sweep: layout.tensor stands"),
        ([], ["fabric.efficiency=1"], ["cluster.fabric.efficiency=1"], [], "both swept and set"),
        ([], ["cluster=a,b"], [], [], "clusters are listed by --clusters"),
        (["a"], [], ["cluster=b"], [], "both choose the cluster"),
        (["a"], [], [], ["b:x=1"], "'b' is not among the clusters: a"),
        (["a"], [], [], ["a"], "expected CLUSTER:KEY=VALUE"),
        ([], ["x=0:999:1", "y=0:99:1"], [], [], "100,000 scenarios to compare; at most 10,000"),
    ],
)
def test_mistakes_in_what_is_compared_are_named(
    clusters: list[str], sweeps: list[str], overrides: list[str], on: list[str], message: str
) -> None:
    with pytest.raises(SimulatorError, match=message):
        make_points(clusters, [parse_sweep(text) for text in sweeps], overrides, on)
