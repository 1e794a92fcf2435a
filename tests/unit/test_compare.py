"""Comparisons: rows, refusals, prices, files, and the command as a user meets it."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from unittest import mock

import pandas as pd
import pyarrow.parquet as pq
import pytest
from strategies import ROOT
from test_cli import invoke, refused

from simulator.api import simulate
from simulator.comparison import compare as comparison
from simulator.comparison.columns import COLUMNS, KNEES, PARTS, PRICES
from simulator.comparison.points import LINE_RATE, make_points
from simulator.comparison.rows import Job, measure_point
from simulator.comparison.sweeps import parse_sweep
from simulator.errors import MisfitError, SimulatorError
from simulator.hardware.price import Price
from simulator.report.comparison_lines import series_of, swept_number
from simulator.report.comparison_plot import comparison_figure
from simulator.report.comparison_results import FILES, write_comparison
from simulator.report.comparison_tables import listings, markdown
from simulator.report.comparison_words import field_words, title
from simulator.scenario import load_scenario
from simulator.search.search import search_layouts

if TYPE_CHECKING:
    from pathlib import Path

SCENARIO = ROOT / "scenarios" / "llama-8b-8-h100.yaml"
SIXTEEN = ("accelerators=16", "layout.data=8", "batch.global_batch=16")
"""Two nodes: the network has something to do."""
SHORT = tuple(word for override in SIXTEEN for word in ("--set", override))


def compared(
    *sweeps: str,
    clusters: tuple[str, ...] = (),
    overrides: tuple[str, ...] = SIXTEEN,
    knee: bool = True,
) -> dict[str, Any]:
    points = make_points(clusters, [parse_sweep(text) for text in sweeps], overrides)
    job = Job(SCENARIO, (), "auto")
    return comparison.compare(job, points, workers=1, knee=knee)


@pytest.fixture(scope="module")
def over_clusters() -> dict[str, Any]:
    return compared(clusters=("h100-ndr400", "h100-p5", "a100-hdr200", "mi300x-pollara400"))


@pytest.fixture(scope="module")
def over_rates() -> dict[str, Any]:
    return compared("fabric.nic_gbit_per_s=50:400:x2")


def test_a_row_is_what_a_run_says(over_clusters: dict[str, Any]) -> None:
    row = over_clusters["rows"][0]
    summary = simulate(load_scenario(SCENARIO, overrides=SIXTEEN)).summary
    assert row["step_time_s"] == summary["step_time_s"]
    assert row["mfu_palm"] == summary["mfu"]["palm"]
    assert sum(row[part] for part in PARTS) == pytest.approx(row["step_time_s"], rel=1e-9)
    assert row["exposed_data_s"] == summary["breakdown_s"]["exposed_data"]
    assert row["line_rate_gbit_per_s"] == pytest.approx(400)


def test_every_cluster_gets_its_best_layout() -> None:
    """The smaller memory of an A100 wants more tensor parallelism than the H200's."""
    space = "space={tensor: [1, 2, 4], pipeline: [1], context: [1], micro_batch: [1, 2]}"
    points = make_points(("a100-hdr200", "h200-ndr400"), [], (*SIXTEEN, space))
    job = Job(SCENARIO, (), "auto", best_layout=True)
    summary = comparison.compare(job, points, workers=1, knee=False)
    assert summary["best_layout"]
    for row, point in zip(summary["rows"], points, strict=True):
        found = search_layouts(Job(SCENARIO, (), "auto").load(point), workers=1)
        assert row["step_time_s"] == pytest.approx(found.summary["best"][0]["step_time_s"])
        assert row["status"] == "ok"
        assert row["notes"].startswith("best layout: ")
    assert len({row["layout"] for row in summary["rows"]}) == 2


def test_image_models_are_compared_by_their_own_convention(tmp_path: Path) -> None:
    images = make_points(("p100-50g", "h100-ndr400"), [])
    job = Job(ROOT / "scenarios" / "resnet50-256-p100.yaml", (), "auto")
    summary = comparison.compare(job, images, workers=1, knee=False)
    shares = {name: share for name, share in summary["rows"][0].items() if name.startswith("mfu_")}
    assert list(shares) == ["mfu_convolutions"]
    assert 0 < shares["mfu_convolutions"] < 1
    write_comparison(summary, COLUMNS, tmp_path)
    assert "MFU by convolutions" in (tmp_path / FILES["markdown"]).read_text()


def test_rows_say_that_islands_exchange_beside_them() -> None:
    job = Job(ROOT / "scenarios" / "llama-8b-2-islands.yaml", (), "auto")
    row = measure_point(job, make_points(("h100-ndr400",), [])[0])
    assert "all this on one island" in row["notes"]


