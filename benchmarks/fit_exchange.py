r"""Fit dispatch and combine of experts' tokens inside a node to public timings, and test held out.

Run from the repository root::

    PYTHONPATH=. python benchmarks/fit_exchange.py deepep_normal.parquet h100-sxm h200-sxm

Reads DeepEP's timings of the operator database: ``num_token`` of a rank, ``hidden_size``,
``num_topk``, ``num_experts``, multiprocessors given, microseconds. Only rows of one node count: the
others know one layer. One case in four (hidden, top-k, experts, tokens; all multiprocessors) is
held out. Parts named together share constants; the profile is edited by hand.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd
from kernel_fits import OUTLIER, database_name, error_text, part_of
from scipy.optimize import least_squares

from simulator.calibration.held_out import is_held_out
from simulator.hardware.exchange_costs import exchange_time
from simulator.hardware.exchange_model import ExchangeModel, ExchangePass
from simulator.hardware.operator_tables import exchanges_of
from simulator.units import MICRO

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kernel_fits import Array, Flags

    from simulator.hardware.accelerator import Accelerator
    from simulator.operators import ExpertExchange

LIBRARY: Final = "sglang/0.5.12"
"""The older release has 23 rows of one node."""
EXPONENT: Final = 4.0
LARGE: Final = 1024
"""Tokens of a rank from which errors are printed apart: training's micro-batches."""
START: Final = (30e-6, 1e9, 10e9, 100e-9, 40e9, 350e9)


def main() -> None:
    """Print the constants of both directions and the errors of profile and fit."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("table", type=Path, help="deepep_normal.parquet")
    parser.add_argument("parts", nargs="+", help="accelerator profiles that share constants")
    arguments = parser.parse_args()
    frame = pd.read_parquet(arguments.table)
    frame = frame[(frame["node_num"] == 1) & (frame["library"] == LIBRARY)]
    frame = frame[frame["accelerator"].isin(map(database_name, arguments.parts))]
    names = ["hidden_size", "num_topk", "num_experts", "num_token"]
    cases = frame[names].astype(int).itertuples(index=False)
    held_out = np.array([is_held_out("x".join(map(str, case))) for case in cases])
    large = (frame["num_token"] >= LARGE).to_numpy()
    pairs = [exchanges_of(row) for row in frame.to_dict("records")]
    part = part_of(arguments.parts[0])
    for at, direction in enumerate(("dispatch", "combine")):
        time = frame[f"{direction}_transmit_us"].to_numpy(float) * MICRO
        calls = [pair[at] for pair in pairs]
        shipped = np.array([exchange_time(call, part) for call in calls])
        print(f"{direction}, profile: {summary(shipped / time - 1, held_out, large)}")
        model = fitted(calls, time, ~held_out, part)
        again = modelled(calls, model, part)
        print(f"{direction}, fit: {summary(again / time - 1, held_out, large)}\n  {model}")


def fitted(
    calls: Sequence[ExpertExchange], time: Array, chosen: Flags, part: Accelerator
) -> ExchangePass:
    """Return the constants that fit the chosen rows best."""
    few = [call for call, seen in zip(calls, chosen, strict=True) if seen]
    measured = time[chosen]

    def residuals(logarithms: Array) -> Array:
        return np.asarray(np.log(modelled(few, of_values(np.exp(logarithms)), part) / measured))

    solution = least_squares(residuals, np.log(START), loss="soft_l1", f_scale=OUTLIER, max_nfev=40)
    return of_values(np.exp(solution.x))


def of_values(values: Array) -> ExchangePass:
    """Return the record that these values describe."""
    return ExchangePass(
        latency=float(values[0]),
        row_latency_rate=float(values[1]),
        row_rate=float(values[2]),
        destination_time=float(values[3]),
        destination_rate=float(values[4]),
        link_bandwidth=float(values[5]),
        overlap_exponent=EXPONENT,
    )


def modelled(calls: Sequence[ExpertExchange], model: ExchangePass, part: Accelerator) -> Array:
    """Return the times [s] of calls, all of one direction, with these constants."""
    both = ExchangeModel(dispatch=model, combine=model)
    other = part.with_kernels(exchange=both)
    return np.array([exchange_time(call, other) for call in calls])


def summary(errors: Array, held_out: Flags, large: Flags) -> str:
    """Return what the held-out errors amount to, and the large ones' of them."""
    every, long = error_text(errors[held_out]), error_text(errors[held_out & large])
    return f"held out {every}; {LARGE} tokens and more {long}"


if __name__ == "__main__":
    main()
