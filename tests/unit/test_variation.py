"""What a user writes to make ranks differ, and what is printed about it."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from simulator.api import simulate
from simulator.cli.variation import VariationOptions
from simulator.errors import SimulatorError
from simulator.program.jitter import JitterKind, parse_jitter
from simulator.program.perturbations import Perturbations, parse_factors
from simulator.program.variation import SlowShare, Variation, parse_slow_share
from simulator.report.tables import summary_tables
from simulator.scenario import load_scenario

SCENARIOS = Path(__file__).parents[2] / "scenarios"
SMALL = load_scenario(SCENARIOS / "llama-13b-64-a100.yaml")
"""64 ranks, eight a node, no tensor or pipeline parallelism."""


def test_jitter_is_read_and_written() -> None:
    jitter = parse_jitter("lognormal:0.02")
    assert (jitter.kind, jitter.spread) == (JitterKind.LOGNORMAL, 0.02)
    assert str(jitter) == "lognormal:0.02"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gamma:0.1", r"lognormal:SPREAD or exponential:SPREAD"),
        ("lognormal", r"such as lognormal:0.02"),
        ("lognormal:two", r"such as lognormal:0.02"),
        ("lognormal:2", r"from 0 to 1 \(0.02 is 2 %\)"),
        ("lognormal:-0.1", r"from 0 to 1"),
        ("lognormal:nan", r"from 0 to 1"),
    ],
)
def test_jitter_that_cannot_be_read_is_refused(text: str, message: str) -> None:
    with pytest.raises(SimulatorError, match=message):
        parse_jitter(text)


def test_shares_are_read() -> None:
    assert parse_slow_share("--slow-ranks", "0.5%:10%") == SlowShare(0.005, 0.1)
    slow = parse_slow_share("--slow-nodes", "0.5%:10%:forward", 8)
    assert slow == SlowShare(0.005, 0.1, 8, forward_only=True)


@pytest.mark.parametrize(
    "text", ["0.5:10", "0.5%", "0.5%:10%:backward", "101%:1%", "1%:-1%", "%:%"]
)
def test_shares_that_cannot_be_read_are_refused(text: str) -> None:
    with pytest.raises(SimulatorError, match=r"SHARE%:EXCESS%, such as 0.5%:10%"):
        parse_slow_share("--slow-ranks", text)


def test_as_many_ranks_are_slow_as_the_share_says() -> None:
    slow = SlowShare(0.005, 0.1).draw(16384, np.random.default_rng(0))
    assert slow.sum() == 82
    nodes = SlowShare(0.005, 0.1, 8).draw(12288, np.random.default_rng(0))
    assert nodes.sum() == 8 * 8
    assert {*nodes.reshape(-1, 8).sum(axis=1).tolist()} == {0, 8}


def test_a_share_of_less_than_half_a_rank_is_refused() -> None:
    with pytest.raises(SimulatorError, match=r"0.5 % of 64 ranks is less than half of one"):
        SlowShare(0.005, 0.1).count(64)
    with pytest.raises(SimulatorError, match=r"5 % of 8 nodes is less than half of one"):
        SlowShare(0.05, 0.1, 8).count(64)


def test_factors_are_read_by_rank() -> None:
    assert parse_factors("--slow-rank", ["37:1.2", "0:0.9"]) == {37: 1.2, 0: 0.9}


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["37"], "RANK:FACTOR, such as 37:1.2"),
        (["a:1.2"], "RANK:FACTOR"),
        (["1.5:1.2"], "RANK:FACTOR"),
        (["1:2", "1:3"], "rank 1 is named twice"),
    ],
)
def test_factors_that_cannot_be_read_are_refused(texts: list[str], message: str) -> None:
    with pytest.raises(SimulatorError, match=message):
        parse_factors("--slow-rank", texts)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (VariationOptions(samples=10), "--samples 10: nothing is drawn"),
        (VariationOptions(seed=1, per_rank=True), "--seed 1: nothing is drawn"),
        (VariationOptions(slow_ranks="5%:1%", slow_nodes="5%:1%"), "give one of them"),
        (VariationOptions(jitter="lognormal:0.1", samples=0), "samples = 0"),
        (VariationOptions(jitter="lognormal:0.1", samples=10**7), "to 1,000,000"),
        (VariationOptions(jitter="lognormal:0.1", seed=-1), "seed = -1"),
        (VariationOptions(slow_ranks="0.1%:10%"), "less than half of one"),
    ],
)
def test_options_without_effect_or_out_of_range_are_refused(
    options: VariationOptions, message: str
) -> None:
    with pytest.raises(SimulatorError, match=message):
        options.variation(SMALL)


def test_no_option_draws_nothing() -> None:
    assert VariationOptions().variation(SMALL) is None
    assert not VariationOptions().perturbations()


def test_nodes_are_as_large_as_the_clusters() -> None:
    variation = VariationOptions(slow_nodes="25%:10%").variation(SMALL)
    assert variation == Variation(slow=SlowShare(0.25, 0.1, 8))


def test_the_summary_says_what_was_drawn_and_what_it_costs() -> None:
    variation = Variation(
        jitter=parse_jitter("lognormal:0.02"), slow=SlowShare(0.1, 0.1), samples=20, seed=3
    )
    summary = simulate(SMALL, variation=variation).summary
    drawn = summary["variation"]
    json.dumps(drawn, allow_nan=False)
    times, mfu = drawn["step_time_s"], drawn["mfu"]
    assert times["priced"] == summary["step_time_s"]
    assert mfu["priced"] == pytest.approx(summary["mfu"]["palm"])
    assert mfu["mean"] * times["mean"] == pytest.approx(mfu["priced"] * times["priced"])
    order = ("min", "p5", "p50", "p95", "p99", "max")
    assert [times[key] for key in order] == sorted(times[key] for key in order)
    assert times["priced"] < times["without_slow_ranks"] < times["mean"]
    assert sum(drawn["cost_s"].values()) == pytest.approx(times["mean"] - times["priced"])
    assert drawn["slow_share"]["units"] == 6
    by_group = sum(row["critical_fraction"] for row in drawn["pace"])
    assert by_group <= sum(drawn["critical_fraction_by_stage"]) <= 1


def printed(summary: dict[str, object]) -> str:
    console = Console(width=80, record=True, file=io.StringIO())
    for part in summary_tables(summary):
        console.print(part)
    return console.export_text()


def test_the_tables_tell_jitter_from_slow_ranks() -> None:
    variation = Variation(
        jitter=parse_jitter("lognormal:0.02"), slow=SlowShare(0.1, 0.1), samples=5
    )
    text = printed(simulate(SMALL, variation=variation).summary)
    assert "Step time in s: 5 samples, seed 0, groups folded" in text
    assert "Drawn: jitter lognormal:0.02, 6 slow ranks (compute +10.0%)" in text
    for words in ("as priced", "none slow", "as drawn", "Jitter costs", "Slow ranks cost"):
        assert words in text
    headline = " ".join(text.split())
    assert re.search(r"; as drawn [\d.]+ s \(p99 [\d.]+ s\), MFU [\d.]+%", headline)
    assert max(len(line) for line in text.splitlines()) <= 80


def test_the_tables_say_what_named_ranks_cost() -> None:
    slow = Perturbations(slow_ranks={37: 1.2}, slow_interfaces={5: 2.0})
    summary = simulate(SMALL, perturbations=slow).summary
    text = printed(summary)
    assert summary["perturbations"]["slow_ranks"] == {"37": 1.2}
    priced = simulate(SMALL).summary["step_time_s"]
    assert summary["perturbations"]["priced_step_time_s"] == priced
    assert "and make 3 rank classes" in text
    assert "All other ranks of a stage behave alike" in text
    assert "As priced, all ranks" not in text


def test_results_without_samples_have_no_picture_of_them() -> None:
    with pytest.raises(SimulatorError, match="no samples"):
        simulate(SMALL).plot_step_times()
