"""Predicted beside measured times of operators."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulator.hardware.operator_costs import operator_time
from simulator.hardware.operator_tables import BACKWARD_HOST_TIME, TIMING_OVERHEAD, reader
from simulator.operators import Attention
from simulator.units import MICRO

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from simulator.hardware.accelerator import Accelerator
    from simulator.operators import Compute


def predict(frame: pd.DataFrame, accelerator: Accelerator) -> NDArray[np.float64]:
    """Return the predicted time [us] of every row, in the order of rows, as such tables measure it.

    The table's kind is known by its columns: ``gemm.csv``, ``attention.csv``, ``grouped_gemm.csv``
    or ``pointwise.csv``. The timing overhead of an event pair (3.5 us) is added, and to a backward
    attention call the host's time before its first kernel (40 us).

    Raises
    ------
    SimulatorError
        If the columns are of none of these tables, or the part cannot run a row.
    """
    import numpy as np  # noqa: PLC0415 - start-up stays fast

    build = reader(frame)
    rows = frame.to_dict("records")
    times = [measured_time(build(row), accelerator) for row in rows]
    return np.array(times, dtype=np.float64) / MICRO


def measured_time(operator: Compute, accelerator: Accelerator) -> float:
    """Return the time [s] that a pair of events around ``operator`` shows."""
    host = BACKWARD_HOST_TIME if isinstance(operator, Attention) and operator.backward else 0.0
    return TIMING_OVERHEAD + host + operator_time(operator, accelerator)
