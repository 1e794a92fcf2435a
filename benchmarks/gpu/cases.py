"""What `measure_steps` and `launches` run: sizes of a model, its batch and its implementation."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Case:
    """One row to measure: the fields are columns of ``steps.csv``."""

    model: str
    n_layers: int
    hidden: int
    n_heads: int
    n_kv_heads: int
    ffn_hidden: int
    vocab: int
    gated: bool
    seq: int
    mbs: int
    grad_accum: int
    recompute: str = "none"
    blocks: str = "compiled"
    attention: str = "cudnn"
    """cudnn, flash, or math: scores in memory."""
    style: str = "llama"
    """llama or gpt."""

    @property
    def head_dim(self) -> int:
        """Width of a head."""
        return self.hidden // self.n_heads
