"""The curated runs: errors must not rise above those that were recorded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from simulator.validation.errors import with_errors
from simulator.validation.predictions import predict_runs
from simulator.validation.tables import read_table

if TYPE_CHECKING:
    import pandas as pd

CURATED = Path(__file__).parents[2] / "benchmarks" / "published"
RECORDED = json.loads((CURATED / "errors.json").read_text(encoding="utf-8"))
ROUNDING = 0.02
"""Percentage points: errors are recorded with two decimals."""


@pytest.fixture(scope="module")
def compared() -> pd.DataFrame:
    return with_errors(predict_runs(read_table(CURATED / "runs.csv")))


def test_errors_do_not_rise(compared: pd.DataFrame) -> None:
    """`python benchmarks/write_validation.py --record` writes new ones, to be looked at."""
    groups = compared["source"] + " " + compared["split"]
    errors = (100 * compared["error"].abs().groupby(groups).mean()).dropna()
    assert set(errors.index) == set(RECORDED)
    risen = {
        group: (error, RECORDED[group])
        for group, error in errors.items()
        if error > RECORDED[group] + ROUNDING
    }
    assert not risen


def test_every_row_has_a_status_and_a_reason(compared: pd.DataFrame) -> None:
    assert set(compared["status"]) <= {"ok", "unsupported", "invalid"}
    refused = compared["status"] != "ok"
    assert compared.loc[refused, "reason"].str.len().gt(0).all()
    assert compared.loc[~refused, "step_time_s"].gt(0).all()
