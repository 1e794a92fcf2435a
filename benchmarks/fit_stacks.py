"""Try values of the constants that were fitted to whole training runs.

    python benchmarks/fit_stacks.py                        # on the curated runs
    python benchmarks/fit_stacks.py --table RUNS.csv       # on another table of runs

For each constant, the calibration rows of its source are predicted with several values of it:
printed are their mean absolute error with each, and that of every group of rows when the value is
chosen on the other groups (leave one group out). ``--write`` makes docs/fits.md of it; a value is
changed in its profile by hand.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

import pandas as pd

from simulator.catalog import Catalog
from simulator.validation.errors import with_errors
from simulator.validation.predictions import predict_runs
from simulator.validation.runs import split_of
from simulator.validation.tables import read_table, rows_of

if TYPE_CHECKING:
    from collections.abc import Sequence

PAGE: Final = Path(__file__).parents[1] / "docs" / "fits.md"
HEADING: Final = """# Constants fitted to training runs

`python benchmarks/fit_stacks.py --table RUNS.csv --write` wrote this page. Each constant is tried
on the calibration rows of its source, the other constants as shipped. MAPE of the step time in
percent: with the shipped value; with the value that is best for all other groups of rows, each
group left out in turn; and with every value tried. None of these rows counts as validation. A
value that fits a little better than the shipped one is no better: other constants and the floor
of the source are of that size.

| constant | rows of | rows | shipped | MAPE % | one group left out % | tried |
|---|---|--:|--:|--:|--:|---|"""
CURATED: Final = Path(__file__).parent / "published" / "runs.csv"


@dataclass(frozen=True)
class Fit:
    """A constant, the values to try, the shipped one among them, and what it was fitted to."""

    profile: str
    """Folder and stem of the file."""
    field: str
    """Dotted, with the unit that the file writes."""
    tried: tuple[float, ...]
    source: str
    rows: str = ""
    """Part of the rows' models or accelerators; empty for all calibration rows of the source."""
    groups: str = "model"
    """Column whose values are left out one by one."""


FITS: Final = (
    Fit("software/megatron-2023", "arrival_jitter", (0.0, 0.06, 0.075, 0.09, 0.105, 0.12),
        "aleph_alpha_layouts", "65B", "tp"),
    Fit("software/megatron-2023", "pass_overhead_us", (0.0, 2500.0, 5000.0, 7500.0),
        "aleph_alpha_layouts", "65B", "pp"),
    Fit("software/megatron-2023", "recompute_overhead_us", (0.0, 15000.0, 30000.0, 45000.0),
        "aleph_alpha_layouts", "65B", "recompute"),
    Fit("software/megatron-deepspeed-traced-2023", "kernel_launch_us",
        (120.0, 130.0, 140.0, 150.0, 160.0), "vtrain", groups="tp"),
    Fit("software/megatron-deepspeed-traced-2023", "backward_launch_us",
        (30.0, 35.0, 40.0, 45.0, 50.0), "vtrain", groups="tp"),
    Fit("software/megascale-megatron-2023", "step_overhead_us", (1.0e6, 1.2e6, 1.4e6, 1.6e6),
        "megascale", groups="n_accel"),
    Fit("software/megatron-bridge-eager-2025", "pass_overhead_us",
        (0.0, 600.0, 750.0, 850.0, 950.0, 1100.0), "dgxc_benchmarking", groups="precision"),
    Fit("kernels/b200", "gemm.sustained_rate.bf16", (0.55, 0.58, 0.61, 0.64, 0.67),
        "simumax_b200", groups="run_id"),
    Fit("kernels/b200", "fused_attention.cudnn.backward.sustained_rate", (0.35, 0.41, 0.47, 0.6),
        "simumax_b200", groups="run_id"),
    Fit("kernels/b200", "gemm.sustained_rate.fp8", (0.63, 0.66, 0.69, 0.72),
        "megatron_bridge", "200", "accelerator"),
    Fit("kernels/b200", "gemm.sustained_rate.mxfp8", (0.63, 0.66, 0.69, 0.72),
        "megatron_bridge", "200", "model"),
    Fit("kernels/b200", "gemm.sustained_rate.nvfp4", (0.65, 0.7, 0.75, 0.8),
        "megatron_bridge", "GB200", "run_id"),
    Fit("kernels/b300", "gemm.sustained_rate.mxfp8", (0.74, 0.78, 0.82, 0.86),
        "megatron_bridge", "GB300", "run_id"),
    Fit("kernels/b300", "gemm.sustained_rate.nvfp4", (0.8, 0.85, 0.9, 0.95, 1.0),
        "megatron_bridge", "GB300", "run_id"),
)  # fmt: skip


