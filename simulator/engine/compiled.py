"""The compiled engine: a program's step as a longest path, the same to the last bit as SimPy's.

A task starts at the latest end of what it waits for. Where neither the order of a lane nor a
duration depends on the clock, that needs no clock: tasks are played in any order in which each
comes after what it waits for.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

import numpy as np

from simulator.engine import kernels
from simulator.engine.deadlock import deadlock_message
from simulator.engine.levels import Levels, Waits
from simulator.engine.trace import Trace
from simulator.errors import DeadlockError, SimulatorError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from simulator.program.tasks import Program

COMPILE_FROM: Final = 500_000
"""Tasks from which loading numba pays: numpy takes about as long to play as many (0.4 s)."""


def play_compiled(program: Program, *, numba: bool | None = None) -> Trace:
    """Return the trace of ``program``.

    Parameters
    ----------
    program
        What to play.
    numba
        Whether numba's machine code plays it or numpy, level by level. If not given, numba if it
        is loaded already or worth loading for so many tasks (`COMPILE_FROM`). Where numba cannot
        be imported, numpy plays.

    Raises
    ------
    DeadlockError
        If tasks wait for one another; the message names them.
    SimulatorError
        If the program depends on the clock, which only the SimPy engine has.
    """
    return CompiledPlayer(program, numba=numba).play(program)


class CompiledPlayer:
    """Plays one program over and over, each time for other durations; its order is found once."""

    def __init__(self, program: Program, *, numba: bool | None = None) -> None:
        """Find the order of the tasks; parameters and refusals as of `play_compiled`."""
        refuse_clock(program)
        if numba is None:
            numba = worth_numba(len(program))
        self._machine = kernels.compiled() if numba else None
        if self._machine is None:
            self._levels = Levels.of(Waits.of(program))

    def play(self, program: Program) -> Trace:
        """Return the trace of the program, or of a copy of it with other durations.

        Raises
        ------
        DeadlockError
            If tasks wait for one another.
        """
        if self._machine is None:
            start, end = self._levels.play(program.duration)
            played = self._levels.tasks
        else:
            start, end, played = follow_lanes(program, self._machine)
        refuse_deadlock(program, played)
        return Trace(program, start, end)


def worth_numba(tasks: int) -> bool:
    """Return whether numba is installed and pays for playing so many tasks."""
    return kernels.available() and ("numba" in sys.modules or tasks >= COMPILE_FROM)


def follow_lanes(
    program: Program, machine: kernels.Kernels
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Return start and end of all tasks [s], and the tasks played in an order that can be played.

    In a deadlock the last are fewer, and the rest of the times mean nothing.
    """
    count = len(program)
    start, end = np.empty(count), np.empty(count)
    order = np.empty(count, dtype=np.int64)
    played = machine.play(
        program.predecessor_offsets,
        program.predecessors,
        program.lane_predecessor(),
        program.duration,
        start,
        end,
        order,
    )
    return start, end, order[:played]


def refuse_deadlock(program: Program, played: NDArray[np.int64]) -> None:
    """Raise the deadlock in which only these tasks were played, if there is one.

    Raises
    ------
    DeadlockError
        If any task is missing.
    """
    if len(played) < len(program):
        ended = np.zeros(len(program), dtype=np.bool_)
        ended[played] = True
        raise DeadlockError(deadlock_message(program, ended))


def refuse_clock(program: Program) -> None:
    """Refuse a program that only an engine with a clock can play.

    Raises
    ------
    SimulatorError
        If its order or durations depend on the clock.
    """
    if program.clock_dependent:
        raise SimulatorError(
            "transfers share links (network.sharing: fair), so that their times depend on the "
            "clock: neither the compiled engine nor samples can play that; use --engine simpy "
            "(auto picks it) or network.sharing: none"
        )
