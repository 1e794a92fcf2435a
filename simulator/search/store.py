"""Results on disk while a search runs: one complete file for each chunk, so that it can resume."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from simulator import __version__
from simulator.errors import OutputError
from simulator.report.files import DISK_ERRORS
from simulator.search.evaluate import RESULT
from simulator.search.table import columns_of

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from simulator.scenario import Scenario
    from simulator.search.candidates import Rows

PARTS: Final = "parts"
"""Folder of the finished chunks, in a search's directory."""
IDENTITY: Final = "search.json"
"""File of the parts that tells which search they belong to."""


class Store:
    """The parts of one search; files appear complete or not at all."""

    def __init__(self, directory: Path, scenario: Scenario, rows: Rows) -> None:
        """Open the parts in ``directory``, or begin them.

        Raises
        ------
        OutputError
            If they cannot be written, or belong to another search.
        """
        self._folder = directory / PARTS
        self._scenario = scenario
        identity = {"version": __version__, "layouts": len(rows), "digest": digest(scenario, rows)}
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._claim(directory, identity)
        except OSError as error:
            raise OutputError(
                f"results cannot be written to {directory}: {error.strerror}"
            ) from error

    def read(self, number: int, rows: Rows) -> NDArray[np.void] | None:
        """Return the results of a chunk of candidates, None if it was not finished."""
        import pyarrow.parquet as pq  # noqa: PLC0415 - loaded only when results are kept

        path = self._path(number)
        if not path.is_file():
            return None
        table = pq.read_table(path, columns=["step_time_s", "peak_memory_bytes", "peak_stage"])
        if len(table) != len(rows):
            raise OutputError(f"{path}: holds {len(table)} layouts, not {len(rows)}; remove it")
        results = np.zeros(len(rows), dtype=RESULT)
        for name, column in zip(RESULT.names or (), table.columns, strict=True):
            results[name] = column.to_numpy()
        return results

    def write(self, number: int, rows: Rows, results: NDArray[np.void]) -> None:
        """Keep the results of a chunk.

        Raises
        ------
        OutputError
            If the disk is full or cannot be written.
        """
        import pyarrow as pa  # noqa: PLC0415 - as above
        import pyarrow.parquet as pq  # noqa: PLC0415 - as above

        columns = columns_of(self._scenario, rows, results)
        columns["peak_memory_bytes"] = results["peak_memory"]
        path = self._path(number)
        half = path.with_suffix(".half")
        try:
            pq.write_table(pa.table(columns), half, compression="zstd")
            half.replace(path)
        except OSError as error:
            half.unlink(missing_ok=True)
            if error.errno not in DISK_ERRORS:
                raise
            raise OutputError(f"{path} cannot be written: {error.strerror}") from error

    def _path(self, number: int) -> Path:
        return self._folder / f"part-{number:06d}.parquet"

    def _claim(self, directory: Path, identity: dict[str, Any]) -> None:
        """Write which search the parts belong to, or refuse those of another."""
        file = self._folder / IDENTITY
        if not file.is_file():
            half = file.with_suffix(".half")
            half.write_text(json.dumps(identity, indent=2) + "\n", encoding="utf-8")
            half.replace(file)
            return
        try:
            found = json.loads(file.read_text(encoding="utf-8"))
        except ValueError:
            found = None
        if found != identity:
            raise OutputError(
                f"{directory} holds another search (its scenario, space or version differs); "
                f"choose another directory or remove {self._folder}"
            )


def digest(scenario: Scenario, rows: Rows) -> str:
    """Return what two searches have in common only if they are the same."""
    text = hashlib.sha256(repr(scenario).encode())
    text.update(rows.tobytes())
    return text.hexdigest()
