"""A cluster as a picture: one unit of each level with what it stands for, and the inside of a node.

Places are inches from the left and from the bottom of the page.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from matplotlib.patches import FancyBboxPatch

from simulator.hardware.topology import topology_of
from simulator.report.node_plot import draw_node, node_height_in
from simulator.report.page import LEFT_IN, RIGHT_IN, WIDTH_IN, add_title, new_page
from simulator.report.palette import FABRIC_COLOURS, MUTED, picture_style
from simulator.units import GBIT_PER_S, KILO, MICRO, MILLI

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from simulator.hardware.cluster import Cluster
    from simulator.hardware.levels import Level
    from simulator.hardware.topology import Topology

HEADER_IN, FOOTER_IN = 1.2, 0.4
ROW_IN: Final = 1.35
"""From one level to the next."""
BOX_IN: Final = 0.5
"""Height of a unit."""
UNIT_IN: Final = (LEFT_IN, 4.55)
"""Left and right edge of the unit that is shown."""
NODE_BOX_IN: Final = 1.7
"""Width of the node among them."""
MORE_IN: Final = (4.95, 6.05)
"""Left and right edge of what stands for the others."""
WORDS_IN: Final = 6.3
"""Left edge of what is said of a level and of the links below it."""
NODE_IN: Final = (8.85, RIGHT_IN)
MOST_RAILS: Final = 8
"""Rails drawn one by one; of more, the first ones and the last."""
RAIL_GAP_IN: Final = 0.1
MOST_LINES: Final = 8
MOST_PLANES: Final = 3
BEHIND_IN: Final = 0.055
"""By how much a box behind another sticks out."""
SIZE: Final = 10.0
INK: Final = "#4A4F57"
THICK, THIN = 1.8, 1.0
ROUNDING: Final = 1e-6
"""Relative difference below which a level passes on all that enters it."""


def cluster_figure(cluster: Cluster, accelerators: int | None = None) -> Figure:
    """Return the drawing of ``cluster``, or of its first ``accelerators``.

    Left, its levels as rows: one unit of each, what stands beside it, and the links that leave it
    with their number and rate; a link that carries less than enters its unit is orange. Right, a
    node. All rates are line rates, one direction.

    Raises
    ------
    SimulatorError
        If the cluster joins fewer, or its levels do not nest.
    """
    topology = topology_of(cluster, accelerators)
    fabric_in = len(topology.network.levels) * ROW_IN + BOX_IN
    body_in = max(fabric_in, node_height_in(cluster.node))
    with picture_style():
        figure = new_page(HEADER_IN + body_in + FOOTER_IN)
        ax = figure.add_axes((0, 0, 1, 1))
        ax.set(xlim=(0, WIDTH_IN), ylim=(0, figure.get_figheight()))
        ax.set_axis_off()
        add_title(figure, cluster.name, _facts(cluster, topology))
        _Fabric(ax, cluster, topology, FOOTER_IN + (body_in - fabric_in) / 2).draw()
        draw_node(ax, cluster, (*NODE_IN, FOOTER_IN, FOOTER_IN + body_in))
    return figure


def rate_text(bandwidth: float) -> str:
    """Return a bandwidth [B/s] in bits: ``400 Gbit/s``, ``102 Tbit/s``."""
    gbit = bandwidth / GBIT_PER_S
    return f"{gbit / KILO:.3g} Tbit/s" if gbit >= KILO else f"{gbit:.4g} Gbit/s"


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: ``1 node``, ``31 nodes``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _facts(cluster: Cluster, topology: Topology) -> str:
    nodes = topology.accelerators // cluster.node.accelerators
    return (
        f"{topology.accelerators:,} x {cluster.accelerator.name} in {counted(nodes, 'node')} of "
        f"{cluster.node.accelerators:,}; line rates, each way"
    )


@dataclass(frozen=True, slots=True)
class _Box:
    """A rectangle of the drawing."""

    left: float
    right: float
    bottom: float

    @property
    def top(self) -> float:
        return self.bottom + BOX_IN

    @property
    def middle(self) -> float:
        return (self.left + self.right) / 2

    def behind(self, steps: int) -> _Box:
        """Return the box so many steps behind this one."""
        by = steps * BEHIND_IN
        return _Box(self.left + by, self.right + by, self.bottom + by)


@dataclass(frozen=True, slots=True)
class _Leaving:
    """What leaves a row upwards."""

    words: tuple[str, ...]
    narrow: bool
    thick: bool

    @property
    def colour(self) -> str:
        return FABRIC_COLOURS["narrow" if self.narrow else "link"]


class _Fabric:
    """Draws the levels of a topology above its nodes."""

    def __init__(self, ax: Axes, cluster: Cluster, topology: Topology, bottom_in: float) -> None:
        self._ax = ax
        self._cluster = cluster
        self._topology = topology
        self._network = topology.network
        self._levels = topology.network.levels
        self._bottom_in = bottom_in

    def draw(self) -> None:
        lower, beside = self._nodes()
        for depth in range(len(self._levels)):
            units = self._units(depth)
            self._links(lower, units, beside, self._leaving(depth))
            lower, beside = units, self._others(depth)

    def _row(self, row: int) -> float:
        return self._bottom_in + row * ROW_IN

    def _held(self, level: Level) -> int:
        return min(level.accelerators, self._topology.accelerators)

    def _nodes(self) -> tuple[list[_Box], _Box | None]:
        """Draw a node under the first unit; return it and what stands for the others there."""
        node = self._cluster.node
        held = self._held(self._levels[0]) // node.accelerators
        box = _Box(UNIT_IN[0], UNIT_IN[0] + NODE_BOX_IN, self._row(0))
        self._box(box, "accelerator", "node")
        self._say(box, counted(node.accelerators, "accelerator"))
        return [box], self._more(held - 1, 0)

    def _units(self, depth: int) -> list[_Box]:
        """Draw one unit of a level, by rail where these meet further up only; return its boxes."""
        level, rails = self._levels[depth], self._network.rails(depth)
        outermost = depth == len(self._levels) - 1
        right = MORE_IN[1] if outermost else UNIT_IN[1]
        whole = _Box(UNIT_IN[0], right, self._row(depth + 1))
        self._say(
            whole, counted(self._held(level), "accelerator") + (f" a {level.name}" * (rails > 1))
        )
        if rails == 1:
            self._switch(whole, level.name)
            return [whole]
        shown = min(rails, MOST_RAILS)
        pitch = (right - whole.left + RAIL_GAP_IN) / shown
        boxes = []
        for number in range(shown):
            left = whole.left + number * pitch
            boxes.append(_Box(left, left + pitch - RAIL_GAP_IN, whole.bottom))
            self._switch(boxes[-1], _rail(number, shown, rails))
        return boxes

    def _others(self, depth: int) -> _Box | None:
        """Draw what stands for the other units of a level in the unit above."""
        if depth == len(self._levels) - 1:
            return None
        level, above = self._levels[depth : depth + 2]
        return self._more(-(-self._held(above) // level.accelerators) - 1, depth + 1)

    def _more(self, count: int, row: int) -> _Box | None:
        if count < 1:
            return None
        box = _Box(*MORE_IN, self._row(row))
        for steps in range(min(count - 1, 2), 0, -1):
            self._box(box.behind(steps), "more", "")
        self._box(box, "more", f"x {count:,} more")
        return box

    def _switch(self, box: _Box, text: str) -> None:
        """Draw a switch of one or several planes."""
        planes = min(self._network.planes, MOST_PLANES)
        for steps in range(planes - 1, 0, -1):
            self._box(box.behind(steps), "switch", "")
        self._box(box, "switch", text)

    def _links(
        self, lower: list[_Box], upper: list[_Box], beside: _Box | None, leaving: _Leaving
    ) -> None:
        """Draw and label the links between two rows."""
        single = len(lower) == 1
        ports = self._network.interfaces.each if lower[0].bottom == self._row(0) else 1
        lines = min(ports, MOST_LINES) if single else len(lower)
        for number in range(lines):
            below, above = lower[number % len(lower)], upper[number % len(upper)]
            share = (number + 0.5) / lines
            start = below.left + share * (below.right - below.left) if single else below.middle
            end = above.middle if len(upper) > 1 else start
            self._line((start, below.top), (end, above.bottom), leaving)
        if beside is not None:
            end = beside.middle if upper[-1].right >= beside.right else upper[-1].right - 0.12
            self._line((beside.middle, beside.top), (end, upper[-1].bottom), leaving)
        self._ax.text(
            WORDS_IN,
            (lower[0].top + upper[0].bottom) / 2,
            "\n".join(leaving.words),
            size=SIZE,
            va="center",
            color=leaving.colour if leaving.narrow else MUTED,
        )

    def _leaving(self, depth: int) -> _Leaving:
        """Return what leaves the row below the level at ``depth``."""
        network = self._network
        planes = (f"{network.planes} planes",) if network.planes > 1 else ()
        if depth == 0:
            ports = (f"{network.planes} ports",) if network.planes > 1 else ()
            many = " x ".join((counted(network.nics, "interface"), *ports))
            rate, whole = network.nic / network.planes, network.nics * network.nic
            words = (many, f"of {rate_text(rate)} = {rate_text(whole)} a node")
            return _Leaving(words, narrow=False, thick=False)
        level, rails = self._levels[depth - 1], network.rails(depth - 1)
        links = int(self._topology.width[self._topology.first[f"{level.name} up"]])
        by_rail = (f"{rails} rails",) if rails > 1 else ()
        many = " x ".join((*by_rail, *planes, counted(links // network.planes, "link")))
        ratio = self._entering(depth - 1) / level.uplink
        narrow = ratio > 1 + ROUNDING
        how = (f"{ratio:.3g}:1" if narrow else "non-blocking", *_latency(self._levels[depth]))
        total = f"of {rate_text(level.link)}"
        if level.uplink > level.link:
            total += f" = {rate_text(level.uplink)}"
        return _Leaving((many, total, ", ".join(how)), narrow=narrow, thick=not narrow)

    def _entering(self, depth: int) -> float:
        """Return what enters one unit of a level from below [B/s]."""
        level = self._levels[depth]
        if depth == 0:
            return level.accelerators * self._cluster.nic_bandwidth
        below = self._levels[depth - 1]
        return level.accelerators / below.accelerators * below.uplink

    def _say(self, box: _Box, text: str) -> None:
        middle = (box.bottom + box.top) / 2
        self._ax.text(WORDS_IN, middle, text, size=SIZE, weight="bold", va="center")

    def _box(self, box: _Box, kind: str, text: str) -> None:
        more = kind == "more"
        self._ax.add_patch(
            FancyBboxPatch(
                (box.left, box.bottom),
                box.right - box.left,
                BOX_IN,
                boxstyle="round,pad=0,rounding_size=0.05",
                facecolor=FABRIC_COLOURS[kind],
                edgecolor=MUTED if more else INK,
                linestyle="--" if more else "-",
                linewidth=0.9,
                zorder=2,
            )
        )
        middle = (box.bottom + box.top) / 2
        self._ax.text(box.middle, middle, text, size=SIZE, ha="center", va="center", zorder=3)

    def _line(
        self, start: tuple[float, float], end: tuple[float, float], leaving: _Leaving
    ) -> None:
        width = THICK if leaving.thick else THIN
        self._ax.plot(
            *zip(start, end, strict=True), color=leaving.colour, linewidth=width, zorder=1
        )


def _rail(number: int, shown: int, rails: int) -> str:
    """Return the label of a rail's switch; one stands for all that are not shown."""
    if rails > shown and number == shown - 2:
        return "…"
    return f"rail\n{rails if number == shown - 1 else number + 1}"


def _latency(level: Level) -> tuple[str, ...]:
    """Return the latency that crossing a level adds, if any."""
    if level.latency <= 0:
        return ()
    size, unit = (MILLI, "ms") if level.latency >= MILLI else (MICRO, "µs")
    return (f"adds {level.latency / size:.3g} {unit}",)
