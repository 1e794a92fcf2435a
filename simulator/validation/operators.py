"""Predicted beside measured times of operators."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulator.errors import SimulatorError
from simulator.hardware.gemm_library import with_library
from simulator.hardware.operator_costs import operator_time
from simulator.hardware.operator_tables import added_time, reader, timed_by_events
from simulator.units import MICRO

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from simulator.hardware.accelerator import Accelerator


def predict(frame: pd.DataFrame, accelerator: Accelerator) -> NDArray[np.float64]:
    """Return the predicted time [us] of every row, in the order of rows, as such tables measure it.

    The table's kind is known by its columns: ``gemm.csv``, ``attention.csv``, ``grouped_gemm.csv``
    or ``pointwise.csv``. The timing overhead of an event pair (3.5 us) is added where one took the
    time, and to a backward attention call the host's time before its first kernel (40 us). A column
    ``library`` says which of the profile's GEMM libraries ran a row.

    Raises
    ------
    SimulatorError
        If the columns are of none of these tables, rows are of several parts, or the part cannot
        run a row.
    """
    import numpy as np  # noqa: PLC0415 - start-up stays fast

    if "accelerator" in frame and len(parts := sorted(set(frame["accelerator"]))) > 1:
        message = f"rows of several accelerators ({', '.join(parts)}): give those of one"
        raise SimulatorError(message)
    build = reader(frame)
    chains = [build(row) for row in frame.to_dict("records")]
    events = timed_by_events(frame.columns)
    times = [
        added_time(chain[0], events=events)
        + sum(operator_time(operator, part) for operator in chain)
        for chain, part in zip(chains, _parts(frame, accelerator), strict=True)
    ]
    return np.array(times, dtype=np.float64) / MICRO


def _parts(frame: pd.DataFrame, accelerator: Accelerator) -> list[Accelerator]:
    """Return the part under the library of each row."""
    if "library" not in frame:
        return [accelerator] * len(frame)
    return [with_library(accelerator, str(name)) for name in frame["library"]]
