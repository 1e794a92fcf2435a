"""Rates of attention and memory-bound kernels, fitted to timings."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pandas as pd
import pytest

from simulator.calibration.rates import Timing, group_of, log_errors, scaled, timings
from simulator.catalog import Catalog
from simulator.cli.calibrate_operators import calibrate_operators
from simulator.documents import validate
from simulator.errors import SimulatorError
from simulator.hardware.accelerator import Accelerator
from simulator.hardware.operator_costs import operator_time
from simulator.hardware.operator_tables import BACKWARD_HOST_TIME, TIMING_OVERHEAD
from simulator.operators import Attention, AttentionKernel, Gemm, Pointwise

if TYPE_CHECKING:
    from pathlib import Path

PART = validate(Accelerator, Catalog().document("accelerator", "h200-sxm"))
CALLS = [
    Attention("call", batch, 32, 8, length, length, head_dim, backward=backward, kernel=kernel)
    for batch in (1, 2, 4)
    for length in (2048, 4096, 8192)
    for head_dim in (64, 128)
    for backward in (False, True)
    for kernel in (AttentionKernel.CUDNN, AttentionKernel.FLASH2)
]
PASSES = [Pointwise("pass", n_bytes * 1e6) for n_bytes in (50, 100, 200, 400, 800, 1600, 3200)]


def slower(factor: float) -> list[Timing]:
    return [Timing(call, factor * operator_time(call, PART)) for call in (*CALLS, *PASSES)]


def test_timings_of_the_profile_itself_change_nothing() -> None:
    rows = slower(1.0)
    assert max(map(abs, log_errors(scaled(PART, rows), rows))) < 1e-9


@pytest.mark.parametrize("factor", [1.1, 1.5])
def test_slower_kernels_are_followed_on_rows_that_were_held_out(factor: float) -> None:
    rows = slower(factor)
    held_out = [row for row in rows if row.held_out]
    assert held_out
    assert max(map(abs, log_errors(scaled(PART, rows), held_out))) < 0.06


def test_groups_keep_kernels_directions_and_head_dimensions_apart() -> None:
    assert len({group_of(call) for call in CALLS}) == 8
    assert group_of(PASSES[0]) == ("pointwise", "elementwise")


def test_products_are_not_fitted_by_a_rate() -> None:
    with pytest.raises(SimulatorError, match="by its shapes"):
        group_of(Gemm("product", 8, 8, 8))


def table(part: Accelerator, factor: float) -> pd.DataFrame:
    """Return a table of attention calls as the measuring script writes it."""
    rows = [
        {
            "backend": call.kernel.value,
            "pass": "bwd" if call.backward else "fwd",
            "batch": call.batch,
            "heads": call.heads,
            "kv_heads": call.kv_heads,
            "seq": call.queries,
            "head_dim": call.head_dim,
            "causal": 1,
            "time_us": 1e6
            * (
                factor * operator_time(call, part)
                + TIMING_OVERHEAD
                + BACKWARD_HOST_TIME * call.backward
            ),
        }
        for call in CALLS
    ]
    return pd.DataFrame(rows)


def test_a_table_is_read_without_what_its_timer_adds() -> None:
    rows = timings(table(PART, 1.0))
    assert max(map(abs, log_errors(PART, rows))) < 1e-9


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dtype,m,n,k,time_us\nbf16,a,8,8,5\n", "cannot be read as a table of GEMMs"),
        ("dtype,m,n,k,time_us\nbf16,8192,8192,8192,\n", "column time_us has an empty cell"),
        ("dtype,m,n,k,time_us\nbf16,64,64,64,5\n", "nothing to fit"),
        ("m,n,k,time_us\n8,8,8,5\n", "a table of GEMMs has a column dtype"),
        ("op,bytes_moved,rows,cols,time_us\nnorm,1,2,3,x\n", "column time_us must hold numbers"),
        (
            "backend,pass,batch,heads,kv_heads,seq,head_dim,causal,time_us\nnew,fwd,1,2,2,8,8,1,5\n",
            "a wrong row (backend new",
        ),
    ],
)
def test_tables_with_mistakes_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "table.csv"
    path.write_text(text)
    with pytest.raises(SimulatorError) as refusal:
        calibrate_operators([path], accelerator="h200-sxm", out=None, profiles=[])
    assert message in str(refusal.value)


def test_the_written_profile_predicts_the_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = tmp_path / "attention.csv", tmp_path / "accelerators" / "mine.yaml"
    out.parent.mkdir()
    table(PART, 1.3).to_csv(source, index=False)
    calibrate_operators([source], accelerator="h200-sxm", out=out, profiles=[])
    assert "held out" in capsys.readouterr().out
    mine = validate(Accelerator, Catalog((tmp_path,)).document("accelerator", "mine"))
    errors = log_errors(mine, slower(1.3)[: len(CALLS)])
    assert max(map(abs, errors)) < 0.1
    unchanged = dataclasses.replace(mine.kernels, fused_attention=PART.kernels.fused_attention)
    assert unchanged == PART.kernels
