"""What fits of kernels share: parts by name, constants at dotted paths, and errors in words."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from simulator.catalog import Catalog
from simulator.documents import validate
from simulator.hardware.accelerator import Accelerator

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Flags = NDArray[np.bool_]

OUTLIER: Final = 0.05
"""Logarithmic error from which a row counts less than its square: tables hold slow outliers."""


def part_of(name: str) -> Accelerator:
    """Return the accelerator of a shipped profile, such as ``h200-sxm``."""
    return validate(Accelerator, Catalog().document("accelerator", name))


def database_name(name: str) -> str:
    """Return what the operator database calls the part of a profile."""
    return name.upper() if name.endswith("-sxm") else f"{name.upper()}-NVL72"


def constant(model: Any, path: str) -> float:  # noqa: ANN401 - walks records and mappings alike
    """Return the number at a dotted path, such as ``gemm.role_rate.dgrad``."""
    for name in path.split("."):
        model = model[_key(name)] if isinstance(model, dict) else getattr(model, name)
    return float(model)


def with_constant(model: Any, path: str, value: float) -> Any:  # noqa: ANN401 - as above
    """Return a copy of ``model`` with the number at a dotted path replaced."""
    name, _, rest = path.partition(".")
    if isinstance(model, dict):
        key = _key(name)
        return {**model, key: with_constant(model[key], rest, value) if rest else value}
    inner = with_constant(getattr(model, name), rest, value) if rest else value
    return dataclasses.replace(model, **{name: inner})


def with_constants(part: Accelerator, paths: Sequence[str], values: Iterable[float]) -> Accelerator:
    """Return the part with other numbers at these paths of its kernels."""
    kernels = part.kernels
    for path, value in zip(paths, values, strict=True):
        kernels = with_constant(kernels, path, float(value))
    return dataclasses.replace(part, kernels=kernels)


def error_text(errors: Array) -> str:
    """Return number, median, 90th percentile and bias of relative errors."""
    if not errors.size:
        return "no rows"
    middle, high = np.quantile(np.abs(errors), (0.5, 0.9))
    bias = np.median(errors)
    return f"{errors.size} rows, median {middle:.1%}, p90 {high:.1%}, bias {bias:+.1%}"


def _key(name: str) -> str | int:
    return int(name) if name.isdigit() else name
