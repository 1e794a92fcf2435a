"""A job with every rank as a rank class of its own: what folding must not change."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from simulator.engine.levels import Levels, Waits
from simulator.parallel.ranks import replica_grid
from simulator.program.build import build_program
from simulator.program.builder import COLUMNS, ProgramBuilder
from simulator.program.classes import move
from simulator.program.stretch import GroupTraits, Stretch, network_durations
from simulator.program.tasks import NONE, Lane, Program

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from simulator.program.build import Plan
    from simulator.program.perturbations import Perturbations


def every_rank(plan: Plan, perturbations: Perturbations) -> Program:
    """Return the program of ``plan`` spelt out rank by rank, task by task.

    Each task comes once for every rank of the job, with the rank's own compute. Ranks of one group
    meet before and after each task that computes, replicas before each collective.
    """
    grid = replica_grid(plan.scenario.layout)
    traits = GroupTraits.of(perturbations, plan)
    plan = move(plan, perturbations)
    program = build_program(plan)
    stretch = Stretch.of(program, plan)
    compute = perturbations.compute(grid.size)
    network = network_durations(program, plan, stretch, traits)
    builder = ProgramBuilder([0] * grid.size, [1.0] * grid.size)
    for name in program.names:
        builder.name(name)
    before = program.lane_predecessor()
    ends: dict[tuple[int, int], NDArray[np.int64]] = {}
    for task in Levels.of(Waits.of(program)).tasks.tolist():  # after what it waits for
        groups = [_members(program, grid, task, replica) for replica in range(len(grid))]
        waits = [
            np.concatenate(
                [
                    np.zeros(0, dtype=np.int64),
                    *(
                        ends[other, replica]
                        for other in (*program.predecessors_of(task).tolist(), int(before[task]))
                        if other != NONE
                    ),
                ]
            )
            for replica in range(len(grid))
        ]
        if program.collective[task]:
            waits = [np.concatenate(waits)] * len(grid)
        for replica, ranks in enumerate(groups):
            seconds = network[replica, task] + stretch.computed[task] * (compute[ranks] - 1.0)
            ends[task, replica] = _add(
                builder, program, task, ranks=ranks, seconds=seconds, waits=waits[replica]
            )
    return builder.build()


def _members(
    program: Program, grid: NDArray[np.int64], task: int, replica: int
) -> NDArray[np.int64]:
    """Return the ranks that play a task; a gate is nobody's, and stands for the first rank."""
    stage = program.rank_class[task]
    return grid[replica, 0, :1] if stage == NONE else grid[replica, stage]


def _add(
    builder: ProgramBuilder,
    program: Program,
    task: int,
    *,
    ranks: NDArray[np.int64],
    seconds: NDArray[np.float64],
    waits: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Add one task for each of a group's ranks, between two meetings; return its end."""
    meeting = builder.gate(waits, "meeting") if len(waits) else None
    columns = {key: getattr(program, key)[task] for key in COLUMNS}
    columns |= {"rank_class": ranks, "duration": seconds, "peer": NONE, "collective": False}
    if program.lane[task] == Lane.GATE:
        columns["rank_class"] = NONE
    added = builder.add(len(ranks), **columns)
    if meeting is not None:
        builder.after(added, meeting)
    return np.array([builder.gate(added, "meeting")])
