"""The training stack that stands for a row of measured runs."""

from __future__ import annotations

import dataclasses
from fnmatch import fnmatch
from typing import TYPE_CHECKING, Final

from simulator.operators import AttentionKernel
from simulator.validation.profiles import stack_profile
from simulator.validation.sources import ALTERED, run_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from simulator.catalog import Catalog
    from simulator.hardware.accelerator import Accelerator
    from simulator.hardware.software import Software
    from simulator.validation.cells import Cells, Row
    from simulator.validation.sources import Source

ATTENTION: Final[Mapping[str, AttentionKernel]] = {
    "flash_attentionv1": AttentionKernel.FLASH1,
    "flash_attention2": AttentionKernel.FLASH2,
    "torch": AttentionKernel.UNFUSED_BF16,
    "fused": AttentionKernel.FUSED_SOFTMAX,
}
"""Kernel by the start of the ``attention_kernel`` cell; others leave the stack its own.

``torch`` as in the layouts study, whose trainer takes the softmax in the scores' format by default
(Aleph-Alpha/scaling, masked_softmax_config.py).
"""


def stack_of(row: Row, source: Source) -> str:
    """Return the name of the software profile that stands for a row."""
    if source.altered and ALTERED in row.get("flags", ""):
        return source.altered
    for pattern, stack in source.stack_by_run.items():
        if fnmatch(run_name(row), pattern):
            return stack
    return source.stacks.get(row["accelerator"], source.software)


def software_of(cells: Cells, part: Accelerator, catalog: Catalog) -> Software:
    """Return the profile with the attention kernel that the row names, or that the part has."""
    software = stack_profile(stack_of(cells.row, cells.source), catalog)
    text = cells.text("attention_kernel")
    named = [kernel for start, kernel in ATTENTION.items() if text.startswith(start)]
    if not named:
        return _with_attention_of(part, software, cells)
    kernels = dataclasses.replace(
        software.kernels, attention=named[0], fused_norm="RMS kernel" in text
    )
    return dataclasses.replace(software, kernels=kernels)


def _with_attention_of(part: Accelerator, software: Software, cells: Cells) -> Software:
    """Return the stack with its own attention kernel, or the part's if that is not made for it.

    Transformer Engine's fused attention is cuDNN's on NVIDIA parts, Composable Kernel's on AMD's.
    """
    fused = part.kernels.fused_attention
    own = software.kernels.attention
    if own in fused or own.stores_scores or len(fused) != 1:
        return software
    (kernel,) = fused
    cells.assumed["attention_kernel"] = str(kernel)
    return dataclasses.replace(
        software, kernels=dataclasses.replace(software.kernels, attention=kernel)
    )
