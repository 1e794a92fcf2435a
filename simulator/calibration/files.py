"""Profiles that calibration writes: each file whole or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulator.report.files import OutputDirectory

if TYPE_CHECKING:
    from pathlib import Path


def write_profile(text: str, file: Path) -> None:
    """Write a profile into ``file``; its directories are made as needed.

    Raises
    ------
    OutputError
        If it cannot be written; a file that was there is as before.
    """
    with OutputDirectory(file.parent) as directory:
        directory.path(file.name).write_text(text, encoding="utf-8")