def main() -> None:
    """Print the errors of every fit."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--table", type=Path, default=CURATED, metavar="CSV")
    parser.add_argument("--only", default="", metavar="TEXT", help="fits whose name holds this")
    parser.add_argument("--write", action="store_true", help="write docs/fits.md")
    arguments = parser.parse_args()
    table = read_table(arguments.table)
    lines = []
    for fit in FITS:
        rows = calibration_rows(fit, table)
        if arguments.only in f"{fit.profile} {fit.field}" and len(rows):
            lines.append(line(fit, rows))
            print(lines[-1], flush=True)
    if arguments.write:
        PAGE.write_text("\n".join([HEADING, *lines, ""]), encoding="utf-8")


def calibration_rows(fit: Fit, table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the table that the fit is for."""
    named = (table["model"] + " " + table["accelerator"]).str.contains(fit.rows, regex=False)
    rows = table[(table["source"] == fit.source) & named]
    return rows[[split_of(row) == "calibration" for row in rows_of(rows)]]


def line(fit: Fit, rows: pd.DataFrame) -> str:
    """Return the errors of one fit as a row of a table."""
    errors = pd.DataFrame({value: errors_with(fit, value, rows) for value in fit.tried}).dropna()
    sizes = errors.abs().mean()
    shipped = shipped_value(fit)
    groups = rows.loc[errors.index, fit.groups]
    left_out = "-"
    if len(set(groups)) > 1:
        left_out = f"{100 * left_out_errors(errors, groups).abs().mean():.1f} ({fit.groups})"
    tried = ", ".join(f"{value:g}: {100 * size:.1f}" for value, size in sizes.items())
    cells = [
        f"`{fit.profile}` `{fit.field}`",
        f"{fit.source} {fit.rows}".strip(),
        f"{len(errors)}",
        f"{shipped:g}",
        f"{100 * sizes[shipped]:.1f}",
        left_out,
        tried,
    ]
    return f"| {' | '.join(cells)} |"


def shipped_value(fit: Fit) -> float:
    """Return the constant that the profile holds."""
    value = Catalog().document(*fit.profile.split("/")).get(tuple(fit.field.split(".")))
    if value not in fit.tried:
        raise SystemExit(f"{fit.profile} {fit.field}: {value} is not among the values to try")
    return float(value)


def errors_with(fit: Fit, value: float, rows: pd.DataFrame) -> pd.Series[float]:
    """Return the errors of the rows with one value of the constant."""
    folder, name = fit.profile.split("/")
    with TemporaryDirectory() as directory:
        file = Path(directory, folder, f"{name}.yaml")
        file.parent.mkdir()
        # A profile may be based on the shipped one of its own name.
        file.write_text(f"base: {name}\n{nested(fit.field.split('.'), value)}", encoding="utf-8")
        compared = with_errors(predict_runs(rows, profiles=[Path(directory)]))
    errors: pd.Series[float] = compared["error"]
    return errors


def nested(keys: Sequence[str], value: float) -> str:
    """Return a value under its keys as YAML."""
    lines = [f"{'  ' * depth}{key}:" for depth, key in enumerate(keys)]
    return "\n".join(
        [*lines[:-1], f"{lines[-1]} {{value: {value!r}, source: tried, status: fitted}}"]
    )


def left_out_errors(errors: pd.DataFrame, groups: pd.Series[str]) -> pd.Series[float]:
    """Return the error of each row with the value that is best for the other groups."""
    parts = []
    for group in groups.unique():
        inside = groups == group
        best = errors[~inside].abs().mean().idxmin()
        parts.append(errors.loc[inside, best])
    whole: pd.Series[float] = pd.concat(parts)
    return whole


if __name__ == "__main__":
    main()