def test_every_row_has_every_column_in_order(over_clusters: dict[str, Any]) -> None:
    for row in over_clusters["rows"]:
        assert list(row) == [name for name in COLUMNS if name != "mfu_convolutions"]


def test_what_does_not_go_together_is_a_row_with_its_reason() -> None:
    summary = compared(
        clusters=("h100-ndr400", "a100-hdr200", "mi300x-pollara400"),
        overrides=(*SIXTEEN, "precision=fp8"),
        knee=False,
    )
    ok, precision, kernel = summary["rows"]
    assert ok["status"] == "ok"
    assert precision["status"] == kernel["status"] == "refused"
    assert "precision: NVIDIA A100 80GB SXM has no fp8 rate" in precision["reason"]
    assert "no attention kernel cudnn" in kernel["reason"]
    assert precision["step_time_s"] is None
    assert "cannot run" in markdown(summary)


def test_a_layout_that_does_not_divide_is_refused_and_others_stay() -> None:
    summary = compared("layout.tensor=1,2", knee=False)
    refusal, fine = summary["rows"]
    assert refusal["status"] == "refused"
    assert "layout.sequence_parallel: needs layout.tensor > 1" in refusal["reason"]
    assert fine["status"] == "ok"
    assert refusal["cluster"] == "h100-ndr400", "known from the rows that could be read"


def test_memory_that_does_not_suffice_is_said_beside_the_numbers() -> None:
    overrides = (*SIXTEEN, "batch.sequence_length=65536")
    summary = compared("batch.micro_batch=1,2", overrides=overrides, knee=False)
    row = summary["rows"][1]
    assert row["status"] == "over_memory"
    assert row["reason"].startswith("needs ")
    assert row["step_time_s"] > 0
    assert "does not fit" in markdown(summary)


def test_nothing_left_to_compare_is_an_error() -> None:
    with pytest.raises(SimulatorError, match="nothing can be compared:\nlayout: tensor 3"):
        compared("layout.tensor=3,5")


def test_a_misfit_is_told_from_a_mistake() -> None:
    with pytest.raises(MisfitError):
        load_scenario(SCENARIO, overrides=["accelerators=7"])
    with pytest.raises(SimulatorError, match=r"--sweep layout.tensr: .*did you mean 'tensor'"):
        compared("layout.tensr=1,2")
    with pytest.raises(SimulatorError, match=r"--sweep cluster.fabric.nic_gbit_per_s: .*greater"):
        compared("fabric.nic_gbit_per_s=0,100")
    with pytest.raises(SimulatorError, match="--clusters: unknown cluster 'h1000'"):
        compared(clusters=("h1000",))


def test_rates_share_one_knee_and_cross_it(over_rates: dict[str, Any]) -> None:
    rows = over_rates["rows"]
    knee = next(iter(KNEES))
    assert len({row[knee] for row in rows}) == 1
    for row in rows:
        faster = row["share_of_compute_bound"] >= 0.9
        assert faster == (row["line_rate_gbit_per_s"] >= row[knee])
    times = [row["step_time_s"] for row in rows]
    assert times == sorted(times, reverse=True)


def test_without_a_knee_its_columns_are_absent() -> None:
    summary = compared("batch.micro_batch=1,2", knee=False)
    assert not set(KNEES) & set(summary["rows"][0])
    assert summary["knee_columns"] == {}
    assert len(listings(summary)) == 2, "the purchase price is known"


def test_a_tensor_group_across_nodes_is_noted() -> None:
    summary = compared(
        clusters=("h100-slingshot",), overrides=(*SIXTEEN, "layout.tensor=8", "layout.data=2")
    )
    assert summary["rows"][0]["notes"] == "tensor groups of 8 cross nodes of 4"


def test_the_bill(over_clusters: dict[str, Any]) -> None:
    bought, rented, unpriced, _ = over_clusters["rows"]
    assert bought["network_share_of_price"] == pytest.approx(4248 / (38750 + 4248))
    assert bought["rent_per_million_tokens"] is None
    tokens = 16 * 8192
    hours = 16 * rented["step_time_s"] / 3600
    assert rented["rent_per_million_tokens"] == pytest.approx(4.916 * hours / tokens * 1e6)
    assert unpriced["currency"] is None
    assert "No price of a100-hdr200, mi300x-pollara400" in over_clusters["notes"][-1]


def test_a_changed_cluster_has_no_price(over_rates: dict[str, Any]) -> None:
    assert not set(PRICES) & set(over_rates["rows"][0])


def test_a_price_in_part_has_no_network_share() -> None:
    price = Price(currency="EUR", date="2026-01", machine_per_accelerator=30e3)
    assert price.network_share is None
    assert replace(price, network_per_accelerator=10e3).network_share == 0.25


