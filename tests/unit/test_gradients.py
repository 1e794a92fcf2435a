"""Messages of data parallelism: how many buckets the gradients of a block make."""

from __future__ import annotations

from dataclasses import replace

import pytest
from job_samples import job

from simulator.parallel.layout import Layout, Sharding
from simulator.precision import Precision
from simulator.program.build import placement_of
from simulator.program.gradients import GradientCosts
from simulator.units import MIB

PARAMETERS = 8 << 20
"""32 MiB in fp32."""


def message(ranks: int, *, bucket_mib: float, per_rank_mib: float = 0.0) -> float:
    """Return the bytes of a bucket of so many ranks."""
    scenario = job(Layout(data=ranks, sharding=Sharding.OPTIMIZER))
    software = replace(
        scenario.software,
        gradient_reduce_precision=Precision.FP32,
        bucket=bucket_mib * MIB,
        bucket_per_rank=per_rank_mib * MIB,
    )
    scenario = replace(scenario, software=software)
    costs = GradientCosts(scenario, placement_of(scenario))
    return costs.largest_reduction(PARAMETERS)[1]


@pytest.mark.parametrize(
    ("bucket_mib", "per_rank_mib", "ranks", "expected_mib"),
    [
        (64, 0, 8, 32),  # all in one
        (16, 0, 8, 16),
        (10, 0, 8, 8),  # four alike rather than three and a rest
        (4, 2, 1 << 1, 4),
        (4, 2, 1 << 2, 8),
        (4, 2, 1 << 3, 16),
    ],
)
def test_buckets_are_as_large_as_the_ranks_need(
    bucket_mib: float, per_rank_mib: float, ranks: int, expected_mib: float
) -> None:
    found = message(ranks, bucket_mib=bucket_mib, per_rank_mib=per_rank_mib)
    assert found == expected_mib * MIB
