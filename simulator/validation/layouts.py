"""The layout and the batch of a row of measured runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulator.parallel.layout import Batch, Layout, Sharding
from simulator.parallel.stages import split_modules
from simulator.validation.cells import InvalidError, UnsupportedError

if TYPE_CHECKING:
    from simulator.validation.cells import Cells


def layout_of(cells: Cells) -> Layout:
    """Return the layout; data parallelism takes the accelerators that the others leave.

    Raises
    ------
    InvalidError
        If the degrees do not make the accelerators.
    """
    tensor, pipeline = cells.count("tp"), cells.count("pp")
    context = cells.count_if_given("cp") or 1
    accelerators = cells.count("n_accel")
    data, rest = divmod(accelerators, tensor * pipeline * context)
    stated = cells.count_if_given("dp")
    if rest or stated not in (None, data):
        raise InvalidError(
            f"tp {tensor} x pp {pipeline} x cp {context} x dp {stated or '?'} "
            f"does not make {accelerators} accelerators"
        )
    return Layout(
        tensor=tensor,
        context=context,
        pipeline=pipeline,
        virtual_stages=cells.count("vpp") if pipeline > 1 else 1,
        data=data,
        sequence_parallel=tensor > 1 and cells.flag("sequence_parallel"),
        sharding=_sharding(cells.text("optimizer_sharding")),
        layers=split_modules(cells.count("n_layers"), pipeline)
        if cells.source.modules_split and pipeline > 1
        else None,
    )


def _sharding(text: str) -> Sharding:
    if text.startswith("none") or not text:
        return Sharding.NONE
    if "ZeRO-1" in text or text.startswith("FSDP (optimizer"):
        return Sharding.OPTIMIZER
    raise UnsupportedError(f"optimizer sharding {text!r}")


def batch_of(cells: Cells, layout: Layout) -> tuple[Batch, float]:
    """Return the batch of whole micro-batches, and the row's share of its sequences."""
    micro = cells.count("mbs")
    if cells.text("gbs"):
        sequences = cells.count("gbs")
    elif cells.text("grad_accum"):
        sequences = cells.count("grad_accum") * micro * layout.data
    else:
        raise InvalidError("neither gbs nor grad_accum is given: the batch is unknown")
    passes = -(-sequences // (layout.data * micro))
    whole = passes * layout.data * micro
    if whole != sequences:
        cells.assumed["last micro-batch"] = f"{sequences} of {whole} sequences, priced by share"
    batch = Batch(sequence_length=cells.count("seq_len"), global_batch=whole, micro_batch=micro)
    return batch, sequences / whole
