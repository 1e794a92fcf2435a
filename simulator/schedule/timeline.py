"""A schedule played with equal costs: when each action runs and what each stage keeps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from simulator.errors import ScheduleError
from simulator.schedule.actions import KINDS, Kind
from simulator.schedule.dependencies import flatten, producers_of, replay
from simulator.schedule.validation import validate_schedule

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from simulator.schedule.actions import Actions, Schedule

TAKEN: Final = np.array([{Kind.FORWARD: 1, Kind.INPUT_GRADIENT: 0}.get(kind, -1) for kind in KINDS])
"""By kind: 1 if the action takes its chunk's activations, -1 if it gives them back."""


@dataclass(frozen=True, slots=True, eq=False)
class Timeline:
    """When each action runs, by stage and position, in the unit of the costs given."""

    starts: tuple[NDArray[np.float64], ...]
    ends: tuple[NDArray[np.float64], ...]

    @property
    def makespan(self) -> float:
        """End of the last action; the first starts at 0."""
        return max(float(ends.max()) for ends in self.ends)


def evaluate_equal_costs(schedule: Schedule, forward: float, backward: float) -> Timeline:
    """Return when each action runs if stages and chunks cost the same and messages nothing.

    Parameters
    ----------
    schedule
        The schedule to play.
    forward, backward
        Time of F and B of one micro-batch through one chunk, in any unit; 0 or more. I and W
        take half of ``backward`` each: a linear layer's two gradient products have equal FLOPs.

    Raises
    ------
    ScheduleError
        If the schedule cannot run or a cost is negative.

    Notes
    -----
    A preview and a check of closed forms. Communication, uneven stages and recomputation are
    left out; a scenario's program has them.
    """
    if not (0 <= forward < np.inf and 0 <= backward < np.inf):
        raise ScheduleError(f"costs must be finite and not negative: {forward=}, {backward=}")
    validate_schedule(schedule)
    columns = flatten(schedule)
    needed = producers_of(columns, schedule.micro_batches, schedule.virtual_stages)
    durations = _costs(forward, backward)[columns.kind]
    ends = replay(columns, needed, durations).ends
    boundaries = columns.first[1:-1]
    return Timeline(
        tuple(np.split(ends - durations, boundaries)), tuple(np.split(ends, boundaries))
    )


def _costs(forward: float, backward: float) -> NDArray[np.float64]:
    costs = {
        Kind.FORWARD: forward,
        Kind.BACKWARD: backward,
        Kind.INPUT_GRADIENT: backward / 2,
        Kind.WEIGHT_GRADIENT: backward / 2,
    }
    return np.array([costs[kind] for kind in KINDS], float)


def peak_in_flight(schedule: Schedule, weights: ArrayLike = 1.0) -> NDArray[np.float64]:
    """Return the largest sum of activations that each stage holds at once; shape ``(stages,)``.

    Activations of a micro-batch and chunk are held from the start of F to the end of B, or of W
    where the backward pass is split (the weight gradient still reads the layer inputs).

    Parameters
    ----------
    schedule
        A valid schedule.
    weights
        What one micro-batch of a chunk holds, broadcast to ``(stages, chunks)``: bytes or layers,
        say. With the default 1 the result counts micro-batches, each chunk's apart.
    """
    held = np.broadcast_to(np.asarray(weights, float), (schedule.stages, schedule.chunks))
    return np.array(
        [_peak(actions, row) for actions, row in zip(schedule.actions, held, strict=True)]
    )


def _peak(actions: Actions, weights: NDArray[np.float64]) -> float:
    change = TAKEN[actions.kinds] * weights[actions.chunks]
    return float(np.cumsum(change).max(initial=0.0))
