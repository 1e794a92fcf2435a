"""Which library multiplies matrices: releases differ by a few per cent on the same part."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from simulator.errors import SimulatorError
from simulator.hardware.memo import remembered

if TYPE_CHECKING:
    from simulator.hardware.accelerator import Accelerator
    from simulator.precision import Precision


def library_rate(accelerator: Accelerator, precision: Precision) -> float:
    """Return the rate of the library that is set, relative to the one that was fitted.

    Raises
    ------
    SimulatorError
        If the profile does not know the library.
    """
    model = accelerator.kernels.gemm
    if model.library is None:
        return 1.0
    if model.library not in model.libraries:
        known = ", ".join(sorted(model.libraries)) or "none"
        message = f"{accelerator.name} has no GEMM library {model.library!r}; it has: {known}"
        raise SimulatorError(message)
    return model.libraries[model.library].get(precision, 1.0)


def with_library(accelerator: Accelerator, release: str) -> Accelerator:
    """Return the part with the library that a table names, such as ``trtllm 1.3.0rc20``.

    The profile's entry whose name ``release`` starts with; without one, the part as it is.
    """
    names = [name for name in accelerator.kernels.gemm.libraries if release.startswith(name)]
    if not names:
        return accelerator
    library = max(names, key=len)

    def chosen() -> Accelerator:
        gemm = dataclasses.replace(accelerator.kernels.gemm, library=library)
        return accelerator.with_kernels(gemm=gemm)

    return remembered(accelerator, ("library", library), chosen)
