"""ImageNet in 1 Hour: efficiency over GPUs and over network bandwidth, with the published points.

``python benchmarks/imagenet.py`` prints both tables and what else was published, and draws
docs/images/imagenet.png. Efficiency is the step time of one server of eight P100 over that of the
job, 32 images per GPU in both.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from imagenet_published import RESNET, rows, step
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, PercentFormatter
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from simulator.report.palette import COLOURS, MUTED, picture_style, write_figure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

ROOT: Final = Path(__file__).parent.parent
PICTURE: Final = ROOT / "docs" / "images" / "imagenet.png"
IMAGES: Final = 32
SERVER: Final = 8
GPUS: Final = (8, 16, 32, 64, 128, 256, 352)
GBIT_PER_S: Final = (2.5, 5, 7.5, 10, 15, 20, 25, 35, 50, 100)
PUBLISHED: Final = {256: 29 / 32, 352: 1 / 1.12}
"""Goyal et al. 2017, arXiv 1706.02677: 29 h on 8 GPUs and 1 h on 256; 12 % more time on 352
(the latter from secondary sources)."""
NEEDED: Final = {12.8: ("bytes alone", "right", 0.97), 15.0: ("with overhead", "left", 1.03)}
"""Gbit/s that section 4.3 of the paper asks for; what for, and where that is written."""

HALVING, RING, STILL = (
    "halving and doubling",
    "ring",
    "halving and doubling, ranks equally fast",
)
CURVES: Final = {
    HALVING: ("software.gradient_all_reduce=three_phase_halving_doubling",),
    RING: ("software.gradient_all_reduce=three_phase_ring",),
    STILL: ("software.step_jitter=0",),
}
"""Overrides of each curve."""
LINES: Final = {
    HALVING: (COLOURS["forward"], "-"),
    RING: (COLOURS["backward"], "-"),
    STILL: (COLOURS["forward"], ":"),
}


def main() -> None:
    """Print the tables and draw the picture."""
    by_gpus = {name: [efficiency(name, gpus, 50) for gpus in GPUS] for name in CURVES}
    by_rate = {name: [efficiency(name, 256, rate) for rate in GBIT_PER_S] for name in CURVES}
    console = Console(width=110)
    console.print(table("Efficiency over GPUs at 50 Gbit/s", GPUS, by_gpus))
    console.print(table("Efficiency of 256 GPUs over Gbit/s", GBIT_PER_S, by_rate))
    console.print(published_table())
    with picture_style():
        figure = Figure(figsize=(12.8, 4.8), layout="constrained")
        left, right = figure.subplots(1, 2)
        plot_gpus(left, by_gpus)
        plot_bandwidth(right, by_rate)
    write_figure(figure, PICTURE)


def efficiency(curve: str, gpus: int, gbit_per_s: float) -> float:
    """Return the step time of one server over that of ``gpus``."""
    return step_time(curve, SERVER, 50) / step_time(curve, gpus, gbit_per_s)


@cache
def step_time(curve: str, gpus: int, gbit_per_s: float) -> float:
    """Return the simulated step time [s]."""
    overrides = (f"cluster.fabric.nic_gbit_per_s={gbit_per_s}", *CURVES[curve])
    time: float = step(RESNET, gpus, IMAGES, *overrides)["step_time_s"]
    return time


def table(title: str, across: Sequence[float], curves: dict[str, list[float]]) -> Table:
    """Return one row for each curve."""
    result = Table("", *(f"{value:g}" for value in across), title=title, box=SIMPLE_HEAD)
    for name, values in curves.items():
        result.add_row(name, *(f"{value:.1%}" for value in values))
    return result


def published_table() -> Table:
    """Return single figures of several publications beside the simulated ones."""
    result = Table("", "published", "simulated", title="Single figures", box=SIMPLE_HEAD)
    for row in rows():
        result.add_row(*row)
    return result


def plot_gpus(axes: Axes, curves: dict[str, list[float]]) -> None:
    """Draw efficiency over GPUs, with the published points."""
    draw(axes, GPUS, curves)
    axes.plot(
        *zip(*PUBLISHED.items(), strict=True), "o", color="#000000", label="published (fitted)"
    )
    axes.set_title("From one server to 44, 50 Gbit/s Ethernet")
    axes.set_xlabel("P100 GPUs, 32 images each")
    axes.legend(loc="lower left")


def plot_bandwidth(axes: Axes, curves: dict[str, list[float]]) -> None:
    """Draw efficiency over bandwidth, with what the paper asks for."""
    draw(axes, GBIT_PER_S, curves)
    for rate, (what, side, gap) in NEEDED.items():
        axes.axvline(rate, color=MUTED, linewidth=0.8, linestyle="--")
        axes.text(gap * rate, 0.04, f"{rate:g}\n{what}", ha=side, color=MUTED, fontsize=9)
    axes.set_title("256 GPUs on slower and faster networks")
    axes.set_xlabel("Gbit/s per server of eight")


def draw(axes: Axes, across: Sequence[float], curves: dict[str, list[float]]) -> None:
    """Draw the curves over a logarithmic axis with a tick at each point."""
    for name, values in curves.items():
        colour, style = LINES[name]
        axes.plot(across, values, style, color=colour, marker=".", label=name)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(list(across)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_ylim(0, 1.05)
    axes.grid(axis="y", color="#DDDDDD", linewidth=0.6)
    axes.set_ylabel("efficiency")


if __name__ == "__main__":
    main()
