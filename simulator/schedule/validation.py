"""The one validator of all schedules: every action once, in a possible order, without deadlock."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from simulator.errors import ScheduleError
from simulator.schedule.actions import Action, Kind
from simulator.schedule.dependencies import flatten, locate, producers_of, replay

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from simulator.schedule.actions import Actions, Schedule
    from simulator.schedule.dependencies import FlatColumns

    Indices = NDArray[np.int64]

SHOWN: Final = 5
"""Problems of one sort that are named; the rest are counted."""

FORWARD: Final = (Kind.FORWARD,)
INPUT_GRADIENT: Final = (Kind.BACKWARD, Kind.INPUT_GRADIENT)
WEIGHT_GRADIENT: Final = (Kind.BACKWARD, Kind.WEIGHT_GRADIENT)


def validate_schedule(schedule: Schedule) -> None:
    """Return if the schedule can run.

    Raises
    ------
    ScheduleError
        Listing what `find_problems` found, one problem per line.
    """
    if problems := find_problems(schedule):
        raise ScheduleError("\n".join(problems))


def find_problems(schedule: Schedule) -> list[str]:
    """Return what is wrong with the schedule, one sentence each; empty if it can run.

    Checked are: micro-batches and chunks within range; of each micro-batch and virtual stage
    exactly one F and either one B or one I and one W; on each stage F before B or I, and I before
    W; and, by replay, that no stages wait for one another for ever. What a check builds on is
    checked before it, and its problems are returned alone.

    Notes
    -----
    Messages are taken to be buffered: a stage sends without waiting for the receiver, so two
    stages may exchange them in different orders.
    """
    if problems := _out_of_range(schedule):
        return problems
    columns = flatten(schedule)
    if problems := _wrong_counts(schedule, columns):
        return problems
    return [*_wrong_order(schedule, columns), *_deadlock(schedule, columns)]


def _out_of_range(schedule: Schedule) -> list[str]:
    return [
        problem
        for stage, actions in enumerate(schedule.actions)
        for problem in _strangers(schedule, stage, actions)
    ]


def _strangers(schedule: Schedule, stage: int, actions: Actions) -> list[str]:
    micro_batches, chunks = schedule.micro_batches, schedule.chunks
    wrong = np.flatnonzero(
        (actions.micro_batches < 0)
        | (actions.micro_batches >= micro_batches)
        | (actions.chunks < 0)
        | (actions.chunks >= chunks)
    )
    limits = f"micro-batches are 0 to {micro_batches - 1}, chunks 0 to {chunks - 1}"
    return _listed(
        wrong, lambda i: f"stage {stage}: {actions[i].text(chunks=2)} does not exist; {limits}"
    )


def _wrong_counts(schedule: Schedule, columns: FlatColumns) -> list[str]:
    """Check that each visit has one action for each of its duties."""
    split = bool(np.isin(columns.kind, (Kind.INPUT_GRADIENT, Kind.WEIGHT_GRADIENT)).any())
    duties = (FORWARD, INPUT_GRADIENT, WEIGHT_GRADIENT) if split else (FORWARD, (Kind.BACKWARD,))
    return [problem for duty in duties for problem in _wrong_count(schedule, columns, duty)]


def _wrong_count(schedule: Schedule, columns: FlatColumns, duty: tuple[Kind, ...]) -> list[str]:
    found = np.sort(columns.visit[np.isin(columns.kind, duty)])
    again = found[1:][found[1:] == found[:-1]]
    expected = schedule.micro_batches * schedule.virtual_stages
    absent = expected - (len(found) - len(again))
    # The first visits, as many as hold every missing one that is named: a table of all visits
    # would be huge after a slip of the pen (F999999999).
    first = np.arange(min(expected, len(found) + SHOWN)) if absent else found[:0]
    missing = first[~np.isin(first, found)]
    return [
        *_listed(missing, lambda visit: f"{_name(schedule, visit, duty)} is missing", absent),
        *_listed(np.unique(again), lambda visit: f"{_name(schedule, visit, duty)} is repeated"),
    ]


def _wrong_order(schedule: Schedule, columns: FlatColumns) -> list[str]:
    """Check each visit's own order on its stage: F, then B or I, then W."""
    visits = schedule.micro_batches * schedule.virtual_stages
    forward, input_gradient, weight_gradient = (
        locate(columns, duty, visits) for duty in (FORWARD, INPUT_GRADIENT, WEIGHT_GRADIENT)
    )
    return [
        *_inverted(schedule, columns, forward, input_gradient),
        *_inverted(schedule, columns, input_gradient, weight_gradient),
    ]


def _inverted(
    schedule: Schedule, columns: FlatColumns, earlier: Indices, later: Indices
) -> list[str]:
    # A backward pass is its own input and weight gradient: equal numbers are in order.
    elsewhere = columns.stage[earlier] != columns.stage[later]
    wrong = np.flatnonzero((earlier > later) | elsewhere)
    return _listed(
        wrong,
        lambda visit: (
            f"{_describe(schedule, columns, int(later[visit]))} must come after"
            f" {_describe(schedule, columns, int(earlier[visit]))}, on the same stage"
        ),
    )


def _deadlock(schedule: Schedule, columns: FlatColumns) -> list[str]:
    needed = producers_of(columns, schedule.micro_batches, schedule.virtual_stages)
    waiting = replay(columns, needed, np.zeros(len(needed))).waiting
    return _listed(
        np.array(list(waiting.values())),
        lambda number: (
            f"deadlock: {_describe(schedule, columns, number)} waits for ever for"
            f" {_describe(schedule, columns, int(needed[number]))}"
        ),
    )


def _describe(schedule: Schedule, columns: FlatColumns, number: int) -> str:
    """Return ``F0.1 of stage 2`` for the action with this flat number."""
    stage = int(columns.stage[number])
    action = schedule.actions[stage][number - int(columns.first[stage])]
    return f"{action.text(schedule.chunks)} of stage {stage}"


def _name(schedule: Schedule, visit: int, duty: tuple[Kind, ...]) -> str:
    """Return ``B0.1 or I0.1 of stage 2``: what may do a visit's duty, where it may run."""
    micro_batch, virtual = divmod(visit, schedule.virtual_stages)
    return " or ".join(
        f"{Action(kind, micro_batch, row.index(virtual)).text(schedule.chunks)} of stage {stage}"
        for stage, row in enumerate(schedule.placement)
        if virtual in row
        for kind in duty
    )


def _listed(items: Indices, sentence: Callable[[int], str], count: int | None = None) -> list[str]:
    """Return a sentence for each of the first items and, if there are more, their number.

    ``count`` is how many there are where ``items`` holds only the first.
    """
    sentences = [sentence(int(item)) for item in items[:SHOWN]]
    rest = (len(items) if count is None else count) - len(sentences)
    return [*sentences, f"… and {rest:,} more like the last"] if rest else sentences
