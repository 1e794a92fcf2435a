"""The engines by name, and which of them plays a program."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from simulator.engine.compiled import play_compiled
from simulator.errors import SimulatorError

if TYPE_CHECKING:
    from simulator.engine.trace import Trace
    from simulator.program.tasks import Program

ENGINES: Final = ("auto", "simpy", "compiled")
"""``auto`` is ``compiled``, save for programs that depend on the clock."""


def require_engine(engine: str) -> None:
    """Refuse an unknown name before any work is done.

    Raises
    ------
    SimulatorError
        If there is no such engine.
    """
    if engine not in ENGINES:
        raise SimulatorError(f"no engine is called {engine!r}; there are: {', '.join(ENGINES)}")


def play(program: Program, engine: str = "auto") -> tuple[Trace, str]:
    """Return the trace of ``program`` and the name of the engine that played it.

    Raises
    ------
    SimulatorError
        If there is no such engine, or it cannot play this program.
    DeadlockError
        If tasks wait for one another.
    """
    require_engine(engine)
    if engine == "compiled" or (engine == "auto" and not program.clock_dependent):
        return play_compiled(program), "compiled"
    from simulator.engine.events import play_events  # noqa: PLC0415 - the other needs no SimPy

    return play_events(program), "simpy"