def test_processes_give_the_same_rows() -> None:
    points = make_points(("h100-ndr400", "h200-ndr400"), (), SIXTEEN)
    job, done = Job(SCENARIO, (), "auto"), []
    with mock.patch.object(comparison, "FEW_STEPS", 0):
        parallel = comparison.compare(job, points, knee=False, workers=2, advance=done.append)
    assert parallel == comparison.compare(job, points, knee=False, workers=1)
    assert sum(done) == comparison.tasks(points, knee=False) == 2
    assert comparison.tasks(points) == 4


def test_a_mistake_travels_between_processes() -> None:
    (point,) = make_points(("h1000",), ())
    with pytest.raises(SimulatorError) as found:
        measure_point(Job(SCENARIO, (), "auto"), point)
    copied = pickle.loads(pickle.dumps(found.value))  # noqa: S301 - our own
    assert str(copied) == str(found.value)
    assert str(copied).startswith("--clusters: unknown cluster 'h1000'")


def test_a_swept_number_makes_lines_and_clusters_make_bars(
    over_clusters: dict[str, Any], over_rates: dict[str, Any]
) -> None:
    assert swept_number(over_clusters) is None
    assert swept_number(over_rates) == LINE_RATE
    (line,) = series_of(over_rates, LINE_RATE)
    assert line.places == (50, 100, 200, 400)
    bound = over_rates["rows"][0]["compute_bound_step_time_s"]
    assert line.compute_bound == pytest.approx(16 * 8192 / bound / 16)


def test_pictures_say_what_the_rows_say(
    over_clusters: dict[str, Any], over_rates: dict[str, Any]
) -> None:
    bars = comparison_figure(over_clusters)
    words = [text.get_text() for ax in bars.axes for text in ax.texts]
    row = over_clusters["rows"][0]
    assert any(f"MFU {100 * row['mfu_palm']:.1f}%" in word for word in words)
    assert any("cannot run: AMD Instinct MI300X" in word for word in words)
    widths = sum(patch.get_width() for patch in bars.axes[0].patches[: len(PARTS)])
    assert widths == pytest.approx(row["step_time_s"])
    lines = comparison_figure(over_rates)
    drawn = lines.axes[0].lines[1].get_ydata()
    assert list(drawn) == [row["tokens_per_s_per_accelerator"] for row in over_rates["rows"]]


def test_all_files_open_and_agree(over_rates: dict[str, Any], tmp_path: Path) -> None:
    files = write_comparison(over_rates, COLUMNS, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(FILES.values())
    frame, table = pd.read_parquet(files["parquet"]), pq.read_table(files["parquet"])
    assert list(frame[LINE_RATE]) == [50, 100, 200, 400]
    assert table.schema.field("step_time_s").metadata[b"unit"] == b"s"
    text = pd.read_csv(files["csv"])
    assert list(text["step_time_s"]) == pytest.approx(list(frame["step_time_s"]))
    words = files["markdown"].read_text("utf-8")
    assert words.startswith("# Llama 3 8B on 8 H100: NIC [Gbit/s], on h100-ndr400")
    assert "90% of the compute-bound speed needs" in words
    assert files["picture_png"].read_bytes().startswith(b"\x89PNG")
    again = write_comparison(over_rates, COLUMNS, tmp_path / "again")
    assert all(files[what].read_bytes() == again[what].read_bytes() for what in FILES)


def test_the_command_prints_rows_and_writes_files(tmp_path: Path) -> None:
    out = tmp_path / "out"
    options = ("--clusters", "h100-ndr400,h200-ndr400", "--no-knee", "--workers", "1")
    done = invoke("compare", "llama-8b-8-h100", *SHORT, *options, "--out", out)
    assert done.returncode == 0, done.stderr
    assert "h200-ndr400" in done.stdout
    assert str(out / "comparison.png") in done.stdout
    assert done.stderr == ""


def test_the_command_prints_json() -> None:
    sweep = ("--sweep", "fabric.nic_gbit_per_s=100,200", "--json", "--workers", "1")
    done = invoke("compare", "llama-8b-8-h100", *SHORT, *sweep)
    document = json.loads(done.stdout)
    assert [row[LINE_RATE] for row in document["rows"]] == ["100", "200"]
    assert document["knee_columns"] == KNEES


def test_one_cluster_takes_its_own_settings() -> None:
    on = "mi300x-pollara400:software.kernels.attention=flash2"
    clusters = ("--clusters", "h100-ndr400,mi300x-pollara400", "--on", on)
    done = invoke("compare", "llama-8b-8-h100", *SHORT, *clusters, "--no-knee", "--json")
    rows = json.loads(done.stdout)["rows"]
    assert [row["status"] for row in rows] == ["ok", "ok"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "nothing to compare"),
        (("--clusters", "nowhere"), "--clusters: unknown cluster 'nowhere'"),
        (("--sweep", "layout.tensor"), "expected KEY=VALUES"),
        (("--sweep", "layout.tensor=1,2", "--engine", "magic"), "no engine is called 'magic'"),
    ],
)
def test_mistakes_end_with_one_message(arguments: tuple[str, ...], message: str) -> None:
    assert message in refused("compare", "llama-8b-8-h100", *arguments)


