"""Logs of nccl-tests are read whatever surrounds them, and fits find the constants again."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import pytest
from nccl_logs import OLD_HEADER, log, row
from typer.testing import CliRunner

from simulator.calibration.collectives import fit_site, quality
from simulator.calibration.line_fit import span_of
from simulator.calibration.nccl_tests import Group, Log, LogReader
from simulator.calibration.site_profiles import profile_texts
from simulator.catalog import Catalog
from simulator.cli.main import app
from simulator.documents import validate
from simulator.errors import SimulatorError
from simulator.hardware.cluster import Cluster
from simulator.hardware.collective_costs import collective_time
from simulator.operators import Collective

if TYPE_CHECKING:
    from pathlib import Path

SIZES = [2**power for power in range(3, 34)]
EIGHT = Group(Collective.ALL_REDUCE, 8, 1)


@cache
def shipped(name: str) -> Cluster:
    return validate(Cluster, Catalog().document("cluster", name))


def read(text: str, name: str = "run.log", collective: Collective | None = None) -> Log:
    reader = LogReader(collective)
    reader.read(text.splitlines(keepends=True), name)
    return reader.log()


def modelled(group: Group, cluster: Cluster, factor: float = 1.0) -> dict[int, float]:
    """Return times [s] by message [B] that a cluster's profile gives."""
    span = span_of(group, cluster)
    return {size: factor * collective_time(group.kind, size, span, cluster) for size in SIZES}


def test_a_run_is_read_with_ranks_nodes_device_and_times() -> None:
    found = read(log("all_reduce", {1024: 28.02, 1 << 30: 4471.0}, ranks=16, nodes=2))
    group = Group(Collective.ALL_REDUCE, 16, 2)
    assert found.curves == {group: pytest.approx({1024: 28.02e-6, 1 << 30: 4471e-6})}
    assert found.devices == {"NVIDIA H100 80GB HBM3"}
    assert found.problems == []


@pytest.mark.parametrize("prefix", ["[1,0]<stdout>:", "0: ", "(worker-0) ", "2026-01-02 03:04:05 "])
def test_launchers_prefixes_and_other_lines_do_not_matter(prefix: str) -> None:
    text = log("all_gather", {1024: 20.0, 4096: 21.0}, ranks=8)
    text = text.replace("#\n", "#\nhost:12:13 [0] NCCL INFO Channel 00/02 :    0   1   2\n", 1)
    prefixed = "".join(f"{prefix}{line}\n" for line in text.splitlines())
    found = read("NCCL version 2.21.5+cuda12.4\n" + prefixed)
    assert found.curves == {
        Group(Collective.ALL_GATHER, 8, 1): pytest.approx({1024: 20e-6, 4096: 21e-6})
    }
    assert found.libraries == {"NCCL version 2.21.5"}
    assert found.problems == []


def test_several_runs_in_one_log_are_kept_apart_and_repeats_give_the_median() -> None:
    runs = [log("all_reduce", {1024: time}, ranks=8) for time in (20.0, 22.0, 90.0)]
    runs.append(log("reduce_scatter", {1024: 15.0}, ranks=4))
    found = read("".join(runs))
    assert found.curves == {
        EIGHT: pytest.approx({1024: 22e-6}),
        Group(Collective.REDUCE_SCATTER, 4, 1): pytest.approx({1024: 15e-6}),
    }


def test_rows_of_releases_without_a_root_column_are_read() -> None:
    text = log("all_reduce", {}, ranks=8)
    start = text.index("#                                    ")
    old = "     1048576        262144   float     sum    72.53   14.46   25.30  2e-07    70.07   14.96   26.19  2e-07\n"  # noqa: E501
    found = read(text[:start] + OLD_HEADER + old)
    assert found.curves == {EIGHT: pytest.approx({1048576: 72.53e-6})}


def test_the_test_is_told_by_the_files_name_or_the_user_if_not_by_the_text() -> None:
    text = log("alltoall", {1 << 20: 30.0}, ranks=8, command=False)
    by_name = read(text, "alltoall-8.txt").curves
    by_user = read(text, "log.txt", Collective.ALL_TO_ALL).curves
    assert (
        by_name == by_user == {Group(Collective.ALL_TO_ALL, 8, 1): pytest.approx({1 << 20: 30e-6})}
    )
    assert "name it with --collective" in read(text, "log.txt").problems[0]


def test_what_cannot_be_read_or_used_is_said() -> None:
    whole = log("all_reduce", {1024: 20.0, 2048: 21.0}, ranks=8)
    torn = whole.replace("21.00", "21,0x")
    assert any("cannot be read" in problem for problem in read(torn).problems)
    foreign = log("all_reduce", {1024: 20.0}, ranks=8).replace("all_reduce_perf", "hypercube_perf")
    assert "hypercube_perf has no model" in read(foreign).problems[0]


def test_a_list_of_ranks_that_the_bandwidths_contradict_is_refused() -> None:
    """A published table of "64" ranks was one of 96: 2 * 95 / 96 gave it away."""
    text = log("all_reduce", {}, ranks=4).replace(
        "# Out of", row("all_reduce", 1 << 30, 4000.0, 16) + "\n# Out of"
    )
    found = read(text)
    assert found.curves == {}
    assert "busbw over algbw is that of 16" in found.problems[0]


