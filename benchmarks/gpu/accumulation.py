"""The table of weight gradients that are added into a buffer, at the power limit."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

import torch

from gpu.timing import normal

if TYPE_CHECKING:
    from collections.abc import Callable

    from gpu.tables import Row

TOKENS: Final = (2048, 4096, 8192)
LAYERS: Final = ((28672, 4096), (4096, 14336), (6144, 4096), (14336, 8192), (8192, 7168))
"""Outputs and inputs (n, k) of linear layers."""
WARM: Final = 0.6
"""Seconds of the same product before it is timed, so that clocks have settled."""
CALLS: Final = 40


def measure() -> list[Row]:
    """Return times [ms] of one product each, repeated without rest."""
    return [_row(rows, n, k) for rows in TOKENS for n, k in LAYERS]


def _row(rows: int, n: int, k: int) -> Row:
    gradient, inputs, weight = normal(rows, n), normal(rows, k), normal(n, k)
    turned = gradient.t()
    narrow = torch.zeros(n, k, device="cuda", dtype=torch.bfloat16)
    wide = torch.zeros(n, k, device="cuda")
    outputs = torch.empty_like(gradient)
    calls: dict[str, Callable[[], Any]] = {
        "bf16_result": lambda: torch.mm(turned, inputs, out=narrow),
        "bf16_accumulated": lambda: torch.addmm(narrow, turned, inputs, out=narrow),
        "fp32_accumulated": lambda: torch.addmm(wide, turned, inputs, out_dtype=torch.float32),
        "fprop": lambda: torch.mm(inputs, weight.t(), out=outputs),
    }
    times = {f"{name}_ms": round(_sustained_ms(call), 4) for name, call in calls.items()}
    return {"rows": rows, "n": n, "k": k, **times}


def _sustained_ms(call: Callable[[], Any]) -> float:
    begin = time.perf_counter()
    while time.perf_counter() - begin < WARM:
        for _ in range(CALLS // 2):
            call()
        torch.cuda.synchronize()
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    for _ in range(CALLS):
        call()
    end.record()
    torch.cuda.synchronize()
    return float(start.elapsed_time(end)) / CALLS
