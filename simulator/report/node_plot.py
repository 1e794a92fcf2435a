"""The inside of a node: accelerators, what joins them, and their interfaces."""

from __future__ import annotations

from math import ceil, cos, pi, sin
from typing import TYPE_CHECKING, Final

from matplotlib.collections import LineCollection
from matplotlib.patches import Circle, Rectangle

from simulator.hardware.interfaces import interfaces_of
from simulator.hardware.node import ScaleUp
from simulator.report.palette import FABRIC_COLOURS, MUTED
from simulator.units import GBIT_PER_S, GIGA

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from simulator.hardware.cluster import Cluster
    from simulator.hardware.node import Node

Extent = tuple[float, float, float, float]
"""Left, right, bottom and top of a part of the page [in]."""

HEADING_IN: Final = 0.62
NOTES_IN: Final = 0.95
INK: Final = "#4A4F57"
SMALL: Final = 10.0
BAR_IN, ABOVE_IN = 0.4, 0.55
"""Height of what joins the accelerators, and of the interfaces above a host."""
MOST_IN_A_ROW: Final = 12
MOST_ALONG: Final = 24
"""Chips of a torus drawn along one axis."""
MOST_PLANES: Final = 4
MOST_CHORDS: Final = 16
"""Accelerators of a mesh drawn on one circle."""


def node_height_in(node: Node) -> float:
    """Return the height [in] that a node is drawn well in."""
    return 4.6 if node.scale_up in (ScaleUp.TORUS, ScaleUp.MESH) else 4.0


def draw_node(ax: Axes, cluster: Cluster, extent: Extent) -> None:
    """Draw the inside of a node of ``cluster`` into a part of the page.

    Parameters
    ----------
    ax
        Axes whose units are inches of the page.
    cluster
        Node and interfaces to draw.
    extent
        Where: left, right, bottom and top [in].
    """
    left, right, bottom, top = extent
    node = cluster.node
    height = min(top - bottom, node_height_in(node))
    middle = (bottom + top) / 2
    bottom, top = middle - height / 2, middle + height / 2
    ax.add_patch(
        Rectangle(
            (left, bottom),
            right - left,
            height,
            facecolor="none",
            edgecolor="#B5BAC1",
            linewidth=0.9,
        )
    )
    ax.text(left + 0.15, top - 0.14, f"inside {node.name}", size=12, weight="bold", va="top")
    inner = (left + 0.25, right - 0.25, bottom + NOTES_IN, top - HEADING_IN)
    drawers = {
        ScaleUp.SWITCH: _draw_switch,
        ScaleUp.PCIE: _draw_switch,
        ScaleUp.MESH: _draw_mesh,
        ScaleUp.TORUS: _draw_torus,
    }
    drawers[node.scale_up](ax, cluster, inner)
    ax.text(left + 0.15, bottom + 0.12, "\n".join(_notes(cluster)), size=SMALL, va="bottom")


def _notes(cluster: Cluster) -> list[str]:
    """Return what the links inside carry, and which interfaces there are."""
    return [_wiring(cluster.node), _interfaces(cluster)]


def _wiring(node: Node) -> str:
    rate = f"{node.bandwidth / GIGA:.4g} GB/s"
    if node.scale_up is ScaleUp.SWITCH:
        return f"switch: {rate} each way between\nany two accelerators"
    if node.scale_up is ScaleUp.PCIE:
        bridge = (node.host_bridge or 0.0) / GIGA
        return f"PCIe: {rate} each way a slot,\nall together {bridge:.4g} GB/s over the host"
    if node.scale_up is ScaleUp.MESH:
        others = node.accelerators - 1
        link = node.bandwidth / others / GIGA
        return f"mesh: {others} links of {link:.4g} GB/s each way;\na pair has one of the {rate}"
    axes = len(node.torus or ())
    link = node.bandwidth / (2 * axes) / GIGA
    shape = " x ".join(map(str, node.torus or ()))
    ends = "axes closed" if node.wrapped else "axes open"
    return f"torus {shape}, {ends}:\n{2 * axes} links of {link:.4g} GB/s each way a chip"


