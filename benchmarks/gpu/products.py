"""The tables of matrix products: the three products of a linear layer, and grouped ones."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

import torch

from gpu.routing import ROUTINGS, rows_of_groups
from gpu.tables import Row, microseconds
from gpu.timing import event_time, normal, release, single_graph_time

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TOKENS: Final = (256, 512, 1024, 2048, 4096, 8192, 16384, 32768)
QUICK_TOKENS: Final = (1024, 4096, 8192)
LAYERS: Final = (
    (1024, 1024), (4096, 1024), (2048, 2048), (6144, 2048), (2048, 8192), (3072, 3072),
    (9216, 3072), (4096, 4096), (6144, 4096), (28672, 4096), (4096, 14336), (5120, 5120),
    (15360, 5120), (27648, 5120), (5120, 13824), (20480, 5120), (7168, 8192), (10240, 8192),
    (8192, 8192), (57344, 8192), (8192, 28672), (1280, 8192), (8192, 3584), (12288, 12288),
    (36864, 12288), (49152, 12288), (12288, 49152), (12288, 6144), (4608, 12288), (16384, 16384),
    (106496, 16384), (16384, 53248), (13312, 16384), (32000, 4096), (128256, 4096),
)  # fmt: skip
"""Outputs and inputs (n, k) of linear layers of models from 1B to 500B, some divided over ranks."""
QUICK_LAYERS: Final = LAYERS[2:32:2]
VOCABULARIES: Final = (50257, 50258, 50256, 50264, 50304, 50432, 50688)
LARGEST: Final = 2.2e13
"""FLOPs from which a product is left out: tens of milliseconds each."""
FP8_ALIGNMENT: Final = 16
EXPERT_LAYERS: Final = (
    (4096, 7168), (7168, 2048), (3072, 4096), (1536, 2048), (28672, 4096), (2048, 768),
)  # fmt: skip
EXPERTS: Final = (4, 8, 16, 32, 64, 128)
EXPERT_TOKENS: Final = (32, 64, 128, 192, 256, 384, 512, 1024, 2048, 4096)
MOST_GROUPED: Final = 2e12
"""FLOPs from which a grouped product is left out."""
MOST_WEIGHTS: Final = 4e9
"""Elements of all experts' matrices from which it is."""


def measure(*, quick: bool) -> list[Row]:
    """Return the GEMM table."""
    rows = []
    for n, k in QUICK_LAYERS if quick else LAYERS:
        for m in QUICK_TOKENS if quick else TOKENS:
            if 2.0 * m * n * k < LARGEST:
                rows += list(_linear(m, n, k))
        release()
    return rows


def measure_alignment() -> list[Row]:
    """Return products of output layers whose vocabulary is padded to 1, 2, 8, 64, 128 or 512."""
    rows = []
    for k in (2048, 5120):
        for n in VOCABULARIES:
            rows += [row for row in _linear(8192, n, k) if row["dtype"] == "bf16"]
            release()
    return rows


def _linear(m: int, n: int, k: int) -> Iterator[Row]:
    x, w, dy = normal(m, k), normal(n, k), normal(m, n)
    calls: list[tuple[str, str, Callable[[], object]]] = [
        ("bf16", "fprop", partial(torch.matmul, x, w.t())),
        ("bf16", "dgrad", partial(torch.matmul, dy, w)),
        ("bf16", "wgrad", partial(torch.matmul, dy.t(), x)),
    ]
    if _has_fp8() and n % FP8_ALIGNMENT == 0:
        one = torch.ones((), device="cuda")
        narrow = [tensor.to(torch.float8_e4m3fn) for tensor in (x, w)]
        scaled = partial(
            torch._scaled_mm,  # noqa: SLF001
            narrow[0],
            narrow[1].t(),
            scale_a=one,
            scale_b=one,
            out_dtype=torch.bfloat16,
            use_fast_accum=True,
        )
        calls.append(("fp8", "fprop", scaled))
    for dtype, which, call in calls:
        seconds = event_time(call, 7)
        rate = round(2.0 * m * n * k / seconds / 1e12, 1)
        yield {"dtype": dtype, "pass": which, "m": m, "n": n, "k": k,
               "time_us": microseconds(seconds), "tflops": rate}  # fmt: skip


def _has_fp8() -> bool:
    return hasattr(torch, "_scaled_mm") and torch.cuda.get_device_capability() >= (8, 9)


def measure_grouped(*, quick: bool) -> list[Row]:
    """Return the table of grouped GEMMs; empty where PyTorch has none."""
    if not hasattr(torch, "_grouped_mm"):
        return []
    rows = []
    for n, k in EXPERT_LAYERS[:2] if quick else EXPERT_LAYERS:
        for experts in EXPERTS[:3] if quick else EXPERTS:
            for tokens in EXPERT_TOKENS[1::3] if quick else EXPERT_TOKENS:
                if experts * n * k < MOST_WEIGHTS and 2.0 * experts * tokens * n * k < MOST_GROUPED:
                    for routing in ROUTINGS:
                        rows += list(_grouped(experts, tokens, n, k, routing))
        release()
    return rows


def _grouped(experts: int, tokens: int, n: int, k: int, routing: str) -> Iterator[Row]:
    """Yield the rows of the three products of one layer of experts."""
    counts = rows_of_groups(routing, experts, tokens)
    ends = torch.tensor(counts, device="cuda").cumsum(0, dtype=torch.int32)
    x, w, dy = normal(sum(counts), k), normal(experts, k, n), normal(sum(counts), n)
    product: Any = torch._grouped_mm  # noqa: SLF001
    calls: dict[str, Callable[[], object]] = {
        "fprop": partial(product, x, w, offs=ends),
        "dgrad": partial(product, dy, w.transpose(1, 2), offs=ends),
        "wgrad": partial(product, x.t(), dy, offs=ends),
    }
    for which, call in calls.items():
        seconds = single_graph_time(call)
        rate = round(2.0 * sum(counts) * n * k / seconds / 1e12, 1)
        yield {"pass": which, "experts": experts, "tokens_per_expert": tokens, "n": n, "k": k,
               "routing": routing, "rows": sum(counts), "time_us": microseconds(seconds),
               "tflops": rate}  # fmt: skip
