"""Drawings of clusters: what they say, that nothing runs over, and the command that writes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from topology_samples import CLOS, HOST, ISLANDS, MESH, PLANES, RAILS, SHARED, SMALL, torus

from simulator.catalog import Catalog
from simulator.cli.main import main
from simulator.documents import validate
from simulator.hardware.cluster import Cluster
from simulator.report.cluster_plot import NODE_IN, WORDS_IN, cluster_figure, rate_text

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure


def words(figure: Figure) -> list[str]:
    """Return every text of a figure, a line of it each."""
    texts = [text.get_text() for text in figure.findobj(Text)]
    return [line for text in texts for line in text.splitlines() if line]


def shipped(name: str) -> Cluster:
    return validate(Cluster, Catalog().document("cluster", name))


def test_rows_say_what_units_hold_and_what_leaves_them() -> None:
    said = words(cluster_figure(CLOS))
    for line in (
        *("64 accelerators", "32 accelerators", "16 accelerators", "4 accelerators"),
        *("x 3 more", "x 1 more", "4 interfaces", "of 400 Gbit/s = 1.6 Tbit/s a node"),
        *("16 links", "of 400 Gbit/s = 6.4 Tbit/s", "non-blocking, adds 1 µs", "2:1, adds 2 µs"),
    ):
        assert line in said


@pytest.mark.parametrize(
    ("cluster", "line"),
    [
        (RAILS, "4 rails x 4 links"),
        (PLANES, "4 rails x 2 planes x 4 links"),
        (PLANES, "4 interfaces x 2 ports"),
        (SHARED, "2 interfaces of 400 Gbit/s, one for 2"),
        (MESH, "mesh: 3 links of 64 GB/s each way;"),
        (HOST, "all together 45 GB/s over the host"),
        (ISLANDS, "of 100 Gbit/s"),
        (ISLANDS, "128:1, adds 20 ms"),
        (torus(4, 4, 8, wrapped=True), "torus 4 x 4 x 8, axes closed:"),
        (torus(4, 4, 8, wrapped=True), "x 8"),
        (torus(4, 4, wrapped=False), "torus 4 x 4, axes open:"),
    ],
)
def test_drawings_name_what_is_special(cluster: Cluster, line: str) -> None:
    assert line in words(cluster_figure(cluster))


@pytest.mark.parametrize(
    "name",
    [
        *("h100-ndr400", "h100-roce400", "h800-hpn400", "gb200-nvl72", "h100-two-regions"),
        *("mi300x-pollara400", "tpu-v5p", "h100-p5", "a100-jean-zay"),
    ],
)
def test_no_word_leaves_its_place(name: str) -> None:
    """What is said of the levels ends before the node's panel; nothing leaves the page."""
    figure = cluster_figure(shipped(name))
    renderer = FigureCanvasAgg(figure).get_renderer()
    page = figure.get_window_extent(renderer)
    panel_left = NODE_IN[0] * figure.dpi
    for text in figure.findobj(Text):
        if not text.get_text():
            continue
        box = text.get_window_extent(renderer)
        assert page.x0 <= box.x0
        assert box.x1 <= page.x1
        assert page.y0 <= box.y0
        if text.get_position()[0] == WORDS_IN:
            assert box.x1 <= panel_left, text.get_text()


@pytest.mark.parametrize("cluster", SMALL, ids=lambda cluster: cluster.name)
def test_every_kind_of_cluster_can_be_drawn(cluster: Cluster) -> None:
    assert len(words(cluster_figure(cluster))) > 5


def test_rates_read_as_network_people_say_them() -> None:
    assert rate_text(50e9) == "400 Gbit/s"
    assert rate_text(12.5e12) == "100 Tbit/s"
    assert rate_text(12.5e6) == "0.1 Gbit/s"


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr("sys.argv", ["simulator", "show", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        main()
    assert isinstance(end.value.code, int)
    return end.value.code


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_the_command_draws_and_lists(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / f"cluster.{suffix}"
    assert run(monkeypatch, "cluster", "h100-ndr400", "--plot", file, "--accelerators", 16384) == 0
    printed = capsys.readouterr().out
    assert "16,384 accelerators in 2,048 nodes of 8" in printed
    assert ["leaf", "up", "512", "32", "1,600", "819"] in [
        line.split() for line in printed.splitlines()
    ]
    assert file.stat().st_size > 10_000
    first = file.read_bytes()
    run(monkeypatch, "cluster/h100-ndr400", "--plot", file, "--accelerators", 16384)
    assert file.read_bytes() == first


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("cluster", "h100-ndr40", "--plot", "x.png"), "did you mean 'h100-ndr400'"),
        (("cluster", "h100-ndr400", "--plot", "x.gif"), "ends in .png, .svg, .pdf"),
        (("hgx-h100", "--plot", "x.png"), "is of the kind node; only clusters have links"),
        (("cluster", "h100-ndr400", "--accelerators", "70000"), "joins 1 to 65,536 accelerators"),
    ],
)
def test_mistakes_end_with_a_message_and_no_file(
    arguments: tuple[str, ...],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(monkeypatch, *arguments) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
