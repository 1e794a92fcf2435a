"""Cost and growth of simulating a step: ``pytest benchmarks/test_step.py``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from simulator import load_scenario, simulate
from simulator.engine.events import play_events
from simulator.program.build import build_program, make_plan

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

SCENARIOS = Path(__file__).parent.parent / "scenarios"
LARGE = SCENARIOS / "llama3-405b-16k-h100.yaml"
SMALL = SCENARIOS / "four-stages.yaml"


def test_whole_step(benchmark: BenchmarkFixture) -> None:
    """16,384 accelerators from file to summary, in a warm process."""
    result = benchmark(lambda: simulate(load_scenario(LARGE)))
    assert result.summary["accelerators"] == 16384


def test_engine_alone(benchmark: BenchmarkFixture) -> None:
    """Tasks per second of the SimPy engine."""
    scenario = load_scenario(LARGE)
    program = build_program(make_plan(scenario))
    trace = benchmark(lambda: play_events(program))
    benchmark.extra_info["tasks"] = len(program)
    assert trace.step_time > 0


@pytest.mark.parametrize("micro_batches", [64, 512, 4096])
def test_growth_with_micro_batches(benchmark: BenchmarkFixture, micro_batches: int) -> None:
    """Four stages: the time should grow in proportion."""
    scenario = load_scenario(SMALL, overrides=[f"batch.global_batch={micro_batches}"])
    assert benchmark(lambda: simulate(scenario)).summary["step_time_s"] > 0


@pytest.mark.parametrize("data", [8, 128, 768])
def test_growth_with_accelerators(benchmark: BenchmarkFixture, data: int) -> None:
    """Rank classes do not grow with data-parallel replicas, so neither should the time."""
    overrides = [
        f"accelerators={128 * data}",
        f"layout.data={data}",
        f"batch.global_batch={16 * data}",
        "cluster.largest=100000",
    ]
    scenario = load_scenario(LARGE, overrides=overrides)
    assert benchmark(lambda: simulate(scenario)).summary["step_time_s"] > 0


def test_cold_process(benchmark: BenchmarkFixture) -> None:
    """``simulator run`` as a user starts it, without files."""
    command = [sys.executable, "-m", "simulator.cli.main", "run", str(LARGE), "--quiet"]
    benchmark.pedantic(  # type: ignore[no-untyped-call]  # the plugin has no types
        lambda: subprocess.run(command, check=True),  # noqa: S603 - our own command
        rounds=3,
    )