def test_a_fit_finds_a_slower_site_again() -> None:
    """All times of a site are 1.3 times the profile's: the fit is within 3 % everywhere."""
    cluster = shipped("h100-ndr400")
    groups = [EIGHT, Group(Collective.ALL_REDUCE, 32, 4), Group(Collective.ALL_REDUCE, 64, 8)]
    curves = {group: modelled(group, cluster, 1.3) for group in groups}
    fit = fit_site(curves, cluster)
    for found in quality(curves, fit.cluster):
        assert all(error < 0.03 for error in found.median_error.values()), found
    assert fit.efficiency == pytest.approx(0.91 / 1.3, rel=0.05)


def test_three_protocols_are_found_where_the_profile_has_two() -> None:
    """A curve of three lines is followed to 2 % by a fit that starts from two."""
    cluster = shipped("a100-roce200")
    assert cluster.fabric.collectives.lines[Collective.ALL_REDUCE].middle is None
    two, eight = (Group(Collective.ALL_REDUCE, 8 * nodes, nodes) for nodes in (2, 8))
    curves = {}
    for group, hops in ((two, 1), (eight, 3)):
        rate = 25e9 * 8 * cluster.fabric.efficiency / (2 * (1 - 1 / group.ranks))
        lines = {
            size: min(20 * size / rate, 20e-6 + 5e-6 * hops + 2 * size / rate, 99e-6 + size / rate)
            for size in SIZES
        }
        curves[group] = {size: 30e-6 + 8e-6 * hops + time for size, time in lines.items()}
    fit = fit_site(curves, cluster)
    for found in quality(curves, fit.cluster):
        assert all(error < 0.02 for error in found.median_error.values()), found


def test_two_sizes_give_launch_latency_and_efficiency_only() -> None:
    """8 bytes take 40 us more than modelled, 8 GiB twice as long: nothing else can be known."""
    cluster = shipped("h100-ndr400")
    group = Group(Collective.ALL_REDUCE, 32, 4)
    known = modelled(group, cluster)
    curves = {group: {8: known[8] + 40e-6, 2**33: 2 * known[2**33]}}
    fit = fit_site(curves, cluster)
    assert fit.lines == {}
    assert fit.launch["fabric"] == pytest.approx(40e-6, rel=0.01)
    assert fit.efficiency == pytest.approx(0.455, rel=0.03)
    for found in quality(curves, fit.cluster):
        assert found.worst < 0.03


def test_a_table_takes_the_place_of_the_fit_for_the_groups_measured() -> None:
    cluster = shipped("h100-ndr400")
    curve = {8: 20e-6, 1024: 40e-6, 1 << 20: 160e-6}
    fit = fit_site({EIGHT: curve}, cluster, tabulate=True)
    span = span_of(EIGHT, cluster)

    def time(size: float) -> float:
        return collective_time(Collective.ALL_REDUCE, size, span, fit.cluster)

    assert time(1024) == pytest.approx(40e-6)
    assert time(32768) == pytest.approx(80e-6)  # half way in the logarithms
    assert time(1) == pytest.approx(20e-6)
    assert time(1 << 21) == pytest.approx(320e-6)


def test_a_group_that_does_not_fit_the_node_is_refused() -> None:
    with pytest.raises(SimulatorError, match="16 ranks per node, but hgx-h100 has 8"):
        fit_site({Group(Collective.ALL_REDUCE, 16, 1): {8: 1e-5}}, shipped("h100-ndr400"))


@pytest.mark.parametrize("tabulate", [False, True])
def test_written_profiles_predict_what_was_fitted(tmp_path: Path, tabulate: bool) -> None:  # noqa: FBT001
    cluster = shipped("h100-ndr400")
    groups = [EIGHT, Group(Collective.ALL_REDUCE, 16, 2)]
    curves = {group: modelled(group, cluster, 1.2) for group in groups}
    fit = fit_site(curves, cluster, tabulate=tabulate)
    for place, text in profile_texts(fit, cluster, "mine", 'a "quoted" log').items():
        file = tmp_path / place
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, encoding="utf-8")
    again = validate(Cluster, Catalog((tmp_path,)).document("cluster", "mine"))
    for group in groups:
        written, fitted = modelled(group, again), modelled(group, fit.cluster)
        assert written == pytest.approx(fitted, rel=2e-3)


def test_the_command_reads_fits_writes_and_its_profile_runs(tmp_path: Path) -> None:
    cluster = shipped("h100-ndr400")
    times = {size: 1e6 * time for size, time in modelled(EIGHT, cluster, 1.5).items()}
    file = tmp_path / "all_reduce.log"
    file.write_text(log("all_reduce", times, ranks=8), encoding="utf-8")
    site = tmp_path / "site"
    options = ["--cluster", "h100-ndr400", "--name", "mine", "--out", str(site)]
    done = CliRunner().invoke(app, ["calibrate", "collectives", str(file), *options])
    assert done.exit_code == 0, done.output
    assert "31 rows of 1 curves" in done.output
    assert "8 ranks in 1 node" in done.output
    shown = CliRunner().invoke(
        app,
        ["collective", "all_reduce", "--cluster", "mine", "--profiles", str(site), "--ranks", "8"],
    )
    assert shown.exit_code == 0, shown.output


def test_files_without_a_curve_are_an_error(tmp_path: Path) -> None:
    file = tmp_path / "empty.log"
    file.write_text("nothing\n", encoding="utf-8")
    done = CliRunner().invoke(
        app, ["calibrate", "collectives", str(file), "--cluster", "h100-ndr400"]
    )
    assert isinstance(done.exception, SimulatorError)
    assert "no curve" in str(done.exception)
