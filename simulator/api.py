"""The one path that everything calls: a scenario in, a result out."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from simulator.engine.events import play_events
from simulator.errors import SimulatorError
from simulator.metrics import memory as stage_memory
from simulator.metrics.islands import across_islands
from simulator.metrics.memory import StageMemory, memory_of
from simulator.metrics.summary import summarise
from simulator.program.build import Plan, build_program, make_plan
from simulator.scenario import Scenario, load_scenario

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    from matplotlib.figure import Figure

    from simulator.engine.trace import Trace

ENGINES = ("auto", "simpy")
"""Engines by name; ``auto`` takes the fastest that plays the program."""


@dataclass(frozen=True)
class Result:
    """A simulated step: its numbers, its trace, its pictures."""

    scenario: Scenario
    summary: dict[str, Any]
    """Plain numbers and text with units in the keys (docs/summary.md)."""
    plan: Plan
    played: Trace
    memory: tuple[StageMemory, ...]
    """Memory of each pipeline stage over the step."""

    @cached_property
    def trace(self) -> pd.DataFrame:
        """Every span of the step, a row each: see `simulator.engine.trace.Trace.frame`."""
        return self.played.frame()

    @cached_property
    def memory_timeline(self) -> pd.DataFrame:
        """Memory of each stage over time: columns stage, time_s, memory_gib."""
        return stage_memory.frame(self.memory)

    def plot_timeline(self) -> Figure:
        """Return the timeline as a matplotlib figure: one row per pipeline stage."""
        from simulator.report.timeline import timeline_figure  # noqa: PLC0415 - matplotlib is slow

        return timeline_figure(self.trace, self.summary)

    def plot_memory(self) -> Figure:
        """Return memory per stage over the step as a matplotlib figure."""
        from simulator.report.memory_plot import memory_figure  # noqa: PLC0415 - as above

        memory = self.summary["memory_gib"]
        return memory_figure(
            self.memory_timeline, memory["stages"], memory["capacity"], self.summary
        )

    def write(self, directory: Path | str) -> dict[str, Path]:
        """Write summary, trace and pictures into ``directory``; return the files by kind.

        Nothing is left half-written: files appear complete or not at all.

        Raises
        ------
        OutputError
            If the directory cannot be written.
        """
        from simulator.report.results import write_results  # noqa: PLC0415 - pandas is slow

        return write_results(self, directory)


def simulate(scenario: Scenario | Path | str, *, engine: str = "auto") -> Result:
    """Return the result of one training step of ``scenario``.

    Parameters
    ----------
    scenario
        A scenario, or the path of its YAML file.
    engine
        ``simpy`` (the reference), or ``auto``.

    Raises
    ------
    SimulatorError
        If the scenario is wrong, or there is no such engine.
    """
    if engine not in ENGINES:
        raise SimulatorError(f"no engine is called {engine!r}; there are: {', '.join(ENGINES)}")
    if not isinstance(scenario, Scenario):
        scenario = load_scenario(scenario)
    plan = make_plan(scenario)
    trace = play_events(build_program(plan))
    memory = memory_of(trace, plan)
    return Result(
        scenario=scenario,
        summary=summarise(trace, plan, memory, "simpy") | across_islands(plan, memory),
        plan=plan,
        played=trace,
        memory=memory,
    )
