"""Tables of measurements as a user gives them: read as text, recognised by their columns."""

from __future__ import annotations

from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from simulator.errors import DocumentError
from simulator.hardware.operator_tables import EXCHANGES
from simulator.validation.collectives import REQUIRED

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import pandas as pd


class TableKind(StrEnum):
    """What the rows of a table are."""

    RUNS = "runs"
    COLLECTIVES = "collectives"
    OPERATORS = "operators"
    STEPS = "steps"


MARKS: Final[tuple[tuple[TableKind, frozenset[str]], ...]] = (
    (TableKind.RUNS, frozenset({"run_id", "source", "model", "accelerator", "n_accel"})),
    (TableKind.COLLECTIVES, frozenset(REQUIRED)),
    (TableKind.STEPS, frozenset({"model", "n_layers", "seq", "mbs", "grad_accum", "step_ms"})),
    (TableKind.OPERATORS, frozenset({"dtype", "pass", "m", "n", "k", "time_us"})),
    (TableKind.OPERATORS, frozenset({"gemm_dtype", "m", "n", "k", "time_us"})),
    (TableKind.OPERATORS, frozenset({"backend", "pass", "heads", "seq", "head_dim", "time_us"})),
    (TableKind.OPERATORS, frozenset({"experts", "tokens_per_expert", "n", "k", "time_us"})),
    (TableKind.OPERATORS, frozenset({"op", "rows", "cols", "bytes_moved", "time_us"})),
    (
        TableKind.OPERATORS,
        frozenset({"node_num", "hidden_size", "num_token", "num_topk", "num_experts"})
        | {f"{name}_{part}" for name in EXCHANGES for part in ("sms", "transmit_us", "notify_us")},
    ),
)
"""Columns that make a table one of a kind; it may have more."""

FAMILIES: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        "gemm": frozenset({"m", "n", "k"}),
        "attention": frozenset({"heads", "head_dim"}),
        "grouped_gemm": frozenset({"experts", "tokens_per_expert"}),
        "pointwise": frozenset({"bytes_moved"}),
        "exchange": frozenset({"num_token", "num_topk"}),
    }
)
"""Operators of a table by columns of its own, in the order in which they are looked for."""


def read_table(path: Path) -> pd.DataFrame:
    """Return a CSV file as text, cell by cell: empty stays empty, ``1.0`` stays ``1.0``.

    Raises
    ------
    DocumentError
        If it cannot be read, is not a CSV or has no rows.
    """
    import pandas as pd  # noqa: PLC0415 - slow, and --help must not pay for it

    try:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    except OSError as error:
        raise DocumentError(f"{path}: {error.strerror or error}") from None
    except (UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise DocumentError(f"{path}: not a CSV table: {error}") from None
    if frame.empty:
        raise DocumentError(f"{path}: the table has no rows")
    return frame


def rows_of(table: pd.DataFrame) -> list[dict[str, str]]:
    """Return the rows of a table as text, each by column."""
    return [
        {str(name): str(cell) for name, cell in row.items()} for row in table.to_dict("records")
    ]


def kind_of(frame: pd.DataFrame, path: Path) -> TableKind:
    """Return what the rows of a table are, by its columns.

    Parameters
    ----------
    frame
        The table.
    path
        Where it stands; the message names it.

    Raises
    ------
    DocumentError
        If it is no table of measurements that is known here.
    """
    columns = frozenset(frame.columns)
    for kind, marks in MARKS:
        if marks <= columns:
            return kind
    known = "\n".join(f"  {kind}: {', '.join(sorted(marks))}" for kind, marks in MARKS)
    raise DocumentError(f"{path}: no known table of measurements; columns needed are\n{known}")


def family_of(frame: pd.DataFrame) -> str:
    """Return which of `FAMILIES` the operators of a table are; the kind must be operators."""
    columns = frozenset(frame.columns)
    return next(name for name, marks in FAMILIES.items() if marks <= columns)
