"""Parquet carries units and depends on content alone; JSON keeps order and refuses NaN."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from report_samples import Pipeline, sample_spans, sample_summary

from simulator.errors import OutputError
from simulator.report.parquet import write_json, write_spans
from simulator.report.spans import COLUMNS

if TYPE_CHECKING:
    from pathlib import Path

SMALL = Pipeline(stages=4, micro_batches=8)


def test_spans_come_back_as_they_were(tmp_path: Path) -> None:
    spans = sample_spans(SMALL)
    write_spans(spans, tmp_path / "spans.parquet", {})
    back = pd.read_parquet(tmp_path / "spans.parquet")
    assert list(back) == list(COLUMNS)
    for column in COLUMNS:
        assert back[column].tolist() == spans[column].tolist()
    assert isinstance(back["kind"].dtype, pd.CategoricalDtype)


def test_columns_and_table_explain_themselves(tmp_path: Path) -> None:
    write_spans(
        sample_spans(SMALL), tmp_path / "spans.parquet", {"scenario": "x", "version": [1, 2]}
    )
    schema = pq.read_schema(tmp_path / "spans.parquet")
    assert schema.field("start_s").metadata[b"unit"] == b"s"
    assert schema.field("n_bytes").metadata[b"unit"] == b"B"
    assert json.loads(schema.metadata[b"version"]) == [1, 2]


def test_bytes_depend_on_content_not_on_categories(tmp_path: Path) -> None:
    spans = sample_spans(SMALL)
    reordered = spans.assign(
        kind=pd.Categorical(
            spans["kind"].astype(str), categories=["other", *spans["kind"].unique()]
        ),
        lane=spans["lane"].astype(str),
    )
    write_spans(spans, tmp_path / "a.parquet", {"scenario": "x"})
    write_spans(reordered, tmp_path / "b.parquet", {"scenario": "x"})
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


def test_summary_keeps_the_order_of_its_keys(tmp_path: Path) -> None:
    summary = sample_summary(SMALL)
    write_json(summary, tmp_path / "summary.json")
    text = (tmp_path / "summary.json").read_text(encoding="utf-8")
    assert list(json.loads(text)) == list(summary)
    assert text.endswith("}\n")


def test_numpy_scalars_are_numbers(tmp_path: Path) -> None:
    write_json(
        {"ranks": np.int64(8), "fits": np.bool_(1), "mfu": np.float32(0.5)}, tmp_path / "x.json"
    )
    assert json.loads((tmp_path / "x.json").read_text()) == {"ranks": 8, "fits": True, "mfu": 0.5}


@pytest.mark.parametrize("number", [float("nan"), float("inf"), np.float32("nan")])
def test_a_number_that_is_not_finite_is_refused_by_name(tmp_path: Path, number: float) -> None:
    with pytest.raises(OutputError, match=r"summary\.json: mfu\.parts\[1\] is (nan|inf)"):
        write_json({"mfu": {"parts": [1.0, number]}}, tmp_path / "summary.json")
    assert not (tmp_path / "summary.json").exists()


def test_values_that_are_not_plain_are_a_bug(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="plain values only, not set"):
        write_json({"ranks": {1, 2}}, tmp_path / "summary.json")
