"""Logs as nccl-tests and rccl-tests print them, written from given times."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

BUS_FACTORS = {"all_reduce": 2, "all_gather": 1, "reduce_scatter": 1, "alltoall": 1}
"""Bus factor over (n - 1) / n."""

HEADER = """\
#
#                                                              out-of-place                       in-place
#       size         count      type   redop    root     time   algbw   busbw #wrong     time   algbw   busbw #wrong
#        (B)    (elements)                               (us)  (GB/s)  (GB/s)            (us)  (GB/s)  (GB/s)
"""  # noqa: E501 - as printed
OLD_HEADER = """\
#                                                     out-of-place                       in-place
#       size         count    type   redop     time   algbw   busbw  error     time   algbw   busbw  error
#        (B)    (elements)                     (us)  (GB/s)  (GB/s)            (us)  (GB/s)  (GB/s)
"""  # noqa: E501 - as printed


def log(
    program: str,
    times_us: Mapping[int, float],
    ranks: int,
    nodes: int = 1,
    *,
    command: bool = True,
    device: str = "NVIDIA H100 80GB HBM3",
) -> str:
    """Return one run: time [us] by message [B]."""
    lines = [f"mpirun -np {ranks} ./build/{program}_perf -b 8 -e 8G -f 2 -g 1"] if command else []
    lines += [
        "# nThread 1 nGpus 1 minBytes 8 maxBytes 8589934592 step: 2(factor) warmup iters: 5",
        "#",
        "# Using devices",
        *(_rank(rank, ranks // nodes, device) for rank in range(ranks)),
    ]
    body = [row(program, size, time, ranks) for size, time in times_us.items()]
    tail = ["# Out of bounds values : 0 OK", "# Avg bus bandwidth    : 98.9", "#"]
    return "\n".join([*lines, HEADER.rstrip("\n"), *body, *tail]) + "\n"


def row(program: str, size: int, time_us: float, ranks: int) -> str:
    """Return the row of one size; the check in place did not run."""
    algorithm = size / time_us / 1e3
    bus = algorithm * BUS_FACTORS[program] * (ranks - 1) / ranks
    figures = f"{time_us:8.2f} {algorithm:7.2f} {bus:7.2f}"
    operation = "sum" if program in ("all_reduce", "reduce_scatter") else "none"
    head = f"{size:12d} {size // 4:13d}     float {operation:>7}      -1"
    return f"{head} {figures}      0 {figures}    N/A"


def _rank(rank: int, per_node: int, device: str) -> str:
    host = f"host-{rank // per_node}"
    return (
        f"#  Rank {rank:2d} Group  0 Pid {6000 + rank} on {host} device {rank % per_node:2d} "
        f"[0000:04:00] {device}"
    )
