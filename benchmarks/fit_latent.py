r"""Fit forward latent attention (MLA) of a family of parts to public timings, and test it held out.

Run from the repository root::

    PYTHONPATH=. python benchmarks/fit_latent.py mla.parquet b200-sxm gb200
    PYTHONPATH=. python benchmarks/fit_latent.py mla.parquet h100-sxm h200-sxm --as-shipped

Reads latent attention of the operator database (``num_heads``, ``batch_size``, ``isl``). Its
rows hold what the library does to keys and cache beside the attention: a constant time for each
token and one for each token and head are fitted with the kernel's constants, or alone, and left
out of the profile. One case in four (batch, heads, positions) is held out. The profile is edited
by hand.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import pandas as pd
from kernel_fits import OUTLIER, database_name, error_text, part_of
from scipy.optimize import least_squares

from simulator.calibration.held_out import is_held_out
from simulator.calibration.operators import LEAST_FLOPS
from simulator.hardware.attention_costs import attention_time
from simulator.hardware.kernels import AttentionPass
from simulator.operators import Attention, AttentionKernel
from simulator.units import MICRO

if TYPE_CHECKING:
    from collections.abc import Callable

    from kernel_fits import Array, Flags

    from simulator.hardware.accelerator import Accelerator

KEY_DIM: Final = 192
VALUE_DIM: Final = 128
START: Final = (1.0, 0.8, 5e-6, 0.5, 2e-6, 0.5e-9, 30e-12)
"""Rate, sustained rate, overheads [s] of block, imbalance, kernel; times [s] by token, and head."""


class Rows(NamedTuple):
    """Timings of one part."""

    part: Accelerator
    calls: list[Attention]
    tokens: Array
    heads: Array
    time: Array
    held_out: Flags


def main() -> None:
    """Print the constants and the errors of each part."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("table", type=Path, help="mla_forward.parquet")
    parser.add_argument("parts", nargs="+", help="accelerator profiles that share constants")
    parser.add_argument("--library", default="trtllm 1.3", help="start of the library's name")
    parser.add_argument("--block", type=int, default=256, help="queries of a block")
    parser.add_argument("--as-shipped", action="store_true", help="fit what surrounds it only")
    arguments = parser.parse_args()
    frame = pd.read_parquet(arguments.table)
    frame = frame[frame["library"].str.startswith(arguments.library)]
    tables = [rows_of(frame, name) for name in arguments.parts]
    if arguments.as_shipped:
        shipped = [kernel_times(rows) for rows in tables]
        around = solved(tables, lambda _: shipped, np.array(START[5:]))
        print("s by token, by token and head:", *around)
        report(tables, shipped, around)
        return

    def kernels(at: Array) -> list[Array]:
        model = latent_pass(at, arguments.block)
        return [kernel_times(with_latent(rows, model)) for rows in tables]

    values = solved(tables, kernels, np.array(START))
    print(latent_pass(values, arguments.block), "s by token, and head:", *values[5:])
    report(tables, kernels(values), values[5:])


def rows_of(frame: pd.DataFrame, name: str) -> Rows:
    """Return the rows of one part."""
    part = part_of(name)
    frame = frame[frame["accelerator"] == database_name(name)]
    sizes = frame[["batch_size", "num_heads", "isl"]].astype(int).to_numpy()
    calls = [call(*map(int, size)) for size in sizes]
    chosen = np.array([one.flops >= LEAST_FLOPS for one in calls])
    calls, sizes = [calls[i] for i in np.flatnonzero(chosen)], sizes[chosen]
    held_out = np.array([is_held_out(f"{b}x{h}x{s}") for b, h, s in sizes])
    tokens, heads = (sizes[:, 0] * sizes[:, 2]).astype(float), sizes[:, 1].astype(float)
    time = frame["time_us"].to_numpy(float)[chosen] * MICRO
    return Rows(part, calls, tokens, heads, time, held_out)


def call(batch: int, heads: int, length: int) -> Attention:
    """Return one forward call over expanded keys and values."""
    return Attention(
        name="latent",
        batch=batch,
        heads=heads,
        kv_heads=heads,
        queries=length,
        keys=length,
        head_dim=KEY_DIM,
        value_dim=VALUE_DIM,
        causal=True,
        window=0,
        backward=False,
        kernel=AttentionKernel.CUDNN,
    )


def latent_pass(values: Array, block: int) -> AttentionPass:
    """Return the direction of a kernel that the first five values describe."""
    rate, sustained, block_overhead, imbalance, kernel_overhead = map(float, values[:5])
    return AttentionPass(
        rate={(KEY_DIM + VALUE_DIM) // 2: rate},
        sustained_rate=sustained,
        block_overhead=block_overhead,
        imbalance=imbalance,
        kernel_overhead=kernel_overhead,
        block=block,
    )


def with_latent(rows: Rows, model: AttentionPass) -> Rows:
    """Return the rows on a part with this forward pass of latent attention."""
    attention = dict(rows.part.kernels.fused_attention)
    kernel = attention[AttentionKernel.CUDNN]
    attention[AttentionKernel.CUDNN] = dataclasses.replace(kernel, latent_forward=model)
    return rows._replace(part=rows.part.with_kernels(fused_attention=attention))


def kernel_times(rows: Rows) -> Array:
    """Return the kernel's time [s] of each row."""
    return np.array([attention_time(one, rows.part) for one in rows.calls])


def errors(rows: Rows, kernel: Array, around: Array) -> Array:
    """Return log(modelled / measured time), what surrounds the kernel included."""
    by_token, by_head = around
    return np.asarray(
        np.log((kernel + rows.tokens * (by_token + by_head * rows.heads)) / rows.time)
    )


def solved(tables: list[Rows], kernels: Callable[[Array], list[Array]], start: Array) -> Array:
    """Return the positive values that fit the rows that are not held out."""

    def residuals(logarithms: Array) -> Array:
        at = np.exp(logarithms)
        both = zip(tables, kernels(at), strict=True)
        return np.concatenate([errors(rows, t, at[-2:])[~rows.held_out] for rows, t in both])

    limits = (np.log(start) - 12, np.log(start) + 3)
    solution = least_squares(
        residuals, np.log(start), bounds=limits, loss="soft_l1", f_scale=OUTLIER, max_nfev=40
    )
    return np.asarray(np.exp(solution.x))


def report(tables: list[Rows], kernels: list[Array], around: Array) -> None:
    """Print the held-out errors of each part: kernel alone, and with what surrounds it."""
    for rows, kernel in zip(tables, kernels, strict=True):
        for label, extra in (("kernel", np.zeros(2)), ("with what surrounds it", around)):
            held_out = np.expm1(errors(rows, kernel, extra)[rows.held_out])
            print(f"{rows.part.name}, held out, {label}: {error_text(held_out)}")


if __name__ == "__main__":
    main()
