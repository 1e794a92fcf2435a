r"""Refit the section ``pointwise`` of a kernels profile, and say how well it does where not fitted.

Run from the repository root::

    PYTHONPATH=. python benchmarks/fit_pointwise.py h100-sxm \
        benchmarks/measurements/h100/pointwise.csv

One shape in four, by the SHA-256 of operation, rows and columns, is held out. Times of a table
without the column ``warm_time_us`` were taken between events and hold their 3.5 us.
"""

from __future__ import annotations

import argparse
import csv
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from kernel_fits import OUTLIER, error_text, part_of
from scipy.optimize import least_squares

from simulator.calibration.held_out import is_held_out
from simulator.hardware.operator_tables import added_time, timed_by_events
from simulator.hardware.pointwise_costs import pointwise_time
from simulator.hardware.pointwise_tables import OPERATIONS, pointwise_of
from simulator.units import MICRO

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray

    from simulator.hardware.accelerator import Accelerator
    from simulator.operators import Pointwise

SMALLEST: Final = 1e6
"""Least traffic [B] of a row that counts."""


class Measurement(NamedTuple):
    """One row: the kernels by kind, their device time [s], and whether the fit may see it."""

    chain: tuple[Pointwise, ...]
    time: float
    held_out: bool

    @property
    def kind(self) -> str:
        """The kind of its kernels; no rate is fitted to a chain of several."""
        return self.chain[0].kind if len(self.chain) == 1 else "chains of several kinds"


def main() -> None:
    """Print fitted constants by kind, and errors of fit and profile by kind and operation."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("accelerator", help="accelerator profile, such as h100-sxm")
    parser.add_argument("table", type=Path, help="pointwise.csv")
    arguments = parser.parse_args()
    accelerator = part_of(arguments.accelerator)
    rows = measurements(arguments.table)
    alike = [row for row in rows if len(row.chain) == 1]
    for kind, group in by(alike, lambda row: row.kind):
        overhead, share = fitted([row for row in group if not row.held_out], accelerator)
        print(f"{kind}: kernel_overhead_us {1e6 * overhead:.2f}, bandwidth {share:.3f}")
    for label, chosen in (
        ("fitted", [row for row in rows if not row.held_out]),
        ("held out", [row for row in rows if row.held_out]),
        ("all", rows),
    ):
        for kind, group in [*by(chosen, lambda row: row.kind), ("together", chosen)]:
            print(f"{label}, {kind}: {errors(group, accelerator)}")
    for name, group in by(rows, lambda row: row.chain[0].name):
        print(f"{name}: {errors(group, accelerator)}")


def measurements(path: Path) -> list[Measurement]:
    """Return the rows of a table whose operation is known and not tiny."""
    with path.open(encoding="utf-8", newline="") as file:
        table = [row for row in csv.DictReader(file) if row["op"] in OPERATIONS]
    result = []
    for row in table:
        held_out = is_held_out(f"{row['op']}x{row['rows']}x{row['cols']}")
        chain = pointwise_of(row)
        if sum(operator.n_bytes for operator in chain) >= SMALLEST:
            added = added_time(chain[0], events=timed_by_events(row))
            result.append(Measurement(chain, float(row["time_us"]) * MICRO - added, held_out))
    return result


def by(
    rows: Iterable[Measurement], key: Callable[[Measurement], str]
) -> list[tuple[str, list[Measurement]]]:
    """Return the rows grouped by ``key``."""
    groups = defaultdict(list)
    for row in rows:
        groups[key(row)].append(row)
    return sorted(groups.items())


def fitted(rows: Sequence[Measurement], accelerator: Accelerator) -> tuple[float, float]:
    """Return overhead [s] of one kernel and share of the bandwidth, fitted in log error."""
    kernels = np.array([row.chain[0].kernels for row in rows])
    moving = np.array([row.chain[0].n_bytes for row in rows])
    moving /= accelerator.achievable_memory_bandwidth
    measured = np.array([row.time for row in rows])

    def residuals(values: NDArray[np.float64]) -> NDArray[np.float64]:
        overhead, inverse = values
        times = kernels * (accelerator.launch_gap + overhead * 1e-6) + moving * inverse
        return np.asarray(np.log(times / measured), dtype=np.float64)

    solution = least_squares(
        residuals, (1.0, 1.2), bounds=((0.0, 1.0), (50.0, 10.0)), loss="soft_l1", f_scale=OUTLIER
    )
    return float(solution.x[0]) * 1e-6, 1 / float(solution.x[1])


def errors(rows: Sequence[Measurement], accelerator: Accelerator) -> str:
    """Return what the profile's relative errors amount to."""
    modelled = [sum(pointwise_time(part, accelerator) for part in row.chain) for row in rows]
    return error_text(np.array(modelled) / np.array([row.time for row in rows]) - 1)


if __name__ == "__main__":
    main()
