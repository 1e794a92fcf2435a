"""Whatever stands in the cells of a table, its rows get a status and the files are written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from simulator.report.validation_results import write_validation
from simulator.validation.collectives import predict, summary
from simulator.validation.errors import with_errors
from simulator.validation.predictions import predict_runs, predict_steps
from simulator.validation.ranks import ranked_layouts
from simulator.validation.statistics import SPLITS, by_columns
from simulator.validation.statistics import summary as runs_summary
from simulator.validation.tables import read_table

CURATED = Path(__file__).parents[2] / "benchmarks" / "published" / "runs.csv"
JUNK = ("", "-1", "0", "nan", "inf", "-inf", "1e30", "abc", "3.5", "1e-300", "None", "9" * 30)
ROWS = 24
"""Of each damaged table: as many as are predicted without other processes."""


def damaged(seed: int) -> pd.DataFrame:
    """Return rows of the curated runs, a few of whose cells are others' or junk."""
    whole = read_table(CURATED)
    rng = np.random.default_rng(seed)
    table = whole.iloc[rng.integers(len(whole), size=ROWS)].reset_index(drop=True)
    for row in range(ROWS):
        for column in rng.integers(len(table.columns), size=2):
            other = whole.iloc[int(rng.integers(len(whole))), column]
            table.iloc[row, column] = other if rng.random() < 0.4 else rng.choice(JUNK)
    return table


@pytest.mark.parametrize("seed", range(6))
def test_damaged_runs_are_told_apart_and_written(seed: int, tmp_path: Path) -> None:
    table = damaged(seed)
    frame = predict_runs(table)
    assert set(frame["status"]) <= {"ok", "unsupported", "invalid"}
    assert frame.loc[frame["status"] != "ok", "reason"].str.len().gt(0).all()
    compared = with_errors(frame)
    assert np.isfinite(compared["error"].dropna()).all()
    report = runs_summary(frame)
    parts = [part for part in by_columns(frame, ["source"]) if part["split"] in SPLITS]
    assert sum(part["rows"] for part in parts) == len(table)
    files = write_validation(
        frame, compared, ranked_layouts(compared), report, tmp_path, title="damaged"
    )
    assert all(path.stat().st_size > 0 for path in files.values())


@pytest.mark.parametrize("cell", JUNK)
@pytest.mark.parametrize("column", ["n_gpus", "nodes", "message_bytes", "time_us", "busbw_GBps"])
def test_a_damaged_collective_is_invalid_or_has_no_time(column: str, cell: str) -> None:
    row = {
        "source": "our own cluster",
        "accelerator": "H100-SXM5-80GB",
        "n_gpus": "8",
        "nodes": "1",
        "collective": "all_reduce",
        "message_bytes": str(1 << 20),
        "time_us": "40",
        "busbw_GBps": "",
    }
    found = predict(pd.DataFrame([row | {column: cell}]))
    assert found["status"].item() in {"ok", "invalid", "unsupported"}
    assert not np.isinf(found["measured_time_us"].item())
    assert len(summary(found)) == 1


@pytest.mark.parametrize("cell", JUNK)
def test_a_damaged_step_keeps_its_row(cell: str) -> None:
    row = dict.fromkeys(("n_layers", "seq", "mbs", "grad_accum", "step_ms"), "8")
    table = pd.DataFrame([row | {"model": "m", column: cell} for column in row])
    found = predict_steps(table)
    assert len(found) == len(table)
    assert not np.isinf(found["measured_step_time_s"]).any()
