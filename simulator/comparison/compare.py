"""A comparison: points in, one summary of rows out, simulated on all cores where it pays."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from simulator.comparison.columns import (
    COLUMNS,
    CURRENCY,
    KNEES,
    PRICES,
    SEARCHED,
    UTILISATIONS,
)
from simulator.comparison.rows import measure_knee, measure_point
from simulator.engine.choice import require_engine
from simulator.errors import SimulatorError
from simulator.processes import map_items
from simulator.report.comparison_words import LINE_RATE, REFUSED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from simulator.comparison.points import Point
    from simulator.comparison.rows import Job

    Row = dict[str, Any]

SCHEMA_VERSION: Final = 1
FEW_STEPS: Final = 100
"""Simulated steps that are done sooner than processes for them start."""
STEPS_OF_A_KNEE: Final = 25
"""Steps that the search for a knee simulates, about."""
DEFINITION: Final = (
    "Compute-bound is the same step with a network between nodes that takes no time; what is "
    "inside a node stays as it is."
)
UNPRICED: Final = "the profile has none, or a field of the cluster was changed"
SHARED: Final = (
    *("scenario", "model", "accelerator", "accelerators", "layout", "software", "precision"),
    *("global_batch", "micro_batch", "sequence_length"),
)
"""What a title says if all rows have it in common."""


def compare(
    job: Job,
    points: Sequence[Point],
    *,
    knee: bool = True,
    workers: int | None = None,
    advance: Callable[[int], None] = lambda _: None,
) -> dict[str, Any]:
    """Return the summary of a comparison; all values are plain.

    Keys: ``best_layout`` (whether each row has its own), ``swept`` (fields), ``shared`` (what all
    rows have in common), ``knee_columns`` (share of the compute-bound speed by column), ``rows``
    (`columns.COLUMNS` and the swept fields; absent values are None) and ``notes``.

    Parameters
    ----------
    job
        The scenario.
    points
        What is compared (`points.make_points`).
    knee
        Whether to search for the least bandwidth; about 25 more steps for each cluster.
    workers
        Processes; all cores if None.
    advance
        Called with the number of tasks (`tasks`) that were done since the last call.

    Raises
    ------
    SimulatorError
        If the scenario has mistakes, or no point can be run.
    """
    require_engine(job.engine)
    searched = _searched(points) if knee else []
    work = [*((False, point) for point in points), *((True, point) for point in searched)]
    done = map_items(
        partial(_measured, job),
        work,
        workers=workers,
        here=not job.best_layout and len(points) + STEPS_OF_A_KNEE * len(searched) <= FEW_STEPS,
        advance=advance,
    )
    rows = done[: len(points)]
    if all(row["status"] == REFUSED for row in rows):
        reasons = dict.fromkeys(_refusal(row) for row in rows)
        raise SimulatorError("nothing can be compared:\n" + "\n".join(reasons))
    _name_own_cluster(rows)
    found = dict(zip(map(_without_rate, searched), done[len(points) :], strict=True))
    for row, point in zip(rows, points, strict=True):
        _add_knee(row, found.get(_without_rate(point), {}))
    swept = [key for key, _ in points[0].settings]
    return {
        "schema_version": SCHEMA_VERSION,
        "best_layout": job.best_layout,
        "swept": swept,
        "shared": _shared(rows),
        "knee_columns": dict(KNEES) if knee else {},
        "rows": _ordered(rows, swept, knee=knee),
        "notes": _notes(rows, knee=knee),
    }


def tasks(points: Sequence[Point], *, knee: bool = True) -> int:
    """Return how many tasks `compare` reports: points, and searches for their knees."""
    return len(points) + (len(_searched(points)) if knee else 0)


def _measured(job: Job, task: tuple[bool, Point]) -> Row:
    searches, point = task
    return measure_knee(job, point) if searches else measure_point(job, point)


def _searched(points: Sequence[Point]) -> list[Point]:
    """Return a point of each kind that has a knee of its own: all that differ in more than rate."""
    return list({_without_rate(point): point for point in reversed(points)}.values())[::-1]


def _without_rate(point: Point) -> tuple[object, ...]:
    settings = tuple(pair for pair in point.settings if pair[0] != LINE_RATE)
    return point.cluster, settings


def _add_knee(row: Row, knee: Row) -> None:
    """Add what the search found for a row's kind, unless it was refused."""
    if knee and row["status"] != REFUSED:
        share = knee["compute_bound_step_time_s"] / row["step_time_s"]
        row.update(knee, share_of_compute_bound=share)


def _refusal(row: Row) -> str:
    return ": ".join(filter(None, [row["cluster"], row["reason"]]))


def _name_own_cluster(rows: Sequence[Row]) -> None:
    """Name the scenario's own cluster in refused rows, too: the others have read it."""
    own = next(row["cluster"] for row in rows if row["status"] != REFUSED)
    for row in rows:
        row["cluster"] = row["cluster"] or own


def _shared(rows: Iterable[Row]) -> dict[str, Any]:
    """Return what all rows that were simulated have in common."""
    simulated = [row for row in rows if row["status"] != REFUSED]
    first = simulated[0]
    return {key: first[key] for key in SHARED if all(row[key] == first[key] for row in simulated)}


def _ordered(rows: Sequence[Row], swept: Sequence[str], *, knee: bool) -> list[Row]:
    """Return rows with the same columns in the same order; absent values are None."""
    searched = (*KNEES, *SEARCHED) if not knee else ()
    priced = any(row.get(CURRENCY) for row in rows)
    unknown = {name for name in UTILISATIONS if all(row.get(name) is None for row in rows)}
    absent = {*searched, *unknown, *(() if priced else PRICES)}
    first, *rest = (name for name in COLUMNS if name not in absent)
    names = (first, *swept, *rest)
    return [{name: row.get(name) for name in names} for row in rows]


def _notes(rows: Sequence[Row], *, knee: bool) -> list[str]:
    """Return what a reader of all rows should know, a sentence each."""
    notes = [DEFINITION] if knee else []
    without = sorted({row["cluster"] for row in rows if not row.get(CURRENCY)})
    if without:
        notes.append(f"No price of {', '.join(without)}: {UNPRICED}.")
    return notes
