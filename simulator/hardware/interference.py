"""How much slower a kernel runs while a collective holds multiprocessors and memory bandwidth."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from simulator.errors import SimulatorError
from simulator.hardware.gemm_costs import memory_time, tiles_of
from simulator.hardware.memo import remembered
from simulator.hardware.operator_costs import operator_time
from simulator.operators import Gemm, GroupedGemm

if TYPE_CHECKING:
    from simulator.hardware.accelerator import Accelerator
    from simulator.operators import Compute


def slowdown(
    operator: Compute,
    accelerator: Accelerator,
    multiprocessors_taken: int,
    bandwidth_taken: float,
) -> float:
    """Return how many times longer ``operator`` takes beside a running collective.

    Parameters
    ----------
    operator
        The kernel that runs beside the collective the whole time.
    accelerator
        The part that both run on.
    multiprocessors_taken
        Multiprocessors on which the collective's blocks stay.
    bandwidth_taken
        Memory bandwidth [B/s], reads and writes, that the collective would use alone.

    Returns
    -------
    float
        Time beside over time alone, at least 1.

    Raises
    ------
    SimulatorError
        If the collective takes less than nothing, or all multiprocessors.

    Notes
    -----
    The tiles of a product run in whole waves over the multiprocessors that are left: one that
    filled its waves exactly needs another as soon as any is taken. Everything else is priced on
    what is left of the part. Neglected: how much slower the collective becomes, and the level-2
    cache that both share.
    """
    if multiprocessors_taken == 0 and bandwidth_taken == 0.0:
        return 1.0
    key = ("slowdown", operator, multiprocessors_taken, bandwidth_taken)

    def compute() -> float:
        rest = _remainder(accelerator, multiprocessors_taken, bandwidth_taken)
        if isinstance(operator, Gemm | GroupedGemm):
            return _product_slowdown(operator, accelerator, rest, multiprocessors_taken)
        return max(1.0, operator_time(operator, rest) / operator_time(operator, accelerator))

    return remembered(accelerator, key, compute)


def _product_slowdown(
    product: Gemm | GroupedGemm, accelerator: Accelerator, rest: Accelerator, taken: int
) -> float:
    """Return the larger of arithmetic and memory time beside the collective, over that alone."""
    model = accelerator.kernels.gemm
    if not model.tiles:
        raise SimulatorError(f"the kernels of {accelerator.name} list no GEMM tile")
    count = max(1, sum(tiles for tiles, depth in tiles_of(product, model.tiles[0]) if depth))
    lost = taken * accelerator.kernels.overlap.tiled_multiprocessors_lost
    left = max(1.0, accelerator.multiprocessors - lost)
    waves = math.ceil(count / left) / math.ceil(count / accelerator.multiprocessors)
    arithmetic = product.flops / accelerator.achievable(product.precision)
    memory = memory_time(product.n_bytes, accelerator)
    squeeze = accelerator.achievable_memory_bandwidth / rest.achievable_memory_bandwidth
    return max(arithmetic * waves, memory * squeeze) / max(arithmetic, memory)


def _remainder(accelerator: Accelerator, taken: int, bandwidth_taken: float) -> Accelerator:
    """Return the part without what the collective holds."""
    key = ("remainder", taken, bandwidth_taken)
    return remembered(accelerator, key, lambda: _reduced(accelerator, taken, bandwidth_taken))


def _reduced(accelerator: Accelerator, taken: int, bandwidth_taken: float) -> Accelerator:
    if not 0 <= taken < accelerator.multiprocessors or bandwidth_taken < 0.0:
        raise SimulatorError(
            f"a collective takes {taken} multiprocessors and {bandwidth_taken:.3g} B/s of "
            f"{accelerator.name}; allowed are 0 to {accelerator.multiprocessors - 1} "
            "multiprocessors and no negative bandwidth"
        )
    left = accelerator.multiprocessors - taken
    share = left / accelerator.multiprocessors
    bandwidth = accelerator.achievable_memory_bandwidth
    yielded = min(bandwidth_taken, bandwidth) * accelerator.kernels.overlap.bandwidth_yield
    return replace(
        accelerator,
        multiprocessors=left,
        peak_flop_rate={key: share * rate for key, rate in accelerator.peak_flop_rate.items()},
        achievable_flop_rate={
            key: share * rate for key, rate in accelerator.achievable_flop_rate.items()
        },
        achievable_memory_bandwidth=bandwidth - yielded,
    )