def test_an_interrupt_leaves_the_directory_as_it_was(tmp_path: Path) -> None:
    with mock.patch(
        "simulator.report.comparison_results.write_figure", side_effect=KeyboardInterrupt
    ):
        done = invoke(
            "compare", "llama-8b-8-h100", *SHORT, "--clusters", "h100-ndr400", "--no-knee",
            "--out", tmp_path / "out",
        )  # fmt: skip
    assert done.returncode == 130
    assert list(tmp_path.iterdir()) == []


def test_fields_are_named_as_people_do() -> None:
    assert field_words("batch.micro_batch") == "micro batch"
    assert field_words("cluster.accelerator.memory_gb") == "memory [GB]"
    assert title({"rows": [{"cluster": "a"}], "swept": ["schedule"], "shared": {}}) == (
        "One scenario: schedule, on a"
    )


def shipped(
    scenario: str,
    clusters: tuple[str, ...],
    *sweeps: str,
    overrides: tuple[str, ...] = (),
    on: tuple[str, ...] = (),
) -> list[dict[str, Any]]:
    """Return the rows of a comparison that the documentation shows, without its knees."""
    points = make_points(clusters, [parse_sweep(text) for text in sweeps], overrides, on)
    job = Job(ROOT / "scenarios" / f"{scenario}.yaml", (), "auto")
    rows: list[dict[str, Any]] = comparison.compare(job, points, knee=False, workers=1)["rows"]
    return rows


def test_five_clusters_run_the_same_layout() -> None:
    clusters = ("h100-ndr400", "h200-ndr400", "b200-ndr400", "gb200-nvl72", "mi300x-pollara400")
    on = ("mi300x-pollara400:software.kernels.attention=flash2",)
    rows = shipped("llama-70b-1024", clusters, on=on)
    assert [row["status"] for row in rows] == ["ok"] * 5
    assert len({row["layout"] for row in rows}) == 1
    h100, h200, b200, gb200, mi300x = (row["step_time_s"] for row in rows)
    assert max(b200, gb200) < h200 < h100, "the same chip with faster memory, then a faster chip"
    assert mi300x > b200
    assert rows[-1]["changes"] == "software.kernels.attention=flash2"
    transferred = [row["cluster"] for row in rows if row["kernels"] == "transferred"]
    assert transferred == ["mi300x-pollara400"]


def test_racks_feel_oversubscription_and_rails_do_not() -> None:
    sweep = "fabric.tiers.0.oversubscription=1,7"
    rows = shipped("llama-70b-1024", ("h100-ndr400", "h100-roce400"), sweep)
    rails, racks = ([row["step_time_s"] for row in rows[i : i + 2]] for i in (0, 2))
    assert rails[0] == rails[1]
    assert racks[1] > 1.5 * racks[0]
    assert "7.00 times what the uplinks carry" in rows[3]["notes"]


def test_a_wide_tensor_group_wants_a_wide_domain() -> None:
    rows = shipped(
        "llama-70b-1024",
        ("b200-ndr400", "gb200-nvl72"),
        overrides=("layout.tensor=16", "layout.data=32"),
        on=("gb200-nvl72:node.accelerators=64", "gb200-nvl72:node.nics=64"),
    )
    narrow, wide = rows
    assert narrow["notes"] == "tensor groups of 16 cross nodes of 8"
    assert wide["notes"] == ""
    assert wide["exposed_tensor_s"] < 0.7 * narrow["exposed_tensor_s"]


def test_a_larger_memory_holds_a_larger_micro_batch() -> None:
    """ZAYA1: 87 GiB with four sequences at a time, an H100 offers 79."""
    attention = "h100-ndr400:software.kernels.attention=cudnn"
    clusters = ("mi300x-pollara400", "h100-ndr400")
    rows = shipped("zaya1-8b-1024-mi300x", clusters, "batch.micro_batch=2,4", on=(attention,))
    assert [row["status"] for row in rows] == ["ok", "ok", "ok", "over_memory"]
    assert rows[1]["exposed_data_s"] < rows[0]["exposed_data_s"], "one pass hides the reduction"
