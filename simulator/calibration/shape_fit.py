"""Fit of a `ShapeTable` to measured deviations: smooth, and little moved by outliers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from simulator.hardware.shape_table import ShapeTable

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import ArrayLike, NDArray
    from scipy import sparse

    Vector = NDArray[np.float64]
    Axes = Sequence[Sequence[int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Smoothing:
    """What counts beside the squares of the errors that a table leaves."""

    smoothness: float
    """Weight of a difference between neighbouring points, in rows."""
    ridge: ArrayLike
    """Weight of a value, in rows: of all points, or of each."""
    outlier: float
    """Logarithmic error from which a row counts less than its square."""
    power: float
    """How fast it does: 1 is a Cauchy weight, 1/2 that of a soft L1 loss."""
    rounds: int
    """Times that the weights are found anew."""


def fitted_table(
    sizes: Vector,
    wanted: Vector,
    axes: Axes,
    smoothing: Smoothing,
    *,
    certainty: Vector | float = 1.0,
) -> ShapeTable:
    """Return the table that follows ``wanted``, trilinear in the logarithms of the sizes.

    Parameters
    ----------
    sizes
        Three sizes in each row.
    wanted
        Logarithm of measured over modelled time of each row.
    axes
        Points of the table along each size.
    smoothing
        What it costs to follow the rows.
    certainty
        Share of a row's error that counts.
    """
    import numpy as np  # noqa: PLC0415 - start-up stays fast
    from scipy import sparse  # noqa: PLC0415 - as above
    from scipy.sparse.linalg import spsolve  # noqa: PLC0415 - as above

    design, rough = _hats(sizes, axes), _differences(axes)
    ridge = np.broadcast_to(smoothing.ridge, design.shape[1])
    penalty = smoothing.smoothness * rough.T @ rough + sparse.diags(ridge)
    counts = np.broadcast_to(certainty, len(wanted)) ** 2
    weights = counts
    for _ in range(smoothing.rounds):
        weighted = design.T @ sparse.diags(weights)
        values = spsolve((weighted @ design + penalty).tocsc(), weighted @ wanted)
        error = certainty * (wanted - design @ values)
        weights = counts / (1 + (error / smoothing.outlier) ** 2) ** smoothing.power
    first, second, third = (tuple(axis) for axis in axes)
    percent = tuple(float(value) for value in np.round(100 * values))
    return ShapeTable(first=first, second=second, third=third, percent=percent)


def _hats(sizes: Vector, axes: Axes) -> sparse.csr_matrix:
    """Return the weight of each point of the table at each row's sizes."""
    import numpy as np  # noqa: PLC0415 - start-up stays fast
    from scipy import sparse  # noqa: PLC0415 - as above

    product = np.ones((len(sizes), 1))
    for at, axis in enumerate(axes):
        points, where = np.log2(axis), np.log2(sizes[:, at])
        weights = np.stack([np.interp(where, points, row) for row in np.eye(len(axis))], axis=1)
        product = (product[:, :, None] * weights[:, None, :]).reshape(len(sizes), -1)
    return sparse.csr_matrix(product)


def _differences(axes: Axes) -> sparse.csr_matrix:
    """Return the matrix of differences between neighbouring points of the table."""
    import numpy as np  # noqa: PLC0415 - start-up stays fast
    from scipy import sparse  # noqa: PLC0415 - as above

    eyes = [np.eye(len(axis)) for axis in axes]
    rows = []
    for along in range(len(axes)):
        parts = [np.diff(eye, axis=0) if at == along else eye for at, eye in enumerate(eyes)]
        rows.append(sparse.kron(sparse.kron(parts[0], parts[1]), parts[2]))
    return sparse.vstack(rows).tocsr()
