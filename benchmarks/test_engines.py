"""What engines cost and how that grows: ``pytest benchmarks/test_engines.py``.

Prints, for each measurement, wall and processor time, tasks per second and the ratio to a fixed
piece of work timed in the same process (`conftest.reference_seconds`), which compares between
machines and moods. With ``-k "not cold"`` no processes are started. Nothing here fails for being
slow.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from simulator import load_scenario, simulate
from simulator.engine.compiled import play_compiled
from simulator.engine.events import play_events
from simulator.metrics.samples import sample_steps
from simulator.program.build import build_program, make_plan
from simulator.program.jitter import parse_jitter
from simulator.program.perturbations import Perturbations
from simulator.program.variation import SlowShare, Variation

if TYPE_CHECKING:
    from collections.abc import Callable

    from simulator.scenario import Scenario

    Measure = Callable[..., None]

SCENARIOS = Path(__file__).parent.parent / "scenarios"
LARGE = SCENARIOS / "llama3-405b-16k-h100.yaml"
SMALL = SCENARIOS / "four-stages.yaml"
MILLION = "64 stages x 1, 4,096 micro-batches"
JITTER = parse_jitter("lognormal:0.02")
SLOW = SlowShare(0.005, 0.1)


def pipeline(stages: int, micro_batches: int, chunks: int = 1) -> Scenario:
    """Return the toy with so many stages, a layer for each virtual stage."""
    return load_scenario(
        SMALL,
        overrides=[
            f"accelerators={stages}",
            f"layout.pipeline={stages}",
            f"layout.virtual_stages={chunks}",
            f"schedule={'1f1b' if chunks == 1 else 'interleaved_1f1b'}",
            f"model.layers={stages * chunks}",
            f"batch.global_batch={micro_batches}",
        ],
    )


def replicas(data: int) -> list[str]:
    """Return the overrides that make the large job one of so many data-parallel replicas."""
    return [
        f"accelerators={128 * data}",
        f"layout.data={data}",
        f"batch.global_batch={16 * data}",
        "cluster.largest=100000",
    ]


def test_whole_step(measure: Measure) -> None:
    """16,384 accelerators from file to summary, in a warm process."""
    simulate(load_scenario(LARGE))
    measure("load and simulate llama3-405b-16k-h100", lambda: simulate(load_scenario(LARGE)))


@pytest.mark.parametrize("name", ["llama3-405b-16k-h100", MILLION])
def test_tasks_per_second(measure: Measure, name: str) -> None:
    """One step of 16,384 accelerators, and a million tasks: built, and by every way to play it."""
    plan = make_plan(pipeline(64, 4096) if name == MILLION else load_scenario(LARGE))
    program = build_program(plan)
    ways: dict[str, Callable[[], Any]] = {
        "build": lambda: build_program(plan),
        "play by simpy": lambda: play_events(program),
        "play by numpy": lambda: play_compiled(program, numba=False),
        "play by numba": lambda: play_compiled(program, numba=True),
    }
    for way, work in ways.items():
        work()
        measure(f"{name}, {way}", work, tasks=len(program))


@pytest.mark.parametrize(
    ("stages", "micro_batches", "chunks"),
    [
        (4, 64, 1),
        (4, 512, 1),
        (4, 4096, 1),
        (16, 4096, 1),
        (64, 4096, 1),
        (64, 4096, 2),
    ],
)
def test_growth_with_stages_and_micro_batches(
    measure: Measure, stages: int, micro_batches: int, chunks: int
) -> None:
    """Build and play, numba loaded."""
    plan = make_plan(pipeline(stages, micro_batches, chunks))
    program = build_program(plan)
    play_compiled(program, numba=True)
    name = f"build and play {stages} stages x {chunks}, {micro_batches:,} micro-batches"
    measure(name, lambda: play_compiled(build_program(plan), numba=True), tasks=len(program))


@pytest.mark.parametrize("layers", [16, 64, 256])
def test_growth_with_layers(measure: Measure, layers: int) -> None:
    """From scenario to summary."""
    scenario = load_scenario(SMALL, overrides=[f"model.layers={layers}"])
    measure(f"simulate {layers} layers on 4 stages", lambda: simulate(scenario))


@pytest.mark.parametrize("data", [8, 128, 768])
def test_growth_with_accelerators(measure: Measure, data: int) -> None:
    """From scenario to summary; rank classes do not grow with replicas."""
    scenario = load_scenario(LARGE, overrides=replicas(data))
    measure(f"simulate llama3-405b on {128 * data:,}", lambda: simulate(scenario))


@pytest.mark.parametrize(
    ("name", "variation"),
    [
        ("every rank", Variation(jitter=JITTER, slow=SLOW, per_rank=True)),
        ("1,000 samples, jitter", Variation(jitter=JITTER, samples=1000)),
        ("1,000 samples, jitter and slow ranks", Variation(jitter=JITTER, slow=SLOW, samples=1000)),
    ],
)
def test_samples(measure: Measure, name: str, variation: Variation) -> None:
    """Every action of every group, or rank, of 16,384 accelerators."""
    plan = make_plan(load_scenario(LARGE))
    program = build_program(plan)

    def sample() -> object:
        return sample_steps(program, plan, variation, Perturbations())

    sample_steps(program, plan, replace(variation, samples=1), Perturbations())
    tasks = len(program) * plan.scenario.layout.data * variation.samples
    measure(f"llama3-405b-16k-h100, {name}", sample, tasks=tasks)


@pytest.mark.parametrize("files", [False, True], ids=["tables", "files"])
@pytest.mark.parametrize("data", [128, 768])
def test_cold_process(measure: Measure, tmp_path: Path, *, data: int, files: bool) -> None:
    """``simulator run`` as a user starts it."""
    command = [sys.executable, "-m", "simulator.cli.main", "run", str(LARGE), "--quiet"]
    for override in replicas(data):
        command += ["--set", override]
    if files:
        command += ["--out", str(tmp_path)]
    name = f"simulator run, {128 * data:,} accelerators{', files written' if files else ''}"
    measure(name, lambda: subprocess.run(command, check=True, capture_output=True))  # noqa: S603