def _interfaces(cluster: Cluster) -> str:
    node = cluster.node
    if node.nics > node.accelerators:
        whose = f"{node.nics / node.accelerators:.3g} each"
    elif node.nics < node.accelerators:
        whose = f"one for {node.accelerators / node.nics:.3g}"
    else:
        whose = "one each"
    noun = "interface" if node.nics == 1 else "interfaces"
    return f"{node.nics:,} {noun} of {cluster.fabric.nic / GBIT_PER_S:.4g} Gbit/s, {whose}"


def _square(ax: Axes, x: float, y: float, side: float, kind: str) -> None:
    ax.add_patch(
        Rectangle(
            (x - side / 2, y - side / 2),
            side,
            side,
            facecolor=FABRIC_COLOURS[kind],
            edgecolor=INK,
            linewidth=0.7,
            zorder=3,
        )
    )


def _lines(ax: Axes, lines: list[list[tuple[float, float]]], width: float = 0.9) -> None:
    ax.add_collection(
        LineCollection(lines, colors=FABRIC_COLOURS["link"], linewidths=width, zorder=1)
    )


def _draw_switch(ax: Axes, cluster: Cluster, extent: Extent) -> None:
    """Draw rows of accelerators under what joins them; interfaces below them, or above a host."""
    left, right, bottom, top = extent
    node = cluster.node
    is_host = node.scale_up is ScaleUp.PCIE
    if is_host:
        top -= ABOVE_IN
    per_row = min(node.accelerators, MOST_IN_A_ROW)
    rows = ceil(node.accelerators / per_row)
    pitch = (right - left) / per_row
    step = min((top - bottom - BAR_IN - 0.3) / (rows + 0.2), 1.3)
    side = min(0.7 * pitch, 0.5 * step, 0.36)
    first = top - BAR_IN - 0.55 * step
    for place in range(node.accelerators):
        row, column = divmod(place, per_row)
        _square(ax, left + (column + 0.5) * pitch, first - row * step, side, "accelerator")
    if rows > 1:  # a chain of squares would look like one; a frame says that all are joined
        _frame(ax, (left, right, first - (rows - 0.5) * step, top - BAR_IN))
    else:
        xs = [left + (column + 0.5) * pitch for column in range(per_row)]
        _lines(ax, [[(x, top - BAR_IN), (x, first + side / 2)] for x in xs])
    bar = (left, right, top - BAR_IN, top)
    if is_host:
        _draw_bar(ax, bar, "host bridge")
        _draw_interfaces(ax, cluster, (left, right, top, top + ABOVE_IN), above=True)
    else:
        _draw_bar(ax, bar, "NVLink switches")
        _draw_interfaces(ax, cluster, (left, right, bottom, first - side / 2), above=False)


def _frame(ax: Axes, extent: Extent) -> None:
    left, right, bottom, top = extent
    ax.add_patch(
        Rectangle(
            (left, bottom), right - left, top - bottom, facecolor="white", edgecolor=INK, lw=0.9
        )
    )


def _draw_bar(ax: Axes, extent: Extent, text: str) -> None:
    left, right, bottom, top = extent
    ax.add_patch(
        Rectangle(
            (left, bottom),
            right - left,
            top - bottom,
            facecolor=FABRIC_COLOURS["switch"],
            edgecolor=INK,
            linewidth=0.9,
            zorder=2,
        )
    )
    ax.text((left + right) / 2, (bottom + top) / 2, text, size=SMALL, ha="center", va="center")


