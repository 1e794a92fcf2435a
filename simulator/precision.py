"""Number formats: bits per element, scales included."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Precision(StrEnum):
    """A number format of operands, weights, gradients or messages."""

    FP32 = "fp32"
    TF32 = "tf32"
    BF16 = "bf16"
    FP16 = "fp16"
    FP8 = "fp8"
    FP8_BLOCK = "fp8_block"
    """fp8 with an fp32 scale for each 1 x 128 of activations and 128 x 128 of weights."""
    MXFP8 = "mxfp8"
    MXFP6 = "mxfp6"
    MXFP4 = "mxfp4"
    NVFP4 = "nvfp4"

    @property
    def n_bytes(self) -> float:
        """Bytes per element in memory, block scales included.

        The scales of activations in blocks of 128; those of weights (0.2 % of that) are neglected.

        References
        ----------
        DeepSeek-AI, DeepSeek-V3 Technical Report, arXiv 2412.19437, section 3.3.2: blocks of 128;
        OCP Microscaling Formats v1.0: one 8-bit scale for each block of 32; NVFP4: one 8-bit
        scale for each block of 16.
        """
        return _BITS[self] / 8


_BITS: Final[dict[Precision, float]] = {
    Precision.FP32: 32,
    Precision.TF32: 32,
    Precision.BF16: 16,
    Precision.FP16: 16,
    Precision.FP8: 8,
    Precision.FP8_BLOCK: 8.25,
    Precision.MXFP8: 8.25,
    Precision.MXFP6: 6.25,
    Precision.MXFP4: 4.25,
    Precision.NVFP4: 4.5,
}
