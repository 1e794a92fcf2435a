"""Tables of kernels at the power limit: single calls beside calls repeated without rest."""

from __future__ import annotations

import statistics
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from gpu.timing import event_time, normal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gpu.tables import Row

TOKENS: Final = (2048, 4096, 8192)
LAYERS: Final = ((28672, 4096), (4096, 14336), (6144, 4096), (14336, 8192), (8192, 7168))
"""Outputs and inputs (n, k) of linear layers."""
SQUARES: Final = (4096, 8192)
SEQUENCES: Final = (2048, 4096, 8192, 16384)
HEADS: Final = 32
HEAD_DIM: Final = 128
WARM: Final = 0.6
"""Seconds of the same kernel before it is timed, so that clocks have settled."""
CALLS: Final = 20
REST: Final = 0.02
"""Seconds of rest before a single call."""


def measure() -> list[Row]:
    """Return rates [TFLOP/s] of single calls after a rest, and of calls repeated without one."""
    return [*_products(), *_attention()]


def measure_accumulation() -> list[Row]:
    """Return times [ms] of weight gradients that are added into a buffer, repeated without rest."""
    return [_accumulation(rows, n, k) for rows in TOKENS for n, k in LAYERS]


def _products() -> Iterator[Row]:
    shapes = [(rows, n, k) for rows in TOKENS for n, k in LAYERS]
    for m, n, k in [*shapes, *((size, size, size) for size in SQUARES)]:
        inputs, weight, gradient = normal(m, k), normal(n, k), normal(m, n)
        calls: dict[str, Callable[[], object]] = {
            "fprop": partial(torch.mm, inputs, weight.t()),
            "dgrad": partial(torch.mm, gradient, weight),
            "wgrad": partial(torch.mm, gradient.t(), inputs),
        }
        for which, call in calls.items():
            yield _rates("gemm", which, f"m={m} n={n} k={k}", 2.0 * m * n * k, call)


def _attention() -> Iterator[Row]:
    for length in SEQUENCES:
        q, k, v = (normal(1, HEADS, length, HEAD_DIM).requires_grad_() for _ in range(3))
        flops = 2.0 * HEADS * length * length * HEAD_DIM
        attend: Any = partial(scaled_dot_product_attention, q, k, v, is_causal=True)
        with sdpa_kernel(SDPBackend.CUDNN_ATTENTION):
            out = attend()
            seed = torch.randn_like(out)
            backward = partial(torch.autograd.grad, out, (q, k, v), seed, retain_graph=True)
            shape = f"heads={HEADS} seq={length} head_dim={HEAD_DIM}"
            yield _rates("attention_cudnn", "forward", shape, flops, attend)
            yield _rates("attention_cudnn", "backward", shape, 2.5 * flops, backward)


def _rates(what: str, which: str, shape: str, flops: float, call: Callable[[], object]) -> Row:
    single, repeated = _single_time(call), _repeated_time(call)
    return {
        "what": what,
        "pass": which,
        "shape": shape,
        "single_ms": round(single * 1e3, 4),
        "repeated_ms": round(repeated * 1e3, 4),
        "single_tflops": round(flops / single / 1e12, 1),
        "repeated_tflops": round(flops / repeated / 1e12, 1),
    }


def _single_time(call: Callable[[], object]) -> float:
    times = []
    for _ in range(9):
        time.sleep(REST)
        times.append(event_time(call, 1, flush=False))
    return statistics.median(times)


def _repeated_time(call: Callable[[], object]) -> float:
    begin = time.perf_counter()
    while time.perf_counter() - begin < WARM:
        for _ in range(CALLS):
            call()
        torch.cuda.synchronize()

    def repeat() -> None:
        for _ in range(CALLS):
            call()

    return event_time(repeat, 3, flush=False) / CALLS


def _accumulation(rows: int, n: int, k: int) -> Row:
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
    times = {f"{name}_ms": round(1e3 * _repeated_time(call), 4) for name, call in calls.items()}
    return {"rows": rows, "n": n, "k": k, **times}
