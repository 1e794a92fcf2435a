"""Measure the operators of a training step on the accelerator of this machine.

Run where PyTorch sees a GPU (CUDA or ROCm); this file and the folder `gpu` beside it are all that
it needs::

    python benchmarks/measure_operators.py --out measurements/mine

writes gemm.csv, gemm_alignment.csv, sustained.csv, accumulation.csv, attention.csv,
attention_latent.csv, grouped_gemm.csv, pointwise.csv, pointwise_kernels.csv, launches.csv, misc.csv
and overlap.csv, in the formats of `benchmarks/measurements`. ``--quick`` takes a tenth of the
shapes. Times are medians; the level-2 cache is flushed or outgrown.
"""

from __future__ import annotations

import argparse
import importlib.util
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from gpu.tables import Row

TABLES: Final = (
    "misc", "pointwise", "launches", "overlap",
    "attention", "attention_latent", "sustained", "accumulation", "gemm_alignment",
    "gemm", "grouped_gemm",
)  # fmt: skip


def main() -> None:
    """Measure the tables that the command line names."""
    arguments = command_line().parse_args()
    reason = missing()
    if reason:
        print(f"Nothing measured: {reason}.")
        return
    from gpu import tables, timing  # noqa: PLC0415 - they need PyTorch

    print(f"Measuring on {timing.start()}", flush=True)
    for name in arguments.only:
        begin = time.perf_counter()
        try:
            for file, rows in measured(name, arguments.out, quick=arguments.quick).items():
                tables.write(arguments.out / file, rows)
                print(f"{file}: {len(rows)} rows, {time.perf_counter() - begin:.0f} s", flush=True)
        except Exception:  # noqa: BLE001 - one table that fails must not cost the others
            print(f"{name}: failed\n{traceback.format_exc()}", flush=True)
        timing.release()


def command_line() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", type=names, default=TABLES, metavar="gemm,attention",
                        help=f"tables to measure: {', '.join(TABLES)} (default: all)")  # fmt: skip
    parser.add_argument("--quick", action="store_true", help="few shapes: minutes, not an hour")
    parser.add_argument("--out", type=Path, default=Path("measurements"), help="directory to fill")
    return parser


def names(text: str) -> tuple[str, ...]:
    """Return the table names in ``text``."""
    chosen = tuple(text.split(","))
    unknown = [name for name in chosen if name not in TABLES]
    if unknown:
        raise argparse.ArgumentTypeError(
            f"no table {', '.join(unknown)}; there are {', '.join(TABLES)}"
        )
    return chosen


def missing() -> str:
    """Return what this machine lacks, or nothing."""
    if importlib.util.find_spec("torch") is None:
        return "PyTorch is not installed here"
    import torch  # noqa: PLC0415

    return "" if torch.cuda.is_available() else "PyTorch sees no GPU here"


def measured(name: str, out: Path, *, quick: bool) -> dict[str, list[Row]]:
    """Return the rows of one table by file name; the long one is written as it grows."""
    from gpu import attention, facts, launches, pointwise, products, sustained, tables  # noqa: PLC0415

    if name == "pointwise":
        grown: dict[str, list[Row]] = {}

        def save(rows: list[Row], kernels: list[Row]) -> None:
            grown.update({"pointwise.csv": rows, "pointwise_kernels.csv": kernels})
            for file, lines in grown.items():
                tables.write(out / file, lines)

        pointwise.measure(save, quick=quick)
        return grown
    if name == "overlap":
        from gpu import overlap  # noqa: PLC0415 - needs Triton

        return {"overlap.csv": overlap.measure(quick=quick)}
    measure: dict[str, Callable[[], list[Row]]] = {
        "misc": lambda: facts.measure(quick=quick),
        "launches": launches.measure,
        "attention": lambda: attention.measure(quick=quick),
        "attention_latent": lambda: attention.measure_latent(quick=quick),
        "sustained": sustained.measure,
        "accumulation": sustained.measure_accumulation,
        "gemm_alignment": products.measure_alignment,
        "gemm": lambda: products.measure(quick=quick),
        "grouped_gemm": lambda: products.measure_grouped(quick=quick),
    }
    return {f"{name}.csv": measure[name]()}


if __name__ == "__main__":
    main()
