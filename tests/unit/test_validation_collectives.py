"""Rows of measured collectives find their profiles, or a reason why there is none."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from simulator.errors import SimulatorError
from simulator.validation.collectives import (
    is_collective_table,
    part_summary,
    predict,
    summary,
)

ROW: dict[str, Any] = {
    "source": "a friend",
    "accelerator": "H100-SXM5-80GB",
    "n_gpus": 8,
    "nodes": 1,
    "nic": "none (NVSwitch)",
    "collective": "all_reduce",
    "dtype": "half",
    "message_bytes": 1 << 30,
    "time_us": 4000.0,
    "busbw_GBps": None,
    "library_version": "NCCL 2.27.3",
}


def predicted(**changes: object) -> dict[str, Any]:
    return dict(predict(pd.DataFrame([{**ROW, **changes}])).iloc[0])


def test_a_row_is_predicted_by_its_parts_profile() -> None:
    found = predicted()
    assert (found["status"], found["node"], found["scope"]) == ("ok", "hgx-h100", "inside")
    # 1.75 GiB at 461.7 GB/s, and about 50 us of latency.
    assert found["time_us"] == pytest.approx(1.75 * 2**30 / 461.7e3 + 57.7, rel=0.01)
    assert found["split"] == "validation"


@pytest.mark.parametrize(
    ("source", "collective", "split"),
    [
        ("Microsoft vidur network profile", "all_reduce", "validation"),
        ("Microsoft vidur network profile", "send_recv", "calibration"),
        ("ROCm docs multi-node", "all_reduce", "calibration"),
        ("our own cluster", "send_recv", "validation"),
    ],
)
def test_rows_that_fitted_a_profile_are_no_validation(
    source: str, collective: str, split: str
) -> None:
    assert predicted(source=source, collective=collective)["split"] == split


@pytest.mark.parametrize(
    ("changes", "node", "fabric"),
    [
        ({"dtype": "int8"}, "hgx-h100-ring", ""),
        ({"dtype": "int8", "collective": "all_gather"}, "hgx-h100", ""),
        ({"accelerator": "A100-SXM4-80GB"}, "dgx-a100", ""),
        (
            {"accelerator": "A100-SXM4-80GB", "library_version": "NCCL 2.9.9"},
            "dgx-a100-nccl2.10",
            "",
        ),
        ({"nodes": 2, "n_gpus": 16, "nic": "8x400G IB NDR (CX-7)"}, "hgx-h100", "ndr400-rail"),
        ({"nodes": 2, "n_gpus": 16, "nic": "32x100G EFA"}, "p5-h100", "efa100-v2"),
        ({"dtype": "int8", "collective": "reduce_scatter"}, "hgx-h100-ring", ""),
        ({"accelerator": "B200-SXM (p6-b200)"}, "hgx-b200-torch", ""),
        (
            {
                "accelerator": "MI355X",
                "nodes": 2,
                "n_gpus": 16,
                "nic": "8x400G Pollara",
                "library_version": "RCCL 2.26.6",
            },
            "mi355x-platform",
            "pollara400-rccl2.26",
        ),
        ({"accelerator": "MI300X", "library_version": "RCCL 2.22"}, "mi300x-platform", ""),
        ({"accelerator": "L40S-PCIe"}, "pcie-l40s", ""),
    ],
)
def test_part_network_library_and_type_choose_the_profiles(
    changes: dict[str, object], node: str, fabric: str
) -> None:
    found = predicted(**changes)
    assert (found["status"], found["node"], found["fabric"]) == ("ok", node, fabric)


def test_trays_of_a_rack_are_one_nvlink_domain() -> None:
    inside = predicted(accelerator="GB200 NVL72", n_gpus=72, nodes=18, nic="NVLink")
    racks = predicted(accelerator="GB200 NVL72", n_gpus=144, nodes=36, nic="IB")
    assert (inside["scope"], racks["scope"]) == ("inside", "between")


@pytest.mark.parametrize(
    ("changes", "status", "reason"),
    [
        ({"accelerator": "V100-SXM2-32GB"}, "unsupported", "no profile of V100"),
        ({"library_version": "MSCCL++ kernel 1"}, "unsupported", "kernels of MSCCL++"),
        ({"collective": "moe_dispatch_ll", "message_bytes": None}, "unsupported", "experts"),
        ({"collective": "gather"}, "unsupported", "no model of gather"),
        ({"nodes": 2, "n_gpus": 16, "nic": "smoke signals"}, "unsupported", "smoke signals"),
        ({"message_bytes": None}, "invalid", "must be whole numbers"),
        ({"n_gpus": 9}, "unsupported", "9 ranks do not fit"),
        ({"source": "acceptance threshold"}, "invalid", "not a measurement"),
    ],
)
def test_rows_without_a_prediction_say_why(
    changes: dict[str, object], status: str, reason: str
) -> None:
    found = predicted(**changes)
    assert found["status"] == status
    assert reason in found["reason"]
    assert pd.isna(found["time_us"])


def test_a_missing_time_is_derived_from_the_bus_bandwidth() -> None:
    # 1.75 * 2^30 B / 400 GB/s
    found = predicted(time_us=None, busbw_GBps=400.0)
    assert found["measured_time_us"] == pytest.approx(1.75 * 2**30 / 400e3)


def test_order_and_index_are_those_of_the_table() -> None:
    frame = pd.DataFrame([{**ROW, "message_bytes": size} for size in (4e9, 8.0, 1e6)])
    frame.index = pd.Index([7, 3, 5])
    found = predict(frame)
    assert list(found.index) == [7, 3, 5]
    assert found["time_us"].rank().tolist() == [3, 1, 2]


def test_summaries_count_rows_and_errors() -> None:
    time = predicted()["time_us"]
    rows = [{**ROW, "time_us": time / ratio} for ratio in (1.1, 1.2, 0.9)]
    rows.append({**ROW, "library_version": "MSCCL"})
    table = predict(pd.DataFrame(rows))
    line = summary(table).iloc[0]
    assert (line["rows"], line["covered"]) == (4, 3)
    assert line["median_error"] == pytest.approx(0.1)
    assert line["bias"] == pytest.approx(0.1)
    assert part_summary(table)["rows"].sum() == 4


def test_other_tables_are_recognised_and_refused() -> None:
    assert is_collective_table(list(ROW))
    assert not is_collective_table(["m", "n", "k", "time_us"])
    with pytest.raises(SimulatorError, match="no column accelerator, n_gpus"):
        predict(pd.DataFrame({"m": [1], "time_us": [2.0]}))
