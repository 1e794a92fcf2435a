r"""Refit a kernels profile to measured tables, and say how well it does on shapes held out.

Run from the repository root, for example::

    PYTHONPATH=. python benchmarks/fit_kernels.py h200-sxm \
        --gemm benchmarks/measurements/h200/gemm.csv --misc benchmarks/measurements/h200/misc.csv

The fit starts from the accelerator's present profile and moves only what the given tables
identify. It prints errors and constants; the profile is edited by hand, with the source. With
``--as-shipped`` nothing is fitted: it prints the errors of the profile as it stands.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import statistics
from pathlib import Path
from typing import TYPE_CHECKING, Any

import kernel_tables as tables
import numpy as np
from kernel_fits import OUTLIER, constant, part_of, with_constants
from scipy.optimize import least_squares

from simulator.hardware.operator_costs import operator_time
from simulator.precision import Precision
from simulator.units import MICRO

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from kernel_tables import Measurement
    from numpy.typing import NDArray

    from simulator.hardware.accelerator import Accelerator

GEMM = (
    "boost_time",
    "gemm.burst_rate",
    "gemm.tile_overhead",
    "gemm.kernel_overhead",
    "gemm.bandwidth",
)
ATTENTION = ("rate.64", "rate.128", "block_overhead", "imbalance")
PASSES = {"fwd": "forward", "bwd": "backward"}


def main() -> None:
    """Fit what the command line names and print the outcome."""
    arguments = command_line().parse_args()
    accelerator = part_of(arguments.accelerator)
    if arguments.misc and not arguments.as_shipped:
        accelerator = with_single_facts(accelerator, arguments.misc)
    measurements: list[Measurement] = []
    for table, read, refit in (
        (arguments.gemm, tables.gemm_measurements, refitted_gemm),
        (arguments.attention, tables.attention_measurements, refitted_attention),
    ):
        if table:
            rows = read(table)
            if not arguments.as_shipped:
                accelerator = refit(accelerator, [row for row in rows if not row.held_out])
            measurements += rows
    print("\n".join(quality(accelerator, measurements)))
    if not arguments.as_shipped:
        print("\n".join(constants(accelerator.kernels)))


def command_line() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("accelerator", help="accelerator profile, such as h200-sxm")
    for table in ("gemm", "attention", "misc"):
        parser.add_argument(f"--{table}", type=Path, metavar="CSV", help=f"{table} table")
    parser.add_argument("--as-shipped", action="store_true", help="fit nothing")
    return parser


def with_single_facts(accelerator: Accelerator, path: Path) -> Accelerator:
    """Return the accelerator with its sustained bf16 rate and optimizer bandwidth from a table."""
    sustained = statistics.mean(tables.sustained_rates(path))
    share = sustained / accelerator.achievable(Precision.BF16)
    accelerator = with_constants(accelerator, ["gemm.sustained_rate.bf16"], [share])
    updates = tables.optimizer_measurements(path)
    return refitted(accelerator, ["pointwise.optimizer_bandwidth"], updates)


def refitted_gemm(accelerator: Accelerator, rows: list[Measurement]) -> Accelerator:
    """Return the accelerator with its GEMM model refitted."""
    labels = {row.group for row in rows}
    roles = [
        f"gemm.role_rate.{role}" for role in ("dgrad", "wgrad") if f"gemm bf16 {role}" in labels
    ]
    fp8 = ["gemm.sustained_rate.fp8"] if "gemm fp8 fprop" in labels else []
    return refitted(accelerator, [*GEMM, *roles, *fp8], rows)


def refitted_attention(accelerator: Accelerator, rows: list[Measurement]) -> Accelerator:
    """Return the accelerator with each measured attention kernel and direction refitted.

    Only cuDNN's forward kernel is fast enough to meet the power limit and to identify it.
    """
    for group in sorted({row.group for row in rows}):
        _, kernel, direction = group.split()
        model = f"fused_attention.{kernel}"
        paths = [f"{model}.{PASSES[direction]}.{name}" for name in ATTENTION]
        if (kernel, direction) == ("cudnn", "fwd"):
            paths.append(f"{model}.forward.sustained_rate")
        accelerator = refitted(accelerator, paths, [row for row in rows if row.group == group])
    return accelerator


def refitted(
    accelerator: Accelerator, paths: Sequence[str], rows: Sequence[Measurement]
) -> Accelerator:
    """Return the accelerator with the constants at ``paths`` fitted to ``rows`` in log error."""
    start = np.array([constant(accelerator.kernels, path) for path in paths])

    def residuals(values: NDArray[np.float64]) -> list[float]:
        candidate = with_constants(accelerator, paths, values)
        return [math.log1p(relative_error(row, candidate)) for row in rows]

    solution = least_squares(
        residuals,
        start,
        bounds=(0.0, [1.0 if is_share(path) else math.inf for path in paths]),
        x_scale=np.maximum(start, MICRO / 10),
        diff_step=1e-3,
        loss="soft_l1",
        f_scale=OUTLIER,
    )
    return with_constants(accelerator, paths, solution.x)


def is_share(path: str) -> bool:
    """Return whether the constant at ``path`` is a share, at most one."""
    return "bandwidth" in path or "role_rate" in path or "sustained_rate" in path


def relative_error(row: Measurement, accelerator: Accelerator) -> float:
    """Return modelled over measured time, less one."""
    return operator_time(row.operator, accelerator) / row.time - 1


def quality(accelerator: Accelerator, rows: Sequence[Measurement]) -> Iterable[str]:
    """Yield one line of errors per kind of operator and per kernel, fitted and held out."""
    yield f"{'kernel':24}{'shapes':>12}{'rows':>6}{'median %':>10}{'p90 %':>8}{'bias %':>8}"
    groups = {row.group for row in rows}
    for group in sorted(groups | {group.split()[0] for group in groups}):
        for held_out in (False, True):
            errors = [
                100 * relative_error(row, accelerator)
                for row in rows
                if row.group.startswith(group) and row.held_out == held_out
            ]
            sizes = sorted(map(abs, errors))
            yield (
                f"{group:24}{'held out' if held_out else 'fitted':>12}{len(errors):6}"
                f"{statistics.median(sizes):10.1f}{sizes[int(0.9 * len(sizes))]:8.1f}"
                f"{statistics.median(errors):+8.1f}"
            )


def constants(model: Any, path: str = "") -> Iterable[str]:  # noqa: ANN401 - any record
    """Yield one line per number of the kernels, in SI."""
    if dataclasses.is_dataclass(model):
        model = {field.name: getattr(model, field.name) for field in dataclasses.fields(model)}
    if isinstance(model, dict):
        for name, value in model.items():
            yield from constants(value, f"{path}.{name}" if path else str(name))
    elif isinstance(model, float):
        yield f"{path} = {model:.4g}"


if __name__ == "__main__":
    main()
