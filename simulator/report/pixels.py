"""Spans as pixels: rows of a timeline as an image, one column per pixel.

A column takes the colour of the kind that fills most of its busy time, and fades towards the idle
colour by the share of its time that is idle. So a picture of a million spans costs what one of a
thousand does, and waits that are shorter than a pixel still show.
"""

from __future__ import annotations

from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from simulator.report.palette import COLOURS
from simulator.report.spans import COMPUTE

Floats: TypeAlias = npt.NDArray[np.float64]
Integers: TypeAlias = npt.NDArray[np.intp]
Pixels: TypeAlias = npt.NDArray[np.uint8]

KINDS: Final = tuple(kind for kind in COLOURS if kind not in {"idle", "capacity"})

COMPUTE_BAND: Final = (0.0, 0.64)
COMMUNICATION_BAND: Final = (0.68, 0.88)
"""Bands of a row, as shares of its height from the top; what is left is white."""


SILENT: Final = "#F7F8F9"
"""A strip in which nothing is communicated: paler than idle compute, which costs something."""


def timeline_image(
    spans: pd.DataFrame, rows: pd.DataFrame, window_s: tuple[float, float], size: tuple[int, int]
) -> Pixels:
    """Return the spans between two times as RGB pixels, shape ``(height, width, 3)``.

    Parameters
    ----------
    spans
        Span table (`simulator.report.spans.COLUMNS`).
    rows
        Rank classes from the top down, from `simulator.report.spans.rank_rows`.
    window_s
        First and last time shown [s].
    size
        Width and height [pixels].
    """
    width, height = size
    computes = (spans["lane"] == COMPUTE).to_numpy()
    row, position = np.divmod((np.arange(height) + 0.5) / height * len(rows), 1.0)
    image = np.full((height, width, 3), 255, np.uint8)
    for (above, below), chosen, idle in (
        (COMPUTE_BAND, computes, COLOURS["idle"]),
        (COMMUNICATION_BAND, ~computes, SILENT),
    ):
        inside = (position >= above) & (position < below)
        busy = _busy(spans[chosen], rows, window_s, width)
        image[inside] = _paint(busy, idle)[row[inside].astype(np.intp)]
    return image


def occupancy(keys: Integers, start: Floats, end: Floats, shape: tuple[int, int]) -> Floats:
    """Return how much of each bin the spans of each key cover [bins], in the shape given.

    Parameters
    ----------
    keys
        Row of each span.
    start, end
        Each span [bins], the first bin starting at 0; what lies outside is cut off.
    shape
        Numbers of keys and of bins.

    Notes
    -----
    A span that never ended would cover the rest of its first bin and all of every later one. A
    span is one such less another, so a sum by bin and a running sum do for all of them at once.
    """
    n_keys, bins = shape
    covered = np.zeros(n_keys * (bins + 2))
    for edge, sign in ((start, 1.0), (end, -1.0)):
        clipped = np.clip(edge, 0.0, bins)
        first = np.floor(clipped).astype(np.intp)
        late = clipped - first
        place = keys * (bins + 2) + first
        covered += sign * np.bincount(place, 1.0 - late, covered.size)
        covered += sign * np.bincount(place + 1, late, covered.size)
    running: Floats = np.cumsum(covered.reshape(n_keys, bins + 2), axis=1)
    return running[:, :bins]


def row_codes(frame: pd.DataFrame, rows: pd.DataFrame) -> Integers:
    """Return the row of the picture on which each span or action of a table stands."""
    place = pd.Index(rows["rank_class"]).get_indexer(pd.Index(frame["rank_class"]))
    return np.asarray(place, np.intp)


def _busy(
    spans: pd.DataFrame, rows: pd.DataFrame, window_s: tuple[float, float], bins: int
) -> Floats:
    """Return the share of each bin that each kind fills, shape ``(rows, kinds, bins)``."""
    first, last = window_s
    bin_s = (last - first) / bins
    start, end = ((spans[name].to_numpy() - first) / bin_s for name in ("start_s", "end_s"))
    keys = row_codes(spans, rows) * len(KINDS) + _kind_codes(spans)
    busy = occupancy(keys, start, end, (len(rows) * len(KINDS), bins))
    return busy.reshape(len(rows), len(KINDS), bins)


def _kind_codes(spans: pd.DataFrame) -> Integers:
    codes, names = spans["kind"].factorize()
    kinds: Integers = np.array([KINDS.index(name) for name in names], np.intp)
    return kinds.take(codes)


def _paint(busy: Floats, idle: str) -> Pixels:
    """Return colours, shape ``(rows, bins, 3)``, for busy shares of ``(rows, kinds, bins)``."""
    palette = np.array([_rgb(COLOURS[kind]) for kind in KINDS])
    share = np.clip(busy.sum(axis=1), 0.0, 1.0)[..., np.newaxis]
    mixed = _rgb(idle) + share * (palette[busy.argmax(axis=1)] - _rgb(idle))
    return np.asarray(np.rint(mixed), np.uint8)


def _rgb(colour: str) -> Floats:
    return np.array(list(bytes.fromhex(colour.removeprefix("#"))), np.float64)
