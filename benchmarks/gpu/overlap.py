"""The table of slow-down beside communication.

A mover copies memory on some multiprocessors, one persistent block on each, as a collective's
kernel does, while a GEMM, an attention or a pointwise kernel runs on another stream.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

import torch
import triton
import triton.language as tl
from torch.nn.functional import scaled_dot_product_attention

from gpu.timing import event_time, normal

if TYPE_CHECKING:
    from collections.abc import Callable

    from gpu.tables import Row

TAKEN: Final = (0, 2, 4, 8, 16, 24, 32, 48)
GEMMS: Final = ((4096, 8192, 8192), (8192, 3584, 8192), (4096, 28672, 8192), (2048, 4096, 4096),
                (8192, 16384, 5120), (4096, 4096, 4096), (8192, 4096, 1024))  # fmt: skip
BLOCK: Final = 8192
ROUNDS: Final = 60_000
"""Blocks that each multiprocessor moves: at about 66 GB/s for 60 ms, longer than any series."""
LONGEST: Final = 0.025
"""Time [s] of a series alone; beside the mover it takes up to twice as long."""
MOVED: Final = 2**28
"""Elements (fp32) that the mover reads and writes again and again."""


@triton.jit  # type: ignore[untyped-decorator]
def mover(source, target, rounds, size, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201, D103, N803
    step = tl.num_programs(0) * BLOCK
    start = tl.program_id(0) * BLOCK
    for turn in range(rounds):
        offsets = (start + turn * step) % size + tl.arange(0, BLOCK)
        tl.store(target + offsets, tl.load(source + offsets))


def measure(*, quick: bool) -> list[Row]:
    """Return the overlap table."""
    works: dict[str, Callable[[], object]] = {}
    for m, n, k in GEMMS[:1] if quick else GEMMS:
        works[f"gemm m={m} n={n} k={k}"] = partial(torch.mm, normal(m, k), normal(k, n))
    q, kv = normal(1, 32, 8192, 128), normal(1, 8, 8192, 128)
    works["attention b=1 s=8192 h=32/8 d=128"] = partial(
        scaled_dot_product_attention, q, kv, kv, is_causal=True, enable_gqa=True
    )
    works["add 8192x8192 bf16"] = partial(torch.add, normal(8192, 8192), normal(8192, 8192))
    return [row for name, work in works.items() for row in _work(name, work)]


def _work(name: str, work: Callable[[], object]) -> list[Row]:
    alone = _series(work, None)[0]
    rows: list[Row] = []
    for taken in TAKEN:
        beside, moving = _series(work, taken) if taken else (alone, 0.0)
        rows.append({
            "work": name,
            "sms_taken": taken,
            "alone_us": round(alone * 1e6, 2),
            "beside_us": round(beside * 1e6, 2),
            "slowdown": round(beside / alone, 3),
            "mover_alone_GBps": "",
            "mover_beside_GBps": round(moving / 1e9, 1) if taken else "",
        })  # fmt: skip
    return rows


def _series(work: Callable[[], object], taken: int | None) -> tuple[float, float]:
    """Return the time [s] of one call among several, and the mover's rate [B/s] meanwhile."""
    for _ in range(3):
        work()
    calls = int(max(4, min(20, LONGEST / event_time(work, 3, flush=False))))
    moving = _start_mover(taken) if taken else None
    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    first.record()
    for _ in range(calls):
        work()
    last.record()
    torch.cuda.synchronize()
    rate = moving() if moving else 0.0
    return float(first.elapsed_time(last)) * 1e-3 / calls, rate


def _start_mover(taken: int) -> Callable[[], float]:
    """Start the mover on a stream of its own; the result returns its rate [B/s] afterwards."""
    side = torch.cuda.Stream()
    source = torch.ones(MOVED, device="cuda")
    target = torch.empty_like(source)
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    launch: Any = mover[(taken,)]
    with torch.cuda.stream(side):
        launch(source, target, 1, MOVED, BLOCK=BLOCK, num_warps=16)
    torch.cuda.synchronize()
    with torch.cuda.stream(side):
        begin.record()
        launch(source, target, ROUNDS, MOVED, BLOCK=BLOCK, num_warps=16)
        end.record()
    torch.cuda._sleep(200_000)  # noqa: SLF001 - the mover must be there first
    return lambda: 8.0 * taken * BLOCK * ROUNDS / (begin.elapsed_time(end) * 1e-3)
