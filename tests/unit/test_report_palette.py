"""Colours stay apart for colour-blind readers; the same picture gives the same bytes."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure

from simulator.report.palette import (
    COLOURS,
    MEMORY_COLOURS,
    is_light,
    picture_style,
    write_figure,
)

if TYPE_CHECKING:
    from pathlib import Path

# Machado, Oliveira and Fernandes 2009, severity 1.0, on linear RGB.
VISIONS = {
    "trichromat": np.eye(3),
    "protanope": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "deuteranope": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
}
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
WHITE = np.array([0.9505, 1.0, 1.089])

SIDE_BY_SIDE = {
    "compute": ["forward", "backward", "recompute", "optimizer", "other", "idle"],
    "zero bubble": ["forward", "input_gradient", "weight_gradient", "recompute", "optimizer"],
    "strip": ["tensor", "context", "expert", "pipeline", "data", "offload", "other"],
}


def lab(colour: str, vision: np.ndarray) -> np.ndarray:
    """Return CIELAB coordinates of a hex colour as seen."""
    rgb = np.array(list(bytes.fromhex(colour[1:]))) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    xyz = XYZ @ np.clip(vision @ linear, 0, 1) / WHITE
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("vision", VISIONS)
@pytest.mark.parametrize("group", [*SIDE_BY_SIDE, "memory"])
def test_colours_that_meet_differ_for_every_reader(group: str, vision: str) -> None:
    chosen = (
        list(MEMORY_COLOURS.values())
        if group == "memory"
        else [COLOURS[name] for name in SIDE_BY_SIDE[group]]
    )
    seen = {colour: lab(colour, VISIONS[vision]) for colour in chosen}
    distances = {
        pair: np.linalg.norm(seen[pair[0]] - seen[pair[1]]) for pair in combinations(seen, 2)
    }
    assert min(distances.values()) > 14, min(distances, key=lambda pair: distances[pair])


def test_ink_follows_the_ground() -> None:
    assert is_light("#FFFFFF")
    assert is_light(COLOURS["backward"])
    assert not is_light(COLOURS["forward"])
    assert not is_light("#000000")


def test_the_style_ends_with_its_context() -> None:
    before = dict(mpl.rcParams)
    with picture_style():
        assert mpl.rcParams["svg.hashsalt"] == "simulator"
    assert dict(mpl.rcParams) == before


@pytest.mark.parametrize("suffix", [".svg", ".png", ".pdf"])
def test_the_same_picture_gives_the_same_bytes(tmp_path: Path, suffix: str) -> None:
    for name in ("a", "b"):
        with picture_style():
            figure = Figure(figsize=(2, 1))
            figure.subplots().fill_between([0, 1], [1, 2], clip_on=True)
        write_figure(figure, tmp_path / f"{name}{suffix}")
    assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


def test_svg_carries_no_date(tmp_path: Path) -> None:
    write_figure(Figure(figsize=(1, 1)), tmp_path / "empty.svg")
    assert "<dc:date>" not in (tmp_path / "empty.svg").read_text()
