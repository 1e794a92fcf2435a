"""Many copies of a program side by side: the replicas of a job, each with times of its own.

The compiled engine with one more axis. Copies meet in the tasks marked ``collective``, as in a
program unfolded into so many replicas, without the unfolding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from simulator.engine import kernels
from simulator.engine.compiled import follow_lanes, refuse_clock, refuse_deadlock
from simulator.engine.levels import Levels, Waits

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from simulator.program.jitter import FactorTable
    from simulator.program.tasks import Program

    Floats = NDArray[np.float64]
    Indices = NDArray[np.int64]


class CopyPlayer:
    """Plays copies of one program; what does not change between plays is worked out once.

    Task t of copy c takes ``fixed[t, c] + scaled[t] * factors[draw[t], c]``. Safe to use from
    several threads at once; numba's kernels then run in parallel.
    """

    def __init__(
        self,
        program: Program,
        fixed: Floats,
        scaled: Floats,
        draw: Indices,
        *,
        numba: bool = True,
    ) -> None:
        """Work out the order of the tasks.

        Parameters
        ----------
        program
            What to play.
        fixed
            Part of each task's time that has no factor [s], shape ``(tasks, copies)``, or
            ``(tasks, 1)`` where it is the same for all.
        scaled
            Part that has one [s], shape ``(tasks,)``.
        draw
            Row of the factors that each task has, -1 for none, shape ``(tasks,)``.
        numba
            Whether numba's machine code plays where numba can be imported, or numpy.

        Raises
        ------
        DeadlockError
            If tasks wait for one another.
        SimulatorError
            If the program depends on the clock.
        """
        refuse_clock(program)
        self._fixed, self._scaled, self._draw = fixed, scaled, draw
        self._joint = program.collective
        self._edges = (
            program.predecessor_offsets,
            program.predecessors,
            program.lane_predecessor(),
        )
        self._machine = kernels.compiled() if numba else None
        if self._machine is None:
            self._levels = Levels.of(Waits.of(program))
            self._order = self._levels.tasks
        else:
            self._order = follow_lanes(program, self._machine)[2]
        refuse_deadlock(program, self._order)

    def play(self, factors: Floats, out: Floats | None = None) -> Floats:
        """Return the end of every task of every copy [s], shape ``(tasks, copies)``.

        Parameters
        ----------
        factors
            Shape ``(draws, copies)``.
        out
            Filled and returned if given: a large array saved.
        """
        if self._machine is None:
            return self._play_levels(factors)
        end = np.empty((len(self._scaled), factors.shape[1])) if out is None else out
        times = (self._fixed, self._scaled, self._draw, factors)
        self._machine.play_copies(self._order, *self._edges, self._joint, *times, end)
        return end

    def _play_levels(self, factors: Floats) -> Floats:
        drawn = np.concatenate([factors, np.zeros((1, factors.shape[1]))])[self._draw]
        duration = self._fixed + self._scaled[:, np.newaxis] * drawn
        return self._levels.play(duration, self._joint)[1]

    def critical_path(self, end: Floats) -> tuple[Indices, Indices]:
        """Return the tasks that the step waited for, and of which copies, from its end back.

        Each started when the next one ended; of several that ended together, any.

        Parameters
        ----------
        end
            End of every task of every copy [s], from `play`.
        """
        path = np.empty((2, len(self._scaled)), dtype=np.int64)
        last, copy = divmod(int(end.argmax()), end.shape[1])
        walk = kernels.critical_path if self._machine is None else self._machine.critical_path
        length = walk(*self._edges, self._joint, end, last, copy, path[0], path[1])
        return path[0, :length], path[1, :length]


def interpolate(table: FactorTable, values: Floats, out: Floats, *, numba: bool = True) -> None:
    """Fill ``out`` with a table's factors at ``values``; both contiguous and of one shape."""
    machine = kernels.compiled() if numba else None
    if machine is not None:
        flat = (values.reshape(-1), table.first, table.step, table.values, out.reshape(-1))
        machine.interpolate(*flat)
        return
    place = np.clip((values - table.first) / table.step, 0.0, len(table.values) - 1.0)
    cell = np.minimum(place.astype(np.int64), len(table.values) - 2)
    low, high = table.values[cell], table.values[cell + 1]
    np.add(low, (place - cell) * (high - low), out=out)
