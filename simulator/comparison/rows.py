"""Rows: one point of a comparison, simulated, as plain values with their units in the names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from simulator.api import simulate
from simulator.comparison.columns import KNEES
from simulator.comparison.knee import find_knee
from simulator.comparison.points import CLUSTER
from simulator.documents import Status
from simulator.errors import (
    DocumentError,
    MisfitError,
    Problem,
    ScenarioError,
    SimulatorError,
)
from simulator.operators import Axis
from simulator.report.comparison_words import OVER_MEMORY, REFUSED, TRANSFERRED
from simulator.report.search_tables import layout_text
from simulator.scenario import load_scenario
from simulator.scenario.loading import full_key, load_sources
from simulator.units import GBIT_PER_S, HOUR, MEGA

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from simulator.comparison.points import Point
    from simulator.hardware.price import Price
    from simulator.scenario import Scenario

OK: Final = "ok"
KERNELS: Final = ("cluster", "accelerator", "kernels")
MEASURED: Final = (Status.MEASURED, Status.FITTED)
"""How numbers came about that stand on timings of the part, or of its family."""
OWN: Final = "own"
"""Kernels of a part with such numbers; those of one without are `TRANSFERRED`."""


@dataclass(frozen=True, slots=True)
class Job:
    """What all points of a comparison share."""

    scenario: Path
    profiles: tuple[Path, ...]
    engine: str
    best_layout: bool = False
    """Whether each point gets the fastest layout that fits there instead of the scenario's own."""

    def load(self, point: Point, *, line_rate: bool = True) -> Scenario:
        """Return the scenario of a point."""
        overrides = point.all_overrides(line_rate=line_rate)
        scenario = load_scenario(self.scenario, overrides=overrides, profiles=self.profiles)
        if not self.best_layout:
            return scenario
        from simulator.search.candidates import scenario_of  # noqa: PLC0415 - numba is slow
        from simulator.search.search import search_layouts  # noqa: PLC0415 - as above

        return scenario_of(scenario, search_layouts(scenario, workers=1).best)


def measure_point(job: Job, point: Point) -> dict[str, Any]:
    """Return the row of a point: `columns.COLUMNS` without what the knee adds.

    A point that does not go together is a row as well, with its reason.

    Raises
    ------
    SimulatorError
        If the scenario has mistakes: unknown fields or profiles, values out of range.
    """
    row: dict[str, Any] = {"cluster": point.cluster, **dict(point.settings)}
    row["changes"] = ", ".join(point.own)
    try:
        scenario = job.load(point)
        row["cluster"] = point.cluster or scenario.cluster.name
        summary = simulate(scenario, engine=job.engine).summary
    except SimulatorError as error:
        return {**row, "status": REFUSED, "reason": _reason(error, point)}
    fits = summary["fits"]
    return {
        **row,
        "status": OK if fits else OVER_MEMORY,
        "reason": "" if fits else _memory_reason(summary),
        **_figures(scenario, summary),
        **_bill(scenario, summary, changed=_changes_the_cluster(point)),
        "kernels": _kernels(job, point),
        "notes": "; ".join(_notes(job, scenario, summary)),
    }


def measure_knee(job: Job, point: Point) -> dict[str, Any]:
    """Return what the search for the knee adds to the rows of a point; nothing if it is refused."""
    try:
        scenario = job.load(point, line_rate=False)
        knee = find_knee(scenario, engine=job.engine)
    except SimulatorError as error:
        _reason(error, point)
        return {}
    rates = {name: knee.rates[share] for name, share in KNEES.items()}
    return {
        "compute_bound_step_time_s": knee.compute_bound,
        "communication_free_step_time_s": knee.communication_free,
        **{name: rate and rate / GBIT_PER_S for name, rate in rates.items()},
        "knee_reason": knee.reason,
    }


def _reason(error: SimulatorError, point: Point) -> str:
    """Return why a point is refused, in one line; a mistake of the user is raised again."""
    if isinstance(error, MisfitError):
        return "; ".join(map(_rule, error.problems))
    if isinstance(error, (ScenarioError, DocumentError)):
        text = str(error)
        for key, _ in point.settings:
            text = text.replace(f"--set {key}:", f"--sweep {key}:")
        if point.cluster is not None:
            text = text.replace(f"--set {CLUSTER}: {CLUSTER}:", "--clusters:")
        # As text: a scenario's problems do not travel between processes.
        raise SimulatorError(text) from None
    return " ".join(str(error).split())


