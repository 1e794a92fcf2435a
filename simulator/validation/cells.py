"""The cells of a table's row, and what stands for the empty and the wrong ones."""

from __future__ import annotations

from dataclasses import dataclass, field
from fnmatch import fnmatch
from typing import TYPE_CHECKING

from simulator.errors import SimulatorError
from simulator.fields import LARGEST_COUNT
from simulator.validation.sources import run_name

if TYPE_CHECKING:
    from simulator.validation.sources import Source

Row = dict[str, str]
"""A row of the table as text; empty where the source does not say."""


class UnsupportedError(SimulatorError):
    """A row that describes something that is not simulated."""


class InvalidError(SimulatorError):
    """A row that contradicts itself or lacks what no default can replace."""


@dataclass
class Cells:
    """The cells of a row, with what was taken for empty and for wrong ones."""

    row: Row
    source: Source
    assumed: dict[str, str] = field(default_factory=dict)

    def text(self, column: str) -> str:
        """Return a cell, or what corrects it; the source's default if it is empty, else nothing."""
        value = self.row.get(column, "").strip()
        for correction in self.source.corrections:
            if correction.column == column and fnmatch(run_name(self.row), correction.runs):
                self.assumed[column] = f"{correction.value} (the table: {value or 'nothing'})"
                return correction.value
        if value or column not in self.source.defaults:
            return value
        default = self.source.defaults[column]
        self.assumed[column] = default
        return default

    def needed(self, column: str) -> str:
        """Return a cell that no row can do without.

        Raises
        ------
        InvalidError
            If it is empty and the source has no default.
        """
        value = self.text(column)
        if not value:
            raise InvalidError(f"{column} is empty, and the source {self.row['source']} gives none")
        return value

    def count(self, column: str) -> int:
        """Return a cell as a whole number from 1 on.

        Raises
        ------
        InvalidError
            If it is empty or no such number.
        """
        value = self.needed(column)
        try:
            number = float(value)
        except ValueError:
            raise InvalidError(f"{column} must be a number, got {value!r}") from None
        if not (1 <= number <= LARGEST_COUNT and number.is_integer()):
            raise InvalidError(f"{column} must be a whole number, 1 or more, got {value!r}")
        return int(number)

    def count_if_given(self, column: str) -> int | None:
        """Return a cell as `count` does; None if it is empty."""
        return self.count(column) if self.text(column) else None

    def flag(self, column: str) -> bool:
        """Return a cell as true or false; empty is false."""
        return self.text(column).lower() in ("true", "1", "1.0", "yes")
