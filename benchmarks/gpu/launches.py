"""The table of host launch cost: layers so small that the host decides, forward and backward."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

import torch

from gpu.cases import Case
from gpu.model import Model, choose_attention
from gpu.tables import Row, microseconds
from gpu.timing import graph_time, host_time, kernels_of, release

if TYPE_CHECKING:
    from collections.abc import Iterator

LAYERS: Final = 8
TINY: Final[dict[str, Any]] = {
    "n_layers": LAYERS,
    "hidden": 256,
    "n_heads": 4,
    "n_kv_heads": 4,
    "ffn_hidden": 512,
    "vocab": 512,
    "seq": 32,
    "mbs": 1,
    "grad_accum": 1,
}
CASES: Final = (
    ("llama eager", True, "llama", "cudnn", "eager"),
    ("llama eager, attention math", True, "llama", "math", "eager"),
    ("gpt eager", False, "gpt", "flash", "eager"),
    ("gpt eager, attention math", False, "gpt", "math", "eager"),
    ("llama compiled", True, "llama", "cudnn", "compiled"),
    ("gpt compiled, attention math", False, "gpt", "math", "compiled"),
)


def measure() -> list[Row]:
    """Return host time per layer and per kernel, forward and backward, eager and compiled."""
    rows: list[Row] = []
    for name, gated, style, attention, blocks in CASES:
        case = Case("tiny", gated=gated, style=style, attention=attention, blocks=blocks, **TINY)
        choose_attention(attention)
        torch._dynamo.reset()  # noqa: SLF001
        rows += _model(name, Model(case), case)
        release()
    return rows + list(_optimizers())


def _model(name: str, model: Model, case: Case) -> Iterator[Row]:
    ids = torch.randint(0, case.vocab, (case.mbs, case.seq), device="cuda")
    weights = model.parameters()

    def forward() -> Any:
        return model.layer_stack(ids)

    def both() -> Any:
        return torch.autograd.grad(forward().float().sum(), weights, allow_unused=True)

    forward_time, both_time = host_time(forward), host_time(both)
    counts = len(kernels_of([forward] * 2)), len(kernels_of([both] * 2))
    yield _row(name, "fwd", forward_time, counts[0])
    yield _row(name, "bwd", both_time - forward_time, counts[1] - counts[0])
    replayed = graph_time([forward] * 4, keep=False)
    yield _row(name + ", graph", "fwd", replayed, counts[0])
    replayed = graph_time([both] * 4, keep=False) - replayed
    yield _row(name + ", graph", "bwd", replayed, counts[1] - counts[0])


def _optimizers() -> Iterator[Row]:
    """Yield what the host needs for an optimizer step over 200 small tensors."""
    tensors = [torch.zeros(64, device="cuda", requires_grad=True) for _ in range(200)]
    for tensor in tensors:
        tensor.grad = torch.ones_like(tensor)
    for kind in ("fused", "foreach"):
        optimizer = torch.optim.AdamW(tensors, **{kind: True})
        kernels = len(kernels_of([optimizer.step] * 2))
        yield _row(f"adamw {kind}, 200 tensors", "step", host_time(optimizer.step, 10), kernels)
    norm = partial(torch.nn.utils.clip_grad_norm_, tensors, 1.0, foreach=True)
    kernels = len(kernels_of([norm] * 2))
    yield _row("clip_grad_norm foreach, 200 tensors", "step", host_time(norm, 10), kernels)


def _row(name: str, direction: str, time: float, kernels: int) -> Row:
    return {
        "case": name,
        "layers": LAYERS if direction != "step" else 0,
        "pass": direction,
        "kernels": kernels,
        "host_us": microseconds(time),
        "us_per_kernel": round(1e6 * time / max(1, kernels), 2),
    }