def _rule(problem: Problem) -> str:
    return f"{problem.path}: {problem.message}"


def _memory_reason(summary: dict[str, Any]) -> str:
    memory = summary["memory_gib"]
    return f"needs {memory['peak']:.1f} of {memory['capacity']:.1f} GiB"


def _figures(scenario: Scenario, summary: dict[str, Any]) -> dict[str, Any]:
    layout = summary["layout"]
    degrees = " x ".join(f"{axis} {layout[axis]}" for axis in Axis if layout.get(axis, 1) > 1)
    return {
        "scenario": summary["scenario"],
        "accelerator": summary["accelerator"],
        "accelerators": summary["accelerators"],
        "model": summary["model"],
        "software": summary["software"],
        "precision": summary["precision"],
        "layout": degrees or "one rank",
        "global_batch": summary["batch"]["global_batch"],
        "micro_batch": summary["batch"]["micro_batch"],
        "sequence_length": summary["batch"]["sequence_length"],
        "line_rate_gbit_per_s": scenario.cluster.nic_bandwidth / GBIT_PER_S,
        "step_time_s": summary["step_time_s"],
        "tokens_per_s_per_accelerator": summary["tokens_per_s_per_accelerator"],
        **{f"mfu_{convention}": share for convention, share in summary["mfu"].items()},
        "bubble_fraction": summary["bubble_fraction"],
        **{f"{part}_s": seconds for part, seconds in summary["breakdown_s"].items()},
        "peak_memory_gib": summary["memory_gib"]["peak"],
        "memory_capacity_gib": summary["memory_gib"]["capacity"],
    }


def _bill(scenario: Scenario, summary: dict[str, Any], *, changed: bool) -> dict[str, Any]:
    price: Price | None = scenario.cluster.price
    if price is None or changed:
        return {}
    rent = price.rent_per_accelerator_hour
    hours = scenario.accelerators * summary["step_time_s"] / HOUR
    millions = summary["tokens_per_step"] / MEGA
    return {
        "network_share_of_price": price.network_share,
        "rent_per_million_tokens": rent and rent * hours / millions,
        "currency": price.currency,
        "price_date": price.date,
    }


def _changes_the_cluster(point: Point) -> bool:
    """Return whether a field of the cluster is overridden: its price is then another's."""
    keys = [full_key(text.partition("=")[0].strip()) for text in point.all_overrides()]
    return any(key.startswith("cluster.") and not key.startswith("cluster.price") for key in keys)


def _notes(job: Job, scenario: Scenario, summary: dict[str, Any]) -> Iterator[str]:
    """Yield what a reader of the row should know of its layout and how groups sit there."""
    if job.best_layout:
        yield f"best layout: {layout_text(_searched_layout(summary))}"
    size = scenario.cluster.node.accelerators
    for group in summary["groups"]:
        if group["axis"] in (Axis.TENSOR, Axis.CONTEXT) and group["nodes"] > 1:
            yield f"{group['axis']} groups of {group['ranks']} cross nodes of {size}"
    for group in summary["groups"]:
        if group["contention"] > 1:
            times = f"{group['contention']:.2f} times"
            yield f"{group['axis']} traffic asks {times} what the uplinks carry"
    if "islands" in summary:
        mean = summary["islands"]["mean_step_time_s"]
        yield f"all this on one island; {mean:.3g} s per step with the exchanges"


def _searched_layout(summary: dict[str, Any]) -> dict[str, Any]:
    """Return the layout of a summary as a search tells it."""
    return {
        **summary["layout"],
        "order": " ".join(summary["layout"]["order"]),
        "micro_batch": summary["batch"]["micro_batch"],
        "schedule": summary["schedule"],
        "recompute": summary["recompute"]["mode"],
        "recompute_every": summary["recompute"]["every"],
    }


def _kernels(job: Job, point: Point) -> str:
    """Return whether any number of the accelerator's kernels was measured on or fitted to it."""
    overrides = point.all_overrides()
    sources = load_sources(job.scenario, overrides=overrides, profiles=job.profiles)
    stated = [source.status for path, source in sources.items() if path[: len(KERNELS)] == KERNELS]
    transferred = bool(stated) and not any(status in MEASURED for status in stated)
    return TRANSFERRED if transferred else OWN
