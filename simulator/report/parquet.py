"""Spans as Parquet and summaries as JSON: the same content gives the same bytes."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from simulator.errors import OutputError
from simulator.report.spans import COLUMNS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import pandas as pd
    import pyarrow as pa


def write_spans(spans: pd.DataFrame, path: Path, metadata: Mapping[str, Any]) -> None:
    """Write a span table as Parquet; every column carries its unit and meaning.

    Parameters
    ----------
    spans
        Span table (`simulator.report.spans.COLUMNS`).
    path
        Where.
    metadata
        Facts about the whole table, such as scenario and versions; values are written as JSON.

    Notes
    -----
    Names are stored as dictionaries in order of first appearance, so that the bytes depend on the
    content alone and not on how pandas numbered its categories. Columns read back as categories.
    """
    import pyarrow as pa  # noqa: PLC0415 - loaded only when a table is written
    import pyarrow.parquet as pq  # noqa: PLC0415 - as above

    facts = {key: json.dumps(value) for key, value in metadata.items()}
    arrays = [_column(spans[name]) for name in COLUMNS]
    fields = [
        pa.field(
            name,
            array.type,
            nullable=False,
            metadata={"unit": column.unit, "description": column.meaning},
        )
        for (name, column), array in zip(COLUMNS.items(), arrays, strict=True)
    ]
    table = pa.table(arrays, schema=pa.schema(fields, metadata=facts))
    pq.write_table(table, path, compression="zstd")


def write_columns(frame: pd.DataFrame, path: Path, metadata: Mapping[str, Any]) -> None:
    """Write a table of numbers, units in the names of its columns, as Parquet.

    Parameters
    ----------
    frame
        Numbers.
    path
        Where.
    metadata
        Facts about the whole table; values are written as JSON.
    """
    import pyarrow as pa  # noqa: PLC0415 - as above
    import pyarrow.parquet as pq  # noqa: PLC0415 - as above

    facts = {key: json.dumps(value) for key, value in metadata.items()}
    columns = {name: pa.array(values.to_numpy()) for name, values in frame.items()}
    pq.write_table(pa.table(columns, metadata=facts), path, compression="zstd")


def _column(values: pd.Series[Any]) -> pa.Array:
    """Return a column as an Arrow array: names as dictionaries, numbers as they are."""
    import pyarrow as pa  # noqa: PLC0415 - as above

    if values.dtype.kind in "iuf":
        return pa.array(values.to_numpy())
    codes, names = values.factorize()
    return pa.DictionaryArray.from_arrays(
        codes.astype(np.int32), pa.array(list(names), pa.string())
    )


def write_json(summary: Mapping[str, Any], path: Path) -> None:
    """Write a summary as indented JSON, keys in the order given.

    Raises
    ------
    OutputError
        If a number is not finite: JSON has no word for it.
    """
    for where, number in _numbers(summary, ""):
        if not math.isfinite(number):
            raise OutputError(f"{path.name}: {where} is {number}; JSON holds finite numbers only")
    text = json.dumps(summary, indent=2, ensure_ascii=False, allow_nan=False, default=_plain)
    path.write_text(text + "\n", encoding="utf-8")


def _numbers(value: object, where: str) -> Iterator[tuple[str, float]]:
    """Yield every float of a document with its dotted path."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _numbers(item, f"{where}.{key}".lstrip("."))
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from _numbers(item, f"{where}[{index}]")
    elif isinstance(value, (float, np.floating)):
        yield where, float(value)


def _plain(value: object) -> object:
    """Return a numpy scalar as the Python number that JSON can write."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"a summary holds plain values only, not {type(value).__name__}")
