"""Libraries of matrix products: a setting of the profile, and a column of tables."""

from __future__ import annotations

import dataclasses

import pandas as pd
import pytest

from simulator.catalog import Catalog
from simulator.documents import validate
from simulator.errors import SimulatorError
from simulator.hardware.accelerator import Accelerator
from simulator.hardware.gemm_costs import gemm_time
from simulator.hardware.gemm_library import with_library
from simulator.hardware.power import in_training
from simulator.operators import Gemm
from simulator.precision import Precision
from simulator.validation.operators import predict

H200 = validate(Accelerator, Catalog().document("accelerator", "h200-sxm"))
SHORT = Gemm("short", m=1024, n=4096, k=4096)
LONG = Gemm("long", m=8192, n=8192, k=8192)


def test_a_faster_library_takes_less_time_where_power_does_not_hold_it() -> None:
    faster = with_library(H200, "trtllm 1.3.0rc20")
    assert gemm_time(SHORT, faster) == pytest.approx(gemm_time(SHORT, H200) / 1.03)
    training = [gemm_time(LONG, in_training(part)) for part in (faster, H200)]
    sustained = LONG.flops / (0.83 * H200.achievable(Precision.BF16))
    assert training[0] == pytest.approx(sustained)
    assert training[1] >= training[0]


def test_a_library_has_rates_by_precision() -> None:
    fp8 = dataclasses.replace(SHORT, precision=Precision.FP8)
    assert gemm_time(fp8, with_library(H200, "trtllm 1.3")) == gemm_time(fp8, H200)


def test_an_unknown_library_is_refused_as_a_setting_and_passed_over_in_a_table() -> None:
    gemm = dataclasses.replace(H200.kernels.gemm, library="cublas 0")
    with pytest.raises(SimulatorError, match=r"no GEMM library 'cublas 0'; it has: trtllm 1\.3"):
        gemm_time(SHORT, H200.with_kernels(gemm=gemm))
    assert with_library(H200, "sglang 0.5.14") is H200


def test_rows_of_a_table_run_under_their_library() -> None:
    row = {"gemm_dtype": "bfloat16", "m": 1024, "n": 4096, "k": 4096, "time_us": 1.0}
    rows = [row | {"library": name} for name in ("sglang 0.5.14", "trtllm 1.3.0rc20")]
    plain, faster = predict(pd.DataFrame(rows), H200)
    assert plain == pytest.approx(1e6 * gemm_time(SHORT, H200))
    assert faster == pytest.approx(plain / 1.03)


def test_rows_of_several_parts_are_refused() -> None:
    row = {"gemm_dtype": "bfloat16", "m": 1024, "n": 4096, "k": 4096, "time_us": 1.0}
    frame = pd.DataFrame([row | {"accelerator": name} for name in ("H100-SXM", "H200-SXM")])
    with pytest.raises(SimulatorError, match="several accelerators"):
        predict(frame, H200)
