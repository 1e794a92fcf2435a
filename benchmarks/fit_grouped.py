r"""Refit ``gemm.grouped`` of the Hopper profile to both tables, and say how well it does held out.

Run from the repository root::

    PYTHONPATH=. python benchmarks/fit_grouped.py

Both parts count alike. One case in four (experts, tokens, n, k; all routings and passes together)
is held out; the profile is edited by hand.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import pandas as pd
from kernel_fits import OUTLIER, constant, error_text, part_of, with_constants
from scipy.optimize import least_squares

from simulator.calibration.held_out import is_held_out
from simulator.calibration.operators import LEAST_FLOPS
from simulator.hardware.grouped_costs import grouped_gemm_time
from simulator.hardware.operator_tables import added_time, grouped_gemm_of, timed_by_events
from simulator.units import MICRO

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from simulator.hardware.accelerator import Accelerator
    from simulator.operators import GroupedGemm

    Values = NDArray[np.float64]

TABLES: Final = {"h200-sxm": "h200", "h100-sxm": "h100"}
NAMES: Final = (
    "tile.burst_rate", "tile.overhead", "few_rows_tile.burst_rate", "few_rows_tile.overhead",
    "ragged_wave", "kernel_overhead", "group_overhead", "bandwidth",
    "role_rate.dgrad", "role_rate.wgrad",
)  # fmt: skip
PATHS: Final = [f"gemm.grouped.{name}" for name in NAMES]


class Case(NamedTuple):
    """A row of a table: what ran, where, how long [s], and what the fit may see of it."""

    part: str
    grouped: GroupedGemm
    seconds: float
    held_out: bool
    label: str


def main() -> None:
    """Fit, and print constants and errors by part, pass and routing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--as-shipped", action="store_true", help="fit nothing")
    arguments = parser.parse_args()
    parts = {name: part_of(name) for name in TABLES}
    cases = [case for part, folder in TABLES.items() for case in read(part, folder)]
    if not arguments.as_shipped:
        values = fitted(parts, [case for case in cases if not case.held_out])
        parts = {name: changed(part, values) for name, part in parts.items()}
        for name, value in zip(NAMES, values, strict=True):
            print(f"{name} = {value:.4g}")
    for held_out in (False, True):
        some = [case for case in cases if case.held_out is held_out]
        for label in sorted({case.label for case in some} | {case.part for case in some}):
            chosen = [case for case in some if case.label.startswith(label)]
            print(f"{'held out' if held_out else 'fitted':10}{label:24}{quality(parts, chosen)}")


def read(part: str, folder: str) -> list[Case]:
    """Return the rows of a part's table that are not tiny."""
    frame = pd.read_csv(Path(__file__).parent / "measurements" / folder / "grouped_gemm.csv")
    events = timed_by_events(frame.columns)
    cases = []
    for row in frame.to_dict("records"):
        grouped = grouped_gemm_of(row)
        shape = "{experts}x{tokens_per_expert}x{n}x{k}".format_map(row)
        routing = row["routing"] if "routing" in row else ("even", "skewed")[row["skew"]]
        seconds = row["time_us"] * MICRO - added_time(grouped, events=events)
        label = f"{part} {grouped.role} {routing}"
        cases.append(Case(part, grouped, seconds, is_held_out(shape), label))
    return [case for case in cases if case.grouped.flops >= LEAST_FLOPS]


def fitted(parts: dict[str, Accelerator], cases: list[Case]) -> Values:
    """Return the constants `NAMES` that fit best, each part weighing the same."""
    start = np.array([constant(parts["h200-sxm"].kernels, path) for path in PATHS])
    each = {name: sum(case.part == name for case in cases) for name in parts}
    weight = np.array([len(cases) / each[case.part] for case in cases])

    def residuals(values: Values) -> Values:
        now = {name: changed(part, values) for name, part in parts.items()}
        errors = np.array([log_error(case, now[case.part]) for case in cases]) / OUTLIER
        return np.sqrt(weight * 2.0 * (np.sqrt(1.0 + errors**2) - 1.0))  # soft L1

    scale = np.maximum(start, MICRO / 10)
    upper = [1.0 if name in {"ragged_wave", "bandwidth"} else math.inf for name in NAMES]
    return np.asarray(
        least_squares(residuals, start, bounds=(0.0, upper), x_scale=scale, diff_step=1e-3).x
    )


def log_error(case: Case, part: Accelerator) -> float:
    """Return log(modelled / measured time)."""
    return math.log(grouped_gemm_time(case.grouped, part) / case.seconds)


def changed(part: Accelerator, values: Values) -> Accelerator:
    """Return the part with other constants."""
    return with_constants(part, PATHS, values)


def quality(parts: dict[str, Accelerator], cases: list[Case]) -> str:
    """Return what the relative errors of cases amount to."""
    return error_text(np.expm1([log_error(case, parts[case.part]) for case in cases]))


if __name__ == "__main__":
    main()
