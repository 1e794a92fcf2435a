"""The model of a row of measured runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from simulator.validation.cells import Cells, InvalidError
from simulator.validation.sources import ALTERED
from simulator.workload.transformer import Norm, Positions, Transformer

if TYPE_CHECKING:
    from collections.abc import Mapping

GATED_FAMILIES: Final[Mapping[str, bool]] = {
    "llama": True,
    "mistral": True,
    "qwen": True,
    "gpt": False,
    "bloom": False,
}
"""Whether the MLP is gated, by a part of the model's name, for tables that have no such column."""
WINDOW: Final = 1024
"""MegaScale's window [positions]; not printed, its FLOPs imply half the sequence."""


def model_of(cells: Cells) -> Transformer:
    """Return the model; what the row and its source leave unsaid follows from its family."""
    gated = _gated(cells)
    heads = cells.count("n_heads")
    hidden = cells.count("hidden")
    multiple = cells.count_if_given("vocabulary_multiple") or 128
    vocabulary = cells.count("vocab")
    if multiple == 1:
        # An unpadded vocabulary is cut by whole division: the remainder has no rows.
        vocabulary -= vocabulary % cells.count("tp")
    altered = ALTERED in cells.row.get("flags", "")
    positions = _positions(cells, gated=gated)
    return Transformer(
        name=cells.row["model"] or "unnamed",
        layers=cells.count("n_layers"),
        hidden=hidden,
        heads=heads,
        kv_heads=cells.count_if_given("n_kv_heads") or heads,
        head_dim=cells.count_if_given("head_dim") or hidden // heads,
        ffn_hidden=cells.count("ffn_hidden"),
        vocabulary=vocabulary,
        vocabulary_multiple=multiple,
        gated_mlp=gated,
        tied_embeddings=cells.flag("tied_embeddings"),
        norm=Norm.RMS if gated else Norm.LAYER,
        positions=positions,
        max_positions=cells.count("seq_len") if positions is Positions.LEARNED else 0,
        linear_bias=not gated,
        qkv_bias=not gated,
        embedding_norm=cells.flag("embedding_norm"),
        parallel_block=altered,
        window=WINDOW if altered else 0,
    )


def _positions(cells: Cells, *, gated: bool) -> Positions:
    text = cells.text("positions") or ("rotary" if gated else "learned")
    if text not in tuple(Positions):
        raise InvalidError(f"positions must be one of {', '.join(Positions)}, got {text!r}")
    return Positions(text)


def _gated(cells: Cells) -> bool:
    """Return whether the MLP is gated: as the row says, else as the model's family is known to be.

    Raises
    ------
    InvalidError
        If the row does not say and the family is not known here.
    """
    if cells.text("gated_mlp"):
        return cells.flag("gated_mlp")
    name = cells.row["model"].lower()
    for family, gated in GATED_FAMILIES.items():
        if family in name:
            cells.assumed["gated_mlp"] = str(gated)
            return gated
    raise InvalidError(f"gated_mlp is empty, and {cells.row['model']} is of no family known here")
