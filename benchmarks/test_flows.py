"""Cost and growth of flows that share links: ``pytest benchmarks/test_flows.py``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from simulator import load_scenario
from simulator.engine.events import play_events
from simulator.engine.flows import max_min_rates
from simulator.program.build import build_program, make_plan
from simulator.program.builder import ProgramBuilder
from simulator.program.tasks import Lane

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

    from simulator.program.tasks import Program

LARGE = Path(__file__).parent.parent / "scenarios" / "llama3-405b-16k-h100.yaml"
CAPACITY = 50e9
"""One interface of 400 Gbit/s [B/s]."""


def incast(flows: int, *, together: bool) -> Program:
    """Return ``flows`` senders into one interface, with messages alike or all different."""
    builder = ProgramBuilder(range(flows), [1.0] * flows)
    n_bytes = 1e9 * (np.ones(flows) if together else 1 + np.arange(flows) / flows)
    tasks = builder.add(
        flows,
        name=builder.name("send"),
        rank_class=np.arange(flows),
        lane=Lane.DATA,
        duration=n_bytes / CAPACITY,
    )
    builder.occupy(tasks, builder.link("nic_in", 0, CAPACITY), n_bytes)
    return builder.build()


@pytest.mark.parametrize("flows", [10, 100, 1000, 10_000])
def test_filling(benchmark: BenchmarkFixture, flows: int) -> None:
    """One division of links, four flows on each, two links for each flow, all connected."""
    links = flows // 2
    uses = [[(flow % links, 1.0), ((7 * flow + 1) % links, 1.0)] for flow in range(flows)]
    limits = [CAPACITY * (1 + flow % 5) / 5 for flow in range(flows)]
    rates = benchmark(lambda: max_min_rates(limits, uses, [CAPACITY] * links))
    assert min(rates) > 0


@pytest.mark.parametrize("flows", [10, 100, 1000, 10_000])
def test_flows_that_end_together(benchmark: BenchmarkFixture, flows: int) -> None:
    """All start and end at once: the time should grow in proportion."""
    program = incast(flows, together=True)
    trace = benchmark.pedantic(lambda: play_events(program), rounds=3)  # type: ignore[no-untyped-call]  # the plugin has no types
    assert trace.step_time == pytest.approx(flows * 1e9 / CAPACITY)


@pytest.mark.parametrize("flows", [10, 100, 1000])
def test_flows_that_end_one_by_one(benchmark: BenchmarkFixture, flows: int) -> None:
    """Each end changes every rate that is left: the time grows with the square."""
    program = incast(flows, together=False)
    trace = benchmark.pedantic(lambda: play_events(program), rounds=3)  # type: ignore[no-untyped-call]  # the plugin has no types
    assert trace.step_time == pytest.approx(1e9 * (1.5 * flows - 0.5) / CAPACITY)


@pytest.mark.parametrize("sharing", ["none", "fair"])
def test_step(benchmark: BenchmarkFixture, sharing: str) -> None:
    """The engine alone on the step of 16,384 accelerators, with and without sharing."""
    scenario = load_scenario(LARGE, overrides=[f"network.sharing={sharing}"])
    program = build_program(make_plan(scenario))
    assert benchmark(lambda: play_events(program)).step_time > 0
