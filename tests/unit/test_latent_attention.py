"""Attention whose values have a width of their own: counts by hand, and measured times."""

from __future__ import annotations

import dataclasses
import statistics
from pathlib import Path

import pandas as pd
import pytest

from simulator.calibration.rates import group_of, timings
from simulator.catalog import Catalog
from simulator.documents import validate
from simulator.hardware.accelerator import Accelerator
from simulator.hardware.attention_costs import score_products
from simulator.hardware.operator_costs import operator_time
from simulator.operators import Attention, AttentionKernel

TABLE = Path(__file__).parents[2] / "benchmarks" / "measurements" / "h100" / "attention_latent.csv"
H100 = validate(Accelerator, Catalog(()).document("accelerator", "h100-sxm"))
LATENT = Attention("mla", 1, 128, 128, 4096, 4096, 192, kernel=AttentionKernel.CUDNN, value_dim=128)
BACKWARD = dataclasses.replace(LATENT, backward=True)


def test_flops_by_hand() -> None:
    """Forward q.k and p.v; backward the scores again and the gradients of p, v, q and k."""
    each = 2.0 * 128 * 4096 * 4096 / 2
    assert LATENT.flops == each * (192 + 128)
    assert BACKWARD.flops == each * (192 + 128 + 128 + 192 + 192)
    stored = dataclasses.replace(BACKWARD, kernel=AttentionKernel.UNFUSED)
    assert stored.flops == each * (128 + 128 + 192 + 192)


def test_traffic_by_hand() -> None:
    assert LATENT.n_bytes == 2.0 * 4096 * 128 * (192 + 192 + 128 + 128)


def test_stored_scores_are_products_of_either_width() -> None:
    """Full rectangles: twice the causal half."""
    for call in (LATENT, BACKWARD):
        stored = dataclasses.replace(call, kernel=AttentionKernel.UNFUSED)
        assert sum(gemm.flops for gemm in score_products(stored)) == 2 * stored.flops


def test_equal_widths_are_plain_attention() -> None:
    plain = dataclasses.replace(LATENT, head_dim=128, value_dim=0)
    named = dataclasses.replace(plain, value_dim=128)
    assert not named.latent
    assert operator_time(named, H100) == operator_time(plain, H100)
    assert group_of(LATENT) == ("attention", "cudnn", "latent_forward", " 160")


def test_kernels_without_latent_numbers_use_the_mean_width() -> None:
    part = validate(Accelerator, Catalog(()).document("accelerator", "b200-sxm"))
    latent = dataclasses.replace(LATENT, kernel=AttentionKernel.FLASH2)
    mean = dataclasses.replace(latent, head_dim=160, value_dim=0)
    assert operator_time(latent, part) == pytest.approx(operator_time(mean, part))


@pytest.mark.skipif(not TABLE.is_file(), reason="measured tables are not shipped")
@pytest.mark.parametrize("backward", [False, True])
def test_held_out_calls_are_predicted_within_the_stated_error(*, backward: bool) -> None:
    rows = [row for row in timings(pd.read_csv(TABLE)) if row.held_out]
    errors = sorted(
        abs(operator_time(row.operator, H100) / row.seconds - 1)
        for row in rows
        if isinstance(row.operator, Attention)
        and row.operator.latent
        and row.operator.backward is backward
    )
    assert len(errors) == 9
    assert statistics.median(errors) <= 0.03
    assert errors[-1] <= 0.10
