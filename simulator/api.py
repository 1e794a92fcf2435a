"""The one path that everything calls: a scenario in, a result out."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from simulator.engine.choice import play, require_engine
from simulator.errors import SimulatorError
from simulator.metrics.islands import across_islands
from simulator.metrics.memory import StageMemory, memory_columns, memory_of
from simulator.metrics.samples import StepSamples, sample_steps
from simulator.metrics.summary import summarise
from simulator.metrics.variation import perturbation_summary, variation_summary
from simulator.program.build import Plan, build_program, make_plan
from simulator.program.classes import move, perturbed
from simulator.program.perturbations import Perturbations
from simulator.report.pictures import memory_picture, step_times_picture, timeline_picture
from simulator.scenario import Scenario, load_scenario

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pandas as pd
    from matplotlib.figure import Figure

    from simulator.engine.trace import Trace
    from simulator.program.variation import Variation
    from simulator.report.drawing import Drawer


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
    samples: StepSamples | None = None
    """The same step with what varies drawn anew each time, if that was asked for."""

    @cached_property
    def trace(self) -> pd.DataFrame:
        """Every span of the step, a row each: see `simulator.engine.trace.Trace.frame`."""
        return self.played.frame()

    @cached_property
    def memory_timeline(self) -> pd.DataFrame:
        """Memory of each stage over time: columns stage, time_s, memory_gib."""
        import pandas as pd  # noqa: PLC0415 - costs half a second, and few callers need it

        return pd.DataFrame(memory_columns(self.memory))

    def plot_timeline(self) -> Figure:
        """Return the timeline as a matplotlib figure: one row per pipeline stage."""
        return timeline_picture(self.trace, self.summary)

    def plot_memory(self) -> Figure:
        """Return memory per stage over the step as a matplotlib figure."""
        return memory_picture(memory_columns(self.memory), self.summary)

    @property
    def step_times(self) -> pd.DataFrame:
        """Step time of every sample: columns sample, step_time_s, without_slow_ranks_s.

        Raises
        ------
        SimulatorError
            If the result has no samples.
        """
        import pandas as pd  # noqa: PLC0415 - as above

        samples = self._sampled()
        return pd.DataFrame(
            {
                "sample": range(len(samples.step_time)),
                "step_time_s": samples.step_time,
                "without_slow_ranks_s": samples.without_slow,
            }
        )

    def plot_step_times(self) -> Figure:
        """Return the step times of all samples as a matplotlib figure.

        Raises
        ------
        SimulatorError
            If the result has no samples.
        """
        samples = self._sampled()
        return step_times_picture(samples.step_time, samples.without_slow, self.summary)

    def _sampled(self) -> StepSamples:
        if self.samples is None:
            raise SimulatorError("this result has no samples; simulate with a variation")
        return self.samples

    def write(self, directory: Path | str, *, drawer: Drawer | None = None) -> dict[str, Path]:
        """Write summary, trace and pictures into ``directory``; return the files by kind.

        Nothing is left half-written: files appear complete or not at all. A ``drawer``
        (`simulator.report.drawing.DrawingProcess`) draws the pictures meanwhile.

        Raises
        ------
        OutputError
            If the directory cannot be written.
        """
        from simulator.report.results import write_results  # noqa: PLC0415 - pandas is slow

        return write_results(self, directory, drawer=drawer)


def simulate(
    scenario: Scenario | Path | str,
    *,
    engine: str = "auto",
    perturbations: Perturbations | None = None,
    variation: Variation | None = None,
    on_progress: Callable[[], None] | None = None,
) -> Result:
    """Return the result of one training step of ``scenario``.

    Parameters
    ----------
    scenario
        A scenario, or the path of its YAML file.
    engine
        ``simpy`` (the reference), ``compiled``, or ``auto``: the fastest that plays the program.
    perturbations
        Ranks that are slow; they split the rank classes that they touch.
    variation
        What to draw anew for every one of how many samples of the step, beside the step itself.
    on_progress
        Called after every sample, from any thread.

    Raises
    ------
    SimulatorError
        If the scenario is wrong, there is no such engine, or a perturbation or variation names
        ranks that the job does not have, or stands beside islands.
    """
    require_engine(engine)
    if not isinstance(scenario, Scenario):
        scenario = load_scenario(scenario)
    if scenario.islands is not None and (perturbations or variation is not None):
        raise SimulatorError(
            "islands are alike and so are their steps: ranks that differ (slow, drawn, on other "
            "nodes) are simulated for one job alone; leave out the options or set islands to null"
        )
    plan = make_plan(scenario)
    program = build_program(plan)
    played, player = play(program, engine)
    priced = played.step_time
    placed = plan
    if perturbations:
        played, player = play(perturbed(program, plan, perturbations), engine)
        placed = move(plan, perturbations)
    memory = memory_of(played, placed)
    summary = summarise(played, placed, memory, player)
    samples = None
    if perturbations:
        summary["perturbations"] = perturbation_summary(perturbations, priced)
    if variation is not None:
        given = perturbations or Perturbations()
        samples = sample_steps(program, plan, variation, given, on_progress=on_progress)
        summary["variation"] = variation_summary(samples, plan, variation, given, priced)
    return Result(
        scenario=scenario,
        summary=summary | across_islands(placed, memory),
        plan=placed,
        played=played,
        memory=memory,
        samples=samples,
    )


def step_time(scenario: Scenario, *, engine: str = "auto") -> float:
    """Return the time of one training step of ``scenario`` [s] and nothing else of it.

    A search asks for it many times over; memory and breakdown are left out.

    Parameters
    ----------
    scenario, engine
        As `simulate`.

    Raises
    ------
    SimulatorError
        If there is no such engine, it cannot play this step, or the part cannot run the scenario.
    """
    require_engine(engine)
    return play(build_program(make_plan(scenario)), engine)[0].step_time
