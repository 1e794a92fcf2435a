"""Errors, ranks and verdicts against values worked out by hand."""

from __future__ import annotations

import json

import pandas as pd
import pytest
from validation_samples import sample_predictions

from simulator.errors import SimulatorError
from simulator.report.validation_tables import columns_table
from simulator.validation import statistics
from simulator.validation.errors import error_statistics, operator_errors, with_errors


def test_errors_are_relative_to_the_measurement_and_come_from_rates_too() -> None:
    error = with_errors(sample_predictions())["error"]
    assert error[:6].tolist() == pytest.approx([0, 0.1, -0.1, 0.2, 0, 0])
    assert pd.isna(error[6])
    assert error[7] == pytest.approx(0.25)  # measured 100, predicted 80 tokens/s
    assert pd.isna(error[8])


def test_statistics_of_a_sample() -> None:
    figures = error_statistics(pd.Series([-0.1, 0.3, float("nan"), 0.2]))
    assert figures["compared"] == 3
    assert figures["mape"] == pytest.approx(0.2)
    assert figures["median"] == pytest.approx(0.2)
    assert figures["bias"] == pytest.approx(0.4 / 3)
    assert figures["within_10"] == pytest.approx(1 / 3)
    assert figures["within_25"] == pytest.approx(2 / 3)


def test_a_group_of_layouts_is_ranked() -> None:
    figures = statistics.summary(sample_predictions())
    (group,) = figures["groups"]
    assert group["layouts"] == 6
    assert group["spearman"] == pytest.approx(1.0)
    assert group["rank_of_best"] == 1
    assert group["regret"] == 0


def test_regret_is_what_the_predicted_best_costs() -> None:
    rows = sample_predictions()
    rows.loc[3, "step_time_s"] = 0.5  # measured 4 s, the best is 1 s
    (group,) = statistics.summary(rows)["groups"]
    assert group["regret"] == pytest.approx(3.0)
    assert group["rank_of_best"] == 2
    assert group["best_in_top_3"]


def test_memory_verdicts_count_timed_rows_as_runs_that_fitted() -> None:
    verdicts = statistics.verdicts(with_errors(sample_predictions()))
    assert verdicts == {
        "ran_fits": 6,
        "ran_exceeds": 1,  # the row of the rate
        "oom_fits": 0,
        "oom_exceeds": 1,
        "accuracy": 7 / 8,
    }


def test_calibration_rows_never_enter_validation_figures() -> None:
    rows = sample_predictions()
    rows.loc[[1, 2, 3], "split"] = "calibration"
    splits = statistics.summary(rows)["splits"]
    assert splits["validation"]["compared"] == 4
    assert splits["validation"]["mape"] == pytest.approx(0.25 / 4)
    assert splits["calibration"]["mape"] == pytest.approx(0.4 / 3)


def test_groups_by_other_columns_keep_the_splits_apart() -> None:
    rows = sample_predictions().assign(attention_kernel=["flash"] * 4 + ["torch"] * 5)
    rows["split"] = ["validation"] * 2 + ["calibration"] * 2 + ["validation"] * 5
    lines = statistics.by_columns(rows, ["source", "attention_kernel"])
    named = {(*line["group"].values(), line["split"]): line for line in lines}
    flash = ("study", "flash")
    assert [split for *name, split in named if tuple(name) == flash] == [
        *("validation", "calibration", "both"),
    ]
    assert named[*flash, "validation"]["mape"] == pytest.approx(0.05)  # 0 and +10 %
    assert named[*flash, "calibration"]["mape"] == pytest.approx(0.15)  # -10 % and +20 %
    assert named[*flash, "both"]["compared"] == 4
    assert ("study", "torch", "both") not in named
    assert "torch" in "".join(str(cell) for cell in columns_table(lines).columns[1].cells)


def test_rows_are_grouped_by_what_describes_them_alone() -> None:
    with pytest.raises(SimulatorError, match="not grouped by step_time_s, but by: source"):
        statistics.by_columns(sample_predictions(), ["step_time_s"])


def test_repeats_give_the_floor() -> None:
    rows = sample_predictions().iloc[[0, 0]].reset_index(drop=True)
    rows["measured_step_time_s"] = [1.0, 1.1]
    line = statistics.repeats(rows).iloc[0]
    assert (line["layouts"], line["rows"]) == (1, 2)
    assert line["spread"] == pytest.approx(0.1)
    assert line["floor"] == pytest.approx(0.05 / 1.05)


def test_a_summary_is_json() -> None:
    figures = statistics.summary(sample_predictions())
    assert json.loads(json.dumps(figures, allow_nan=False)) == figures
    assert figures["unsupported"][0]["reason"] == "mixture of experts"
    assert {line["assumption"]: line["rows"] for line in figures["assumed"]} == {
        "vpp=1": 2,
        "vocab=51200": 2,
    }


def test_operators_below_the_least_size_are_left_out() -> None:
    times = pd.Series([1.0, 1.0])
    names = pd.DataFrame({"op": ["gemm", "gemm"]})
    errors = operator_errors(times * 2, times, names, pd.Series([1e7, 1e9]))
    assert errors["rows"].tolist() == [1]


def test_rows_that_repeat_no_prediction_are_empty_not_wrong() -> None:
    rows = sample_predictions().iloc[[8]]
    figures = statistics.summary(rows)
    assert figures["splits"]["validation"]["mape"] is None
    assert figures["groups"] == []
