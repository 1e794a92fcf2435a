"""Predictions as Markdown: every part of the page, and nothing that breaks a table."""

from __future__ import annotations

import pandas as pd
from validation_samples import sample_predictions

from simulator.report.validation_document import document_parts, error_markdown, markdown_table
from simulator.report.validation_tables import parts_text
from simulator.validation.errors import errors_by
from simulator.validation.statistics import summary


def test_a_bar_in_a_cell_ends_no_column() -> None:
    text = markdown_table(["what", "rows"], [["a|b", "3"]], names=1)
    assert text == "| what | rows |\n|---|--:|\n| a\\|b | 3 |"


def test_no_lines_are_no_table() -> None:
    assert not markdown_table(["what", "rows"], [], names=1)


def test_every_part_has_its_table() -> None:
    parts = document_parts(summary(sample_predictions()))
    assert "| study | 7 | 7 | 6 |" in parts["validation"]
    assert parts["calibration"] == ""
    assert "mixture of experts" in parts["unsupported"]
    assert "| vpp=1 | study | 2 |" in parts["assumed"]
    assert parts["headline"].startswith("9 validation rows; 8 predicted; step time of 7")


def test_errors_by_group_keep_their_units() -> None:
    errors = errors_by(pd.Series([0.1, -0.3]), pd.DataFrame({"op": ["gemm", "gemm"]}))
    line = error_markdown(errors).splitlines()[-1]
    # mean 20 %, median 20 %, bias -10 %, p90 28 %: between 10 % and 30 % nine tenths of the way
    assert line == "| gemm | 2 | 2 | 20.0 | 20.0 | -10.0 | 28.0 |"


def test_the_largest_parts_of_a_step_are_named() -> None:
    parts = {"compute": 6.0, "exposed_tensor": 3.0, "bubble": 1.0, "other": 0.0}
    assert parts_text(parts) == "compute 60%, exposed tensor 30%, bubble 10%"
