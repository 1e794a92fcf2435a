"""A step as a picture: one row per stage, what it computes, when it waits, what it communicates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt
from matplotlib.collections import PathCollection
from matplotlib.image import AxesImage
from matplotlib.patches import Polygon
from matplotlib.textpath import TextPath
from matplotlib.transforms import Affine2D, IdentityTransform

from simulator.report.page import (
    LEFT_IN,
    RIGHT_IN,
    add_legend,
    add_panel,
    add_title,
    label_rows,
    new_page,
    panel_height,
)
from simulator.report.palette import COLOURS, MUTED, is_light, picture_style
from simulator.report.pixels import (
    COMMUNICATION_BAND,
    COMPUTE_BAND,
    KINDS,
    row_codes,
    timeline_image,
)
from simulator.report.quantities import percent_text, time_text, time_unit
from simulator.report.spans import COMPUTE, actions, rank_rows
from simulator.report.tables import headline_convention

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.backend_bases import RendererBase
    from matplotlib.figure import Figure
    from matplotlib.transforms import Bbox

    from simulator.report.pixels import Pixels

Window: TypeAlias = tuple[float, float]

HEADER_IN, GAP_IN, FOOTER_IN = 1.62, 0.66, 0.62
BANDS: Final = ("compute", "communication")
LEGEND_IN: Final = (0.96, 1.24)
"""Lines of the legend from the top of the page, one for each band of a row."""

WARM_UP_SHARE: Final = 0.06
"""Share of the step that the lower panel shows, unless the pipeline fills more slowly."""
WIDEST_WARM_UP: Final = 0.5
"""A lower panel with more of the step than this would repeat the upper one."""

FUNNEL: Final = "#F1F2F4"
"""Between the panels: which part of the upper one the lower one enlarges."""
INK: Final = {kind: "black" if is_light(COLOURS[kind]) else "white" for kind in KINDS}
"""Colour of the numbers on an action."""
PASSES: Final = {
    "F": "forward",
    "B": "backward",
    "I": "input_gradient",
    "W": "weight_gradient",
}
"""Kind by action: the colour behind its number, whatever the action ends with."""
HALO_WIDTH: Final = 1.5
"""Outline around the numbers: they stay legible where an action waits for communication."""
NUMBER_SIZE: Final = 8.0
DIGIT_WIDTH: Final = 0.65
"""Width of a digit over the size of the font."""
MOST_LABELS: Final = 20
"""Rows that are labelled: as many lines of text as the lowest panel has room for."""
MOST_NUMBERS: Final = 450
"""Numbers in a panel: more are noise on a slide, and 2 kB each in an SVG."""
POINTS_PER_INCH: Final = 72
OPAQUE: Final = 255


class PixelImage(AxesImage):
    """A colour for each pixel of some axes, which is drawn as it is where those pixels are drawn.

    Where there are more or fewer of them (another resolution, a page of vectors) it is scaled.
    """

    def __init__(self, ax: Axes, image: Pixels, extent: tuple[float, float, float, float]) -> None:
        """Take the RGB image of some axes and its edges on them: left, right, bottom, top."""
        super().__init__(ax, extent=extent, interpolation="none", origin="upper")
        self._pixels = np.dstack([image, np.full(image.shape[:2], OPAQUE, image.dtype)])
        self.set_data(self._pixels)
        self.set_clip_path(ax.patch)

    def draw(self, renderer: RendererBase) -> None:
        """Draw the image, scaled only if it has to be: that takes longer than all else."""
        box = self.axes.get_window_extent(renderer)
        if renderer.option_scale_image() or _size(box) != self._pixels.shape[1::-1]:
            super().draw(renderer)
            return
        graphics = renderer.new_gc()
        renderer.draw_image(graphics, round(box.x0), round(box.y0), self._pixels[::-1])
        graphics.restore()
        self.stale = False


def timeline_figure(spans: pd.DataFrame, summary: Mapping[str, Any]) -> Figure:
    """Return the timeline of a step and, below it, its warm-up enlarged.

    Parameters
    ----------
    spans
        Span table (`simulator.report.spans.COLUMNS`).
    summary
        Summary of the same step: scenario, step time [s], MFU, bubble and schedule are its title.
    """
    step_time_s = summary["step_time_s"]
    warm_up = warm_up_window(spans, step_time_s)
    panel_in = panel_height(len(rank_rows(spans)), row_in=(0.09, 0.36), most_in=2.85)
    below_in = 0.0 if warm_up is None else panel_in + GAP_IN
    with picture_style():
        figure = new_page(HEADER_IN + panel_in + below_in + FOOTER_IN)
        whole = add_panel(figure, LEFT_IN, RIGHT_IN, FOOTER_IN + below_in, panel_in)
        plot_timeline(spans, whole, step_time_s)
        if warm_up is not None:
            enlarged = add_panel(figure, LEFT_IN, RIGHT_IN, FOOTER_IN, panel_in)
            plot_timeline(spans, enlarged, step_time_s, window_s=warm_up)
            whole.set_xlabel("")
            _join(figure, whole, enlarged, share=warm_up[1] / step_time_s)
        add_title(figure, summary["scenario"], _facts(summary))
        _name_colours(figure, spans)
    return figure


def plot_timeline(
    spans: pd.DataFrame, ax: Axes, step_time_s: float, *, window_s: Window | None = None
) -> Axes:
    """Draw the spans between two times of a step, one row per rank class, by stage.

    The upper part of a row is the compute lane, the strip below it all that is communicated
    meanwhile. Actions carry their micro-batch where they all have room for it.

    Parameters
    ----------
    spans
        Span table (`simulator.report.spans.COLUMNS`).
    ax
        Where to draw; its size in pixels is the resolution of the picture.
    step_time_s
        Length of the step [s].
    window_s
        First and last time shown [s]; without it the whole step.
    """
    rows = rank_rows(spans)
    first, last = (0.0, step_time_s) if window_s is None else window_s
    size_s, unit = time_unit(last - first)
    image = timeline_image(spans, rows, (first, last), _size(ax.get_window_extent()))
    extent = (first / size_s, last / size_s, len(rows), 0)
    ax.set(xlim=extent[:2], ylim=extent[2:])
    ax.add_image(PixelImage(ax, image, extent))
    _number_actions(spans, rows, ax, (first, last))
    ax.set_xlabel(f"time in the step [{unit}]")
    middle = (COMPUTE_BAND[0] + COMMUNICATION_BAND[1]) / 2
    label_rows(ax, rows["label"].tolist(), middle, MOST_LABELS)
    return ax


def warm_up_window(spans: pd.DataFrame, step_time_s: float) -> Window | None:
    """Return the first moments of a step [s], enough to watch its pipeline fill.

    None if that is most of the step.
    """
    works = (spans["lane"] == COMPUTE) & (spans["action"] != "")
    first_s = spans[works].groupby("rank_class")["start_s"].min().max() if works.any() else 0.0
    end_s = max(WARM_UP_SHARE * step_time_s, 2.0 * float(first_s))
    return (0.0, end_s) if end_s <= WIDEST_WARM_UP * step_time_s else None


def _size(box: Bbox) -> tuple[int, int]:
    """Return width and height of a box [pixels]."""
    return round(box.width), round(box.height)


def _facts(summary: Mapping[str, Any]) -> str:
    ideal, convention = percent_text(summary["bubble_fraction_ideal"]), headline_convention(summary)
    facts = (
        f"step {time_text(summary['step_time_s'])}",
        f"MFU {percent_text(summary['mfu'][convention])} ({convention})",
        f"bubble {percent_text(summary['bubble_fraction'])} (ideal {ideal})",
        summary["schedule"],
    )
    return "   ·   ".join(facts)


def _name_colours(figure: Figure, spans: pd.DataFrame) -> None:
    """Name the colours in use: those of the upper band, then those of the strip below it."""
    computes = spans["lane"] == COMPUTE
    upper = {*spans["kind"][computes].unique(), "idle"}
    strip = {*spans["kind"][~computes].unique()}
    for heading, used, top_in in zip(BANDS, (upper, strip), LEGEND_IN, strict=True):
        names = {name.replace("_", " "): COLOURS[name] for name in COLOURS if name in used}
        add_legend(figure, names, LEFT_IN, top_in, heading=heading)


def _join(figure: Figure, whole: Axes, enlarged: Axes, share: float) -> None:
    """Show with a pale funnel which share of the upper panel the lower one enlarges."""
    above, below = whole.get_position(), enlarged.get_position()
    end = above.x0 + share * above.width
    corners = [(above.x0, above.y0), (end, above.y0), (below.x1, below.y1), (below.x0, below.y1)]
    figure.add_artist(Polygon(corners, color=FUNNEL, linewidth=0, zorder=-1))
    whole.axvline(share * whole.get_xlim()[1], color=MUTED, linewidth=0.8)


def _number_actions(spans: pd.DataFrame, rows: pd.DataFrame, ax: Axes, window_s: Window) -> None:
    """Part the actions and write its micro-batch on each, if the panel has room for them."""
    box = ax.get_window_extent()
    points = POINTS_PER_INCH / ax.figure.dpi
    if box.height * points * COMPUTE_BAND[1] / len(rows) < NUMBER_SIZE:
        return
    runs = actions(spans)
    start, end = runs["start_s"].clip(*window_s), runs["end_s"].clip(*window_s)
    text = runs["micro_batch"].astype(str)
    room = (end - start) * box.width * points / (window_s[1] - window_s[0])
    fits = (room > NUMBER_SIZE * (DIGIT_WIDTH * text.str.len() + 0.4)).to_numpy()
    if fits.sum() > MOST_NUMBERS:
        return
    size_s, _ = time_unit(window_s[1] - window_s[0])
    top = row_codes(runs, rows)[fits]
    ax.vlines(start[fits] / size_s, top, top + COMPUTE_BAND[1], color="white", linewidth=0.6)
    x, y = (start + end)[fits] / 2 / size_s, top + sum(COMPUTE_BAND) / 2
    written = np.char.add(runs["action"][fits].to_numpy(str), text[fits].to_numpy(str))
    for label in np.unique(written):
        kind = PASSES[label[0]]
        here = written == label
        _write(ax, label[1:], INK[kind], COLOURS[kind], np.column_stack([x[here], y[here]]))


def _write(ax: Axes, text: str, ink: str, halo: str, places: npt.NDArray[np.float64]) -> None:
    """Write one text at many places: its outline once, which draws many times faster than texts."""
    outline = TextPath((0.0, 0.0), text, size=NUMBER_SIZE)
    extent = outline.get_extents()
    centred = Affine2D().translate(-(extent.x0 + extent.x1) / 2, -(extent.y0 + extent.y1) / 2)
    for colour, width in ((halo, HALO_WIDTH), (ink, 0.0)):
        ax.add_collection(
            PathCollection(
                [centred.transform_path(outline)],
                sizes=(1.0,),  # the outline's unit is a point
                facecolor=colour,
                edgecolor=colour,
                linewidth=width,
                offsets=places,
                offset_transform=ax.transData,
                transform=IdentityTransform(),
            ),
            autolim=False,
        )
