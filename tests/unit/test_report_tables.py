"""Tables fit 80 columns, speak without colour, and their shares add up."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_samples import CAPACITY_GIB, Pipeline, sample_summary
from rich.console import Console

from simulator.report.quantities import count_text, significant, time_text
from simulator.report.tables import memory_table, shares_in_tenths, summary_tables

if TYPE_CHECKING:
    from rich.console import RenderableType

SMALL = Pipeline(stages=4, micro_batches=8)


def printed(*renderables: RenderableType, width: int = 80) -> str:
    console = Console(width=width, no_color=True, color_system=None)
    with console.capture() as capture:
        for renderable in renderables:
            console.print(renderable)
    return capture.get()


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("stages", [1, 4, 64])
def test_nothing_is_cut_off(width: int, stages: int) -> None:
    summary = sample_summary(Pipeline(stages=stages, micro_batches=8, layers=1))
    text = printed(*summary_tables(summary), width=width)
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width
    for word in ("vations", "frame-", "TFLOP/s/accelerator", "contention", "sequence parallel"):
        assert word in " ".join(text.split())


def test_the_headline_is_one_sentence() -> None:
    first = printed(*summary_tables(sample_summary(SMALL))).splitlines()[0]
    assert first == "llama3-405b-16k-h100: one step takes 352 ms, 47.7 M tokens/s, MFU 41.5% (palm)"


def test_sharing_is_said_and_empty_links_are_not() -> None:
    summary = sample_summary(SMALL)
    text = " ".join(printed(*summary_tables(summary)).split())
    assert (
        "share links fairly, 30.0% taken by other jobs, ECMP routing, flows per pair 4, seed 0"
        in text
    )
    assert "pipeline 4,064 0.199 0.208 1.046" in text
    assert "nic out 9.6% 9.7% 1" in text
    assert "port out" not in text
    alone = {"sharing": "none", "background_share": 0.0, "routing": "even"}
    summary |= {"network": alone, "transfers": {}, "links": []}
    text = " ".join(printed(*summary_tables(summary)).split())
    assert "each transfer has its links to itself, even routing" in text
    assert "slow-down" not in text


def test_breakdown_leaves_out_what_takes_no_time_and_adds_up() -> None:
    text = printed(*summary_tables(sample_summary(SMALL)))
    assert "exposed expert" not in text
    lines = text.split("Where the step goes")[1].split("Memory")[0].splitlines()
    shares = [float(line.split("%")[0].split()[-1]) for line in lines[3:] if "%" in line]
    assert shares[-1] == 100.0
    assert sum(shares[:-1]) == pytest.approx(100.0)


@given(st.lists(st.floats(1e-9, 1e3), min_size=1, max_size=12))
def test_shares_add_up_and_none_is_off_by_a_tenth(values: list[float]) -> None:
    tenths = shares_in_tenths(values)
    assert sum(tenths) == 1000
    for value, share in zip(values, tenths, strict=True):
        assert abs(1000 * value / sum(values) - share) < 1 + 1e-6


def test_neighbours_that_read_alike_share_a_line() -> None:
    summary = sample_summary(SMALL)
    alike = [summary["memory_gib"]["stages"][0] | {"stage": stage} for stage in range(5)]
    summary["memory_gib"]["stages"] = alike
    assert "0-4 " in printed(memory_table(summary))


def test_of_many_stages_the_fullest_are_shown() -> None:
    text = printed(memory_table(sample_summary(Pipeline(stages=64, micro_batches=80, layers=1))))
    assert "the fullest 16 of 64 lines" in text
    assert len(text.splitlines()) < 22


def test_what_does_not_fit_is_said_in_words() -> None:
    summary = sample_summary(SMALL) | {"fits": False}
    summary["memory_gib"]["stages"][2]["total"] = CAPACITY_GIB + 1
    summary["memory_gib"]["peak"] = CAPACITY_GIB + 1
    text = printed(memory_table(summary))
    assert "* over capacity" in text
    assert [line.split()[0] for line in text.splitlines() if line.rstrip().endswith("*")] == ["2"]
    assert "Does not fit: stage 2 peaks at 80.6 of 79.6 GiB, 1.0 GiB too much" in text


def test_quantities_read_well() -> None:
    durations = (8.0486, 0.3121, 2e-6, 3e-8)
    assert [time_text(duration) for duration in durations] == [
        "8.05 s",
        "312 ms",
        "2.00 µs",
        "0.0300 µs",
    ]
    assert [count_text(count) for count in (12, 2.08e6, 4.1e12)] == ["12.0", "2.08 M", "4.10 T"]
    assert significant(0.0) == "0"
    assert significant(-1234.5) == "-1,234"
