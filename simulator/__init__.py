"""Discrete-event simulator of training clusters.

>>> from simulator import load_scenario, simulate
>>> result = simulate(load_scenario("scenarios/four-stages.yaml"))  # doctest: +SKIP
>>> result.summary["step_time_s"]  # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from simulator.api import Result, simulate
    from simulator.errors import SimulatorError
    from simulator.scenario import Scenario, load_scenario

__version__ = "0.1.0"

__all__ = ["Result", "Scenario", "SimulatorError", "__version__", "load_scenario", "simulate"]

_HOMES = {
    "Result": "simulator.api",
    "simulate": "simulator.api",
    "SimulatorError": "simulator.errors",
    "Scenario": "simulator.scenario",
    "load_scenario": "simulator.scenario",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever the name stands for
    """Import a public name when it is first used, so that starting the command stays cheap."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415 - only here

    return getattr(import_module(_HOMES[name]), name)
