"""Colours with one fixed meaning in every picture, and the style that pictures share."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from simulator.errors import OutputError
from simulator.report.files import OutputDirectory

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager

    from matplotlib.figure import Figure

COLOURS: Final[Mapping[str, str]] = MappingProxyType(
    {
        # Okabe-Ito. A whole backward is orange, its halves the neighbours on either side;
        # recomputation is a paler forward.
        "forward": "#0072B2",
        "backward": "#E69F00",
        "input_gradient": "#D55E00",
        "weight_gradient": "#F0E442",
        "recompute": "#56B4E9",
        "optimizer": "#333333",
        "tensor": "#CC79A7",
        "pipeline": "#009E73",
        # Okabe-Ito ends at eight: four hues of Tol's muted scheme.
        "context": "#999933",
        "expert": "#882255",
        "data": "#332288",
        "offload": "#DDCC77",
        "other": "#BBBBBB",
        "idle": "#E8EAED",
        "capacity": "#000000",
    }
)
"""Hex colour by span kind, plus idle time and the memory capacity.

References
----------
Okabe and Ito 2008, "Color Universal Design"; Tol 2021, SRON/EPS/TN/09-002, "muted" scheme.
"""

MEMORY_COLOURS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "weights": "#0072B2",
        "gradients": "#E69F00",
        "optimizer": "#333333",
        "activations": "#56B4E9",
        "logits": "#009E73",
        "working": "#999933",
        "buffers": "#CC79A7",
        "fragmentation": "#F0E442",
        "framework": "#BBBBBB",
    }
)
"""Hex colour by component of a stage's memory, in stacking order."""

FABRIC_COLOURS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "accelerator": "#9CCBEA",
        "interface": "#A9D8C4",
        "switch": "#E8EAED",
        "link": "#7A7F87",
        "narrow": "#D55E00",
        "more": "#F6F7F8",
    }
)
"""Hex colour by what a drawing of a cluster shows; a narrow link carries less than enters it."""

HUES: Final = (
    *("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#332288", "#999933"),
)
"""Colours without a meaning of their own, for lines and sources: Okabe-Ito without its yellow,
which white paper swallows, and two of Tol's."""

ALARM: Final = "#B3261E"
"""What does not fit."""

MUTED: Final = "#666666"
"""Secondary text."""

EQUAL_CONTRAST: Final = 0.179
"""Relative luminance on which black and white text stand out alike."""

STYLE: Final = Path(__file__).with_name("style.mplstyle")

_UNDATED: Final[Mapping[str, dict[str, None]]] = MappingProxyType(
    {".png": {}, ".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
)
"""Metadata that leave out when a picture was written, by its format."""


def picture_style() -> AbstractContextManager[None]:
    """Return a context in which matplotlib draws in the style of the report.

    Leaving it restores every setting: nothing global changes for a program that embeds this one.
    """
    import matplotlib as mpl  # noqa: PLC0415 - a run without pictures never pays for this import

    return mpl.rc_context(fname=STYLE)


def is_light(colour: str) -> bool:
    """Return whether black text reads better than white on a hex colour.

    References
    ----------
    WCAG 2.2, relative luminance and contrast ratio: the two contrasts meet at 0.179.
    """
    shares = (value / 255 for value in bytes.fromhex(colour.removeprefix("#")))
    red, green, blue = (
        share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4  # noqa: PLR2004
        for share in shares
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue > EQUAL_CONTRAST


def require_picture(path: Path) -> None:
    """Refuse a name that tells no format, before anything is drawn.

    Raises
    ------
    OutputError
        If the suffix is none that `write_figure` knows.
    """
    if path.suffix not in _UNDATED:
        raise OutputError(f"{path}: a picture's name ends in {', '.join(_UNDATED)}")


def write_picture(figure: Figure, path: Path) -> None:
    """Write a figure as a file of its own, whole or not at all; directories are made as needed.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    with OutputDirectory(path.parent) as directory:
        write_figure(figure, directory.path(path.name))


def write_figure(figure: Figure, path: Path) -> None:
    """Write a figure as SVG, PDF or PNG; the same figure gives the same bytes.

    Parameters
    ----------
    figure
        What to draw.
    path
        Where; the suffix chooses the format.
    """
    undated: dict[str, Any] = dict(_UNDATED[path.suffix])
    with picture_style():
        figure.savefig(path, metadata=undated)
