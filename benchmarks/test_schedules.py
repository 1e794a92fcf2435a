"""Time to build, validate and play the schedules of a large job: 64 stages, 4,096 micro-batches.

Run with ``pytest benchmarks/test_schedules.py``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from simulator.schedule import (
    build_schedule,
    evaluate_equal_costs,
    find_problems,
    format_schedule,
    parse_schedule,
)

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

STAGES, MICRO_BATCHES = 64, 4096

KINDS = pytest.mark.parametrize(("name", "chunks"), [("1f1b", 1), ("interleaved_1f1b", 2)])


@KINDS
def test_build(benchmark: BenchmarkFixture, name: str, chunks: int) -> None:
    """Build a schedule."""
    schedule = benchmark(build_schedule, name, STAGES, MICRO_BATCHES, chunks)
    assert sum(map(len, schedule.actions)) == 2 * STAGES * MICRO_BATCHES * chunks


@KINDS
def test_validate(benchmark: BenchmarkFixture, name: str, chunks: int) -> None:
    """Find no problem in a valid schedule."""
    schedule = build_schedule(name, STAGES, MICRO_BATCHES, chunks)
    assert benchmark(find_problems, schedule) == []


@KINDS
def test_play(benchmark: BenchmarkFixture, name: str, chunks: int) -> None:
    """Play a schedule with equal costs; the makespan is the closed form."""
    schedule = build_schedule(name, STAGES, MICRO_BATCHES, chunks)
    timeline = benchmark(evaluate_equal_costs, schedule, 1, 2)
    assert timeline.makespan == 3 * (chunks * MICRO_BATCHES + STAGES - 1)


@KINDS
def test_print_and_parse(benchmark: BenchmarkFixture, name: str, chunks: int) -> None:
    """Write a schedule as text and read it back."""
    schedule = build_schedule(name, STAGES, MICRO_BATCHES, chunks)
    assert benchmark(lambda: parse_schedule(format_schedule(schedule))) == schedule
