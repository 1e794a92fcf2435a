"""CSV tables that appear whole or not at all."""

from __future__ import annotations

import csv
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

Row = dict[str, object]


def write(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Write ``rows`` to ``path`` in one stroke; columns are those of the first row."""
    if not rows:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    with unfinished.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    os.replace(unfinished, path)  # noqa: PTH105 - the atomic one


def microseconds(seconds: float) -> float:
    """Return ``seconds`` in us with two decimals, as the tables hold them."""
    return round(seconds * 1e6, 2)
