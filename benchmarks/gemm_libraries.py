"""How near profiles are to the GEMMs of public libraries, and these libraries to one another.

Run from the repository root::

    PYTHONPATH=. python benchmarks/gemm_libraries.py gemm.parquet h100-sxm h200-sxm --aligned
    PYTHONPATH=. python benchmarks/gemm_libraries.py gemm.parquet b200-sxm gb200 \
        --dtype fp8_block --cast-us 3.8 --cast-passes 1.29

Reads the operator database. For each part and library: errors of the profile as shipped on the
layers held out of every fit, with the library's rate (`gemm.libraries`) and without. Rows of low
precision hold casts of the input, which a profile's `source` states and which are added here.
Then, on the shapes that both have timed: two libraries on one part, with and without their median
ratio (what is left without it is what a table that followed one of them exactly would err on the
other), and one library on two parts.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from fit_gemm_tables import CAST_BYTES, products
from kernel_fits import database_name, error_text, part_of

from simulator.hardware.gemm_costs import gemm_time
from simulator.hardware.gemm_library import library_rate, with_library
from simulator.hardware.operator_tables import gemm_of
from simulator.units import MICRO

if TYPE_CHECKING:
    import pandas as pd

    from simulator.hardware.accelerator import Accelerator

SHAPE: Final = ["m", "n", "k"]
LONG: Final = 200.0
"""Products as long as this are compared between parts [us]: launches and caches matter less."""


def main() -> None:
    """Print errors by library, and the scatter between libraries and between parts."""
    arguments = parsed()
    frame = products(arguments.table, arguments)
    parts = {name: part_of(name) for name in arguments.parts}
    groups = {
        (name, str(library)): rows.set_index(SHAPE)
        for name in parts
        for library, rows in frame[frame["accelerator"] == database_name(name)].groupby("library")
    }
    bandwidth = parts[arguments.parts[0]].achievable_memory_bandwidth
    passes = arguments.cast_passes * CAST_BYTES / bandwidth
    print("held out: median and 90th percentile of the error, %")
    for (name, library), rows in groups.items():
        held = rows[rows["held_out"]].reset_index()
        cast = arguments.cast_us * MICRO + passes * held["m"] * held["k"]
        print_errors(parts[name], library, held, cast)
    for (first, one), (second, other) in itertools.combinations(groups.items(), 2):
        if first[0] == second[0]:
            print_libraries(first[0], f"{first[1]} over {second[1]}", ratios(one, other))
        elif first[1] == second[1]:
            long = one[one["time_us"] >= LONG]
            print_parts(first[1], f"{first[0]} over {second[0]}", ratios(long, other))


def parsed() -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("table", type=Path, help="gemm.parquet")
    parser.add_argument("parts", nargs="+", help="accelerator profiles, such as b200-sxm")
    parser.add_argument("--dtype", default="bfloat16", help="as the table writes it")
    parser.add_argument("--aligned", action="store_true", help="only m in multiples of 16")
    parser.add_argument("--cast-us", type=float, default=0.0, help="launches of the casts")
    parser.add_argument(
        "--cast-passes", type=float, default=0.0, help="of 3 B over the input, on the first part"
    )
    return parser.parse_args()


def print_errors(
    part: Accelerator, library: str, held: pd.DataFrame, cast: pd.Series[float]
) -> None:
    """Print the errors of a profile as shipped on held-out rows of a library; ``cast`` in s."""
    measured = held["time_us"].to_numpy(float) * MICRO
    gemms = [gemm_of(row) for row in held.to_dict("records")]
    fast = with_library(part, library)
    ways = {"": part}
    if library_rate(fast, gemms[0].precision) != 1:
        ways[", its rate set"] = fast
    for words, chosen in ways.items():
        times = np.array([gemm_time(gemm, chosen) for gemm in gemms]) + cast.to_numpy()
        print(f"  {part.name}, {library}{words}: {error_text(times / measured - 1)}")


def ratios(one: pd.DataFrame, other: pd.DataFrame) -> pd.Series[float]:
    """Return the times of one table over those of another, for the shapes that both hold."""
    return (one["time_us"] / other["time_us"]).dropna()


def print_libraries(part: str, names: str, ratio: pd.Series[float]) -> None:
    """Print how far two libraries are apart on one part, all in all and by shape."""
    raw, left = (100 * (r - 1).abs() for r in (ratio, ratio / ratio.median()))
    print(
        f"{part}, {names} ({len(ratio)} shapes): {ratio.median():.3f} in the median; apart "
        f"{raw.median():.1f} % in the median and {raw.quantile(0.9):.1f} % at the 90th percentile, "
        f"without the median ratio {left.median():.1f} and {left.quantile(0.9):.1f} %"
    )


def print_parts(library: str, names: str, ratio: pd.Series[float]) -> None:
    """Print by how much one library differs between two parts."""
    low, high = ratio.quantile(0.1), ratio.quantile(0.9)
    print(
        f"{library}, {names} ({len(ratio)} products of {LONG:g} us and more): {low:.2f} to "
        f"{high:.2f} (10th to 90th percentile)"
    )


if __name__ == "__main__":
    main()
