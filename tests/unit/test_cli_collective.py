"""`simulator collective`: sizes, placement, and figures that agree with the cost model."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from simulator.cli.main import app
from simulator.cli.message_sizes import parsed_sizes, size_text
from simulator.errors import SimulatorError

COMMAND = ["collective", "all_reduce", "--cluster", "h100-ndr400"]


def run(*options: str) -> str:
    done = CliRunner().invoke(app, [*COMMAND, *options])
    if isinstance(done.exception, SimulatorError):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.output


def test_sizes_are_read_in_both_powers() -> None:
    assert parsed_sizes("8, 1KiB,1kb,2MiB,1.5GB") == [8, 1024, 1000, 2 * 2**20, 1.5e9]
    assert [size_text(size) for size in (8, 65536, 1e6, 2**30, 1.5e9)] == [
        *("8 B", "64 KiB", "1 MB", "1 GiB", "1,500 MB"),
    ]


@pytest.mark.parametrize("text", ["", "1 parsec", "-1MB", "MiB"])
def test_what_is_no_size_is_refused_with_the_units(text: str) -> None:
    with pytest.raises(SimulatorError, match="is not a size; write a number with B, KB, MB"):
        parsed_sizes(text)


def test_the_table_shows_bandwidths_beside_the_line_rates() -> None:
    text = run("--ranks", "32", "--bytes", "1MiB,16GiB")
    assert "line rate inside a node: 450 GB/s" in text
    assert "50 GB/s per accelerator, 400 GB/s" in text
    assert "tree, latency" in text or "tree, middle" in text
    assert "tree, bandwidth" in text
    assert "More than" not in text


def test_a_tree_between_two_nodes_is_explained() -> None:
    assert "a tree between two nodes sends each" in run("--ranks", "16", "--bytes", "16GiB")


def test_json_has_units_in_its_keys_and_figures_that_agree() -> None:
    found = json.loads(run("--ranks", "4", "--ranks-per-node", "1", "--bytes", "1GB", "--json"))
    line = found["sizes"][0]
    assert (found["nodes"], found["ranks_per_node"]) == (4, 1)
    assert line["algbw_gb_per_s"] == pytest.approx(1e6 / line["time_us"] * 1e9 / 1e9, rel=1e-9)
    assert line["busbw_gb_per_s"] == pytest.approx(1.5 * line["algbw_gb_per_s"])
    # One interface of 50 GB/s, 0.91 of it reachable.
    assert line["share_of_network"] == pytest.approx(0.91, abs=0.03)


@pytest.mark.parametrize("kind", ["all_to_all", "send_recv"])
def test_pairwise_traffic_is_measured_by_what_each_rank_sends_over_its_interface(kind: str) -> None:
    options = ["--cluster", "h100-ndr400", "--ranks", "64", "--bytes", "64GiB", "--json"]
    done = CliRunner().invoke(app, ["collective", kind, *options])
    # 0.91 of the line rate is what the fabric's large messages reach.
    assert json.loads(done.output)["sizes"][0]["share_of_network"] == pytest.approx(0.91, abs=0.01)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--ranks", "12"], "12 is not a multiple of 8"),
        (["--ranks", "8", "--ranks-per-node", "9"], "a node has 8 accelerators, not 9"),
        (["--ranks", "1000000000"], "more than the 65536 accelerators"),
    ],
)
def test_impossible_groups_are_refused(options: list[str], message: str) -> None:
    with pytest.raises(SimulatorError, match=message):
        run(*options)


def test_an_unknown_collective_is_refused() -> None:
    done = CliRunner().invoke(app, ["collective", "all_redcue", *COMMAND[2:], "--ranks", "8"])
    assert isinstance(done.exception, SimulatorError)
    assert "all_reduce" in str(done.exception)


def test_bytes_on_links_and_the_busiest_one_are_shown() -> None:
    text = run("--ranks", "32", "--bytes", "16GiB")
    assert "Bytes on links, 16 GiB" in text
    assert "nic up" in text
    line = json.loads(run("--ranks", "32", "--bytes", "16GiB", "--json"))["sizes"][0]
    # Double trees between four nodes: 2 * 3 buffers over the interfaces, 2 * 7 inside each node.
    sums = line["bytes_by_link_class"]
    assert sums["nic up"] == pytest.approx(6 * 2**34)
    assert sums["nvlink up"] == pytest.approx(4 * 14 * 2**34)
    assert line["busiest_link_time_us"] / line["time_us"] == pytest.approx(
        line["share_of_busiest_link"]
    )


def test_an_algorithm_can_be_forced() -> None:
    found = json.loads(run("--ranks", "32", "--bytes", "1GiB", "--algorithm", "ring", "--json"))
    line = found["sizes"][0]
    assert (line["algorithm"], line["regime"]) == ("ring", None)
    assert line["bytes_by_link_class"]["nic up"] == pytest.approx(4 * 2 * 31 / 32 * 2**30)


def test_all_algorithms_are_compared_and_the_fastest_is_marked() -> None:
    found = json.loads(run("--ranks", "32", "--bytes", "8,1GiB", "--algorithm", "all", "--json"))
    rows = found["sizes"]
    names = [row["algorithm"] for row in rows if row["bytes"] == 8]
    assert names[0].startswith("library: tree")
    assert names[1:] == ["ring", "tree", "halving_doubling", "sharp", "hierarchical"]
    for size in (8, 2**30):
        same = [row for row in rows if row["bytes"] == size]
        (best,) = [row for row in same if row["fastest"]]
        assert best["time_us"] == min(row["time_us"] for row in same)
    assert any("nvls: the group leaves its NVLink domain" in note for note in found["notes"])
    text = run("--ranks", "32", "--bytes", "1GiB", "--algorithm", "all")
    assert "* the fastest of its size" in text
    assert "…" not in text


def test_parts_of_an_all_to_all_can_be_unequal() -> None:
    options = ["--cluster", "h100-ndr400", "--ranks", "64", "--bytes", "8GiB", "--json"]
    times = [
        json.loads(CliRunner().invoke(app, ["collective", "all_to_all", *options, *more]).output)[
            "sizes"
        ][0]["time_us"]
        for more in ([], ["--imbalance", "2"])
    ]
    assert times[1] / times[0] == pytest.approx(2, rel=0.01)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--algorithm", "rign"], "did you mean 'ring'"),
        (["--algorithm", "nvls", "--ranks", "16"], "nvls is not possible here: the group leaves"),
        (["--algorithm", "pxn"], "no all_reduce is done by pxn"),
        (["--imbalance", "2"], "for an all_to_all, not for all_reduce"),
    ],
)
def test_impossible_algorithms_are_refused(options: list[str], message: str) -> None:
    ranks = [] if "--ranks" in options else ["--ranks", "8"]
    with pytest.raises(SimulatorError, match=message):
        run(*options, *ranks)