def _draw_interfaces(ax: Axes, cluster: Cluster, extent: Extent, *, above: bool) -> None:
    """Draw the interfaces that carry traffic apart, if they are few enough for one row.

    Below their accelerators, each joined to those it serves, or ``above`` the host that serves all.
    """
    left, right, bottom, top = extent
    count, members = interfaces_of(cluster).each, cluster.node.accelerators
    if count > MOST_IN_A_ROW:
        return
    pitch = (right - left) / count
    side = min(0.6 * pitch, 0.24)
    y = top - side / 2 if above else max(top - 0.75, bottom + 0.35)
    for number in range(count):
        x = left + (number + 0.5) * pitch
        _square(ax, x, y, side, "interface")
        served = [n for n in range(members) if n * count // members == number]
        places = [left + (n + 0.5) * (right - left) / members for n in served]
        ends = [(x, bottom)] if above else [(place, top) for place in places]
        _lines(ax, [[end, (x, y - side / 2 if above else y + side / 2)] for end in ends])
    word = "interface" if count == 1 else "interfaces"
    where = (left + side, y) if above and count == 1 else ((left + right) / 2, y - 0.3)
    ax.text(*where, word, size=SMALL, color=MUTED, ha="center", va="center")


def _draw_mesh(ax: Axes, cluster: Cluster, extent: Extent) -> None:
    """Draw the accelerators as a ring of chords, each with its interface outside."""
    left, right, bottom, top = extent
    count = min(cluster.node.accelerators, MOST_CHORDS)
    x0, y0 = (left + right) / 2, (bottom + top) / 2
    radius = min(right - left, top - bottom) / 2 - 0.3
    angles = [pi / 2 - 2 * pi * n / count for n in range(count)]
    places = [(x0 + radius * cos(a), y0 + radius * sin(a)) for a in angles]
    _lines(ax, [[one, other] for n, one in enumerate(places) for other in places[:n]])
    apart = interfaces_of(cluster).each
    for angle, (x, y) in zip(angles, places, strict=True):
        if apart >= count:
            outer = radius + 0.32
            x1, y1 = x0 + outer * cos(angle), y0 + outer * sin(angle)
            _lines(ax, [[(x, y), (x1, y1)]])
            _square(ax, x1, y1, 0.16, "interface")
        ax.add_patch(
            Circle((x, y), 0.16, facecolor=FABRIC_COLOURS["accelerator"], edgecolor=INK, zorder=3)
        )


def _draw_torus(ax: Axes, cluster: Cluster, extent: Extent) -> None:
    """Draw the plane of the first two axes, closed where it is, before the planes behind it."""
    left, right, bottom, top = extent
    shape = cluster.node.torus or (cluster.node.accelerators,)
    across, along, deep = (*shape, 1, 1)[:3]
    columns, rows = min(across, MOST_ALONG), min(along, MOST_ALONG)
    shift = 0.1 * min(deep - 1, MOST_PLANES)
    pitch = min((right - left - shift - 0.5) / columns, (top - bottom - shift - 0.5) / rows)
    x0 = (left + right - shift - pitch * columns) / 2
    y0 = (bottom + top - shift - pitch * rows) / 2
    for behind in range(min(deep - 1, MOST_PLANES), 0, -1):
        ax.add_patch(
            Rectangle(
                (x0 + 0.1 * behind, y0 + 0.1 * behind),
                pitch * columns,
                pitch * rows,
                facecolor=FABRIC_COLOURS["more"],
                edgecolor="#8A8F98",
                linewidth=0.8,
            )
        )
    plane = Rectangle(
        (x0, y0), pitch * columns, pitch * rows, facecolor="white", edgecolor="#8A8F98", lw=0.8
    )
    ax.add_patch(plane)
    _draw_plane(ax, (x0, y0), pitch, (columns, rows), wrapped=bool(cluster.node.wrapped))
    if deep > 1:
        ax.text(
            x0 + pitch * columns + shift + 0.06,
            y0 + pitch * rows + shift,
            f"x {deep}",
            size=SMALL,
            va="top",
        )


def _draw_plane(
    ax: Axes, corner: tuple[float, float], pitch: float, counts: tuple[int, int], *, wrapped: bool
) -> None:
    """Draw the chips of a plane, the links between them, and stubs where an axis is closed."""
    (x0, y0), (columns, rows) = corner, counts
    xs = [x0 + (n + 0.5) * pitch for n in range(columns)]
    ys = [y0 + (n + 0.5) * pitch for n in range(rows)]
    stub = 0.85 * pitch if wrapped else 0.0
    reach_x = stub if columns > 2 else 0.0  # noqa: PLR2004 - two neighbours have no ring
    reach_y = stub if rows > 2 else 0.0  # noqa: PLR2004 - as above
    _lines(ax, [[(xs[0] - reach_x, y), (xs[-1] + reach_x, y)] for y in ys], 0.7)
    _lines(ax, [[(x, ys[0] - reach_y), (x, ys[-1] + reach_y)] for x in xs], 0.7)
    for x in xs:
        for y in ys:
            _square(ax, x, y, 0.5 * pitch, "accelerator")
