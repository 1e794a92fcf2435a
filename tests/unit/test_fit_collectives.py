"""The script that refits collectives: each source without itself, by sources of known ratio."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
from scripts import load_script

from simulator.hardware.collective_costs import collective_time
from simulator.hardware.collectives import GroupSpan
from simulator.operators import Collective
from simulator.validation.collective_sites import site_of

if TYPE_CHECKING:
    from types import ModuleType

FIRST, SECOND = "NREL, as the profile", "SimuMax, a quarter slower"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return load_script("fit_collectives")


def table() -> pd.DataFrame:
    """Return two sources of all_reduce among eight and four H100, one a quarter slower."""
    site = site_of("hgx-h100", "ndr400-rail")
    rows: list[dict[str, Any]] = []
    for source, factor in ((FIRST, 1.0), (SECOND, 1.25)):
        for ranks in (4, 8):
            span = GroupSpan(ranks=ranks, ranks_per_node=ranks, nodes=1, tier=0)
            for size in (4**power for power in range(4, 17)):
                time = collective_time(Collective.ALL_REDUCE, size, span, site)
                rows.append(
                    {
                        "source": source,
                        "accelerator": "H100-SXM5-80GB",
                        "n_gpus": ranks,
                        "nodes": 1,
                        "nic": "none (NVSwitch)",
                        "collective": "all_reduce",
                        "dtype": "half",
                        "message_bytes": size,
                        "time_us": factor * time * 1e6,
                        "library_version": "NCCL 2.27.3",
                    }
                )
    return pd.DataFrame(rows)


def test_a_source_left_out_is_predicted_by_the_other_one(script: ModuleType) -> None:
    rows = script.measured_rows(table())
    errors = {source: script.source_errors(source, rows) for source in (FIRST, SECOND)}
    for name in ("<= 64 KiB", "<= 16 MiB", "> 16 MiB"):
        assert errors[FIRST]["shipped"][name] == pytest.approx(0, abs=1e-9)
        assert errors[SECOND]["shipped"][name] == pytest.approx(0.2)
        # Fitted to the other: a quarter too slow, and a fifth too fast.
        assert errors[FIRST]["left out"][name] == pytest.approx(0.25, abs=0.02)
        assert errors[SECOND]["left out"][name] == pytest.approx(0.2, abs=0.02)
    # Its smallest message tells what it starts later.
    assert errors[SECOND]["two runs"]["<= 64 KiB"] < 0.1


def test_the_page_has_a_line_for_each_source(script: ModuleType) -> None:
    text = script.page(script.measured_rows(table()), "mine.csv")
    assert "`mine.csv`:\n52 timings" in text
    assert text.count("| hgx-h100 | inside | all_reduce |") == 2


def test_the_lines_of_a_profile_are_found_again(
    script: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    first = table().query("source == @FIRST")
    script.print_profile("nodes/hgx-h100", script.measured_rows(first))
    printed = capsys.readouterr().out
    assert "all_reduce:  # 26 rows; median error 0." in printed
    assert "bus_bandwidth_gb_per_s: {" in printed
    with pytest.raises(SystemExit, match="is not nodes/NAME or fabrics/NAME"):
        script.print_profile("hgx-h100", [])
