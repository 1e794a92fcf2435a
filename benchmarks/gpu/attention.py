"""The table of causal attention: cuDNN and FlashAttention-2 of PyTorch, forward and backward."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from gpu.tables import Row, microseconds
from gpu.timing import event_time, graph_time, normal, release, single_graph_time

if TYPE_CHECKING:
    from collections.abc import Iterator

BACKENDS: Final = {"cudnn": SDPBackend.CUDNN_ATTENTION, "flash2": SDPBackend.FLASH_ATTENTION}
HEADS: Final = ((8, 1), (8, 8), (16, 16), (32, 8), (32, 32), (64, 8), (64, 64))
SEQUENCES: Final = ((1, 1024), (4, 1024), (1, 2048), (4, 2048), (1, 4096), (4, 4096), (1, 8192),
                    (2, 8192), (1, 16384), (1, 32768))  # fmt: skip
HEAD_DIMS: Final = (64, 128)


LATENT_DIMS: Final = ((192, 128), (128, 128))
"""Widths of queries and keys, and of values: latent attention, expanded, and plain beside it."""
LATENT_HEADS: Final = (8, 16, 32, 64, 128)
LATENT_SEQUENCES: Final = (1024, 2048, 4096, 8192, 16384)
MOST_PAIRS: Final = 1e10


def measure_latent(*, quick: bool) -> list[Row]:
    """Return the table of causal attention whose values have a width of their own, with cuDNN."""
    rows = []
    for dims in LATENT_DIMS[: 1 if quick else None]:
        for batch in (1, 4):
            for heads in LATENT_HEADS[:: 2 if quick else 1]:
                for sequence in LATENT_SEQUENCES:
                    if batch * heads * sequence**2 < MOST_PAIRS:
                        rows += list(_latent_rows(batch, heads, sequence, *dims))
        release()
    return rows


def _latent_rows(
    batch: int, heads: int, sequence: int, head_dim: int, value_dim: int
) -> Iterator[Row]:
    q, k = (normal(batch, heads, sequence, head_dim).requires_grad_() for _ in range(2))
    v = normal(batch, heads, sequence, value_dim).requires_grad_()
    attend: Any = partial(scaled_dot_product_attention, is_causal=True)
    plain = [tensor.detach() for tensor in (q, k, v)]
    flops = float(batch) * heads * sequence * sequence
    with sdpa_kernel(BACKENDS["cudnn"]):
        try:
            out = attend(q, k, v)
        except RuntimeError:  # this kernel does not exist here, or not for this shape
            return
        seed = torch.randn_like(out)
        backward = partial(torch.autograd.grad, out, (q, k, v), seed, retain_graph=True)
        for which, call, width in (
            ("fwd", partial(attend, *plain), head_dim + value_dim),
            ("bwd", backward, 3 * head_dim + 2 * value_dim),
        ):
            seconds = single_graph_time(call)
            yield {"backend": "cudnn", "pass": which, "batch": batch, "heads": heads,
                   "kv_heads": heads, "seq": sequence, "head_dim": head_dim,
                   "value_dim": value_dim, "causal": 1, "time_us": microseconds(seconds),
                   "tflops": round(flops * width / seconds / 1e12, 1)}  # fmt: skip


def measure(*, quick: bool) -> list[Row]:
    """Return the attention table."""
    rows = []
    for head_dim in HEAD_DIMS[1:] if quick else HEAD_DIMS:
        for heads, kv_heads in HEADS[1:6:2] if quick else HEADS:
            for batch, sequence in SEQUENCES[1:7:2] if quick else SEQUENCES:
                for backend in BACKENDS:
                    rows += list(_rows(backend, batch, heads, kv_heads, sequence, head_dim))
        release()
    return rows


def _rows(  # noqa: PLR0917
    backend: str, batch: int, heads: int, kv_heads: int, sequence: int, head_dim: int
) -> Iterator[Row]:
    q = normal(batch, heads, sequence, head_dim).requires_grad_()
    k, v = (normal(batch, kv_heads, sequence, head_dim).requires_grad_() for _ in range(2))
    attend: Any = partial(
        scaled_dot_product_attention, q, k, v, is_causal=True, enable_gqa=heads != kv_heads
    )
    flops = 2.0 * batch * heads * sequence * sequence * head_dim
    common = {"batch": batch, "heads": heads, "kv_heads": kv_heads, "seq": sequence,
              "head_dim": head_dim, "causal": 1}  # fmt: skip
    with sdpa_kernel(BACKENDS[backend]):
        try:
            out = attend()
        except RuntimeError:  # this kernel does not exist here, or not for this shape
            return
        seed = torch.randn_like(out)
        backward = partial(torch.autograd.grad, out, (q, k, v), seed, retain_graph=True)
        for which, seconds, executed in (
            ("fwd", event_time(attend, 7), flops),
            # A graph, because the host launches the several kernels of this pass too slowly.
            ("bwd", graph_time([backward] * 4, 5, keep=False), 2.5 * flops),
        ):
            rate = round(executed / seconds / 1e12, 1)
            yield {"backend": backend, "pass": which, **common,
                   "time_us": microseconds(seconds), "tflops": rate}  # fmt: skip
