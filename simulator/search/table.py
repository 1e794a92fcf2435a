"""Candidates and their results as named columns, units in the names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from simulator.search.candidates import MODES, ORDERS, SCHEDULES, SHARDINGS
from simulator.units import GIB, HOUR

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from simulator.scenario import Scenario
    from simulator.search.candidates import Rows

CODES: Final[Mapping[str, tuple[str, ...]]] = {
    "schedule": tuple(name.value for name in SCHEDULES),
    "recompute": tuple(mode.value for mode in MODES),
    "sharding": tuple(name.value for name in SHARDINGS),
    "order": tuple(" ".join(order) for order in ORDERS),
}
"""Names of the columns that hold places."""


def columns_of(
    scenario: Scenario, rows: Rows, results: NDArray[np.void]
) -> dict[str, NDArray[Any]]:
    """Return the columns of a table of layouts.

    The layout's (`simulator.search.candidates.ROW`), then ``step_time_s`` (NaN where nothing was
    played), ``tokens_per_s_per_accelerator``, ``peak_memory_gib``, ``peak_stage``,
    ``memory_headroom_gib`` (negative where memory does not suffice) and ``fits``.
    """
    columns: dict[str, NDArray[Any]] = {}
    for name in rows.dtype.names or ():
        codes = CODES.get(name)
        columns[name] = rows[name] if codes is None else np.array(codes)[rows[name]]
    capacity = scenario.cluster.accelerator.memory
    seconds = results["step_time"]
    columns["step_time_s"] = seconds
    columns["tokens_per_s_per_accelerator"] = scenario.batch.tokens / seconds / rows["accelerators"]
    columns["peak_memory_gib"] = results["peak_memory"] / GIB
    columns["peak_stage"] = results["peak_stage"]
    columns["memory_headroom_gib"] = (capacity - results["peak_memory"]) / GIB
    columns["fits"] = results["peak_memory"] <= capacity
    rent = rent_of(scenario)
    if rent is not None:
        columns["cost_per_step"] = rent * rows["accelerators"] * seconds / HOUR
    return columns


def rent_of(scenario: Scenario) -> float | None:
    """Return what an accelerator costs per hour in the currency of its price, None if unsaid."""
    price = scenario.cluster.price
    return None if price is None else price.rent_per_accelerator_hour
