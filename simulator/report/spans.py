"""The span table that every picture and file here starts from: its columns, rows and actions."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd


@dataclass(frozen=True, slots=True)
class Column:
    """What one column of the span table holds, and in which unit (empty: a name or a count)."""

    unit: str
    meaning: str


COLUMNS: Final[Mapping[str, Column]] = MappingProxyType(
    {
        "rank_class": Column("", "class of ranks that behave alike"),
        "stage": Column("", "pipeline stage"),
        "lane": Column("", "serial resource of the rank that the span occupies"),
        "kind": Column("", "what the time is spent on; one colour each"),
        "action": Column(
            "", "F forward, B backward, I input gradient, W weight gradient, or empty"
        ),
        "name": Column("", "operator or collective"),
        "micro_batch": Column("", "index of the micro-batch; -1 none"),
        "chunk": Column("", "index of the virtual stage on its stage; -1 none"),
        "layer": Column("", "index of the layer; -1 none"),
        "start_s": Column("s", "start, from the beginning of the step"),
        "end_s": Column("s", "end, from the beginning of the step"),
        "n_bytes": Column("B", "bytes communicated; 0 for compute"),
        "peer": Column("", "receiving rank class of a send; -1 none"),
        "flow": Column("", "pairs a send with the span that it releases at its peer; -1 none"),
    }
)
"""Columns of a span table, in order."""

LANES: Final = (
    "compute",
    "tensor",
    "context",
    "expert",
    "pipeline_send",
    "pipeline_receive",
    "data",
    "host_to_device",
    "device_to_host",
    "storage",
    "host",
    "islands",
    "data_reduce",
    "data_broadcast",
)
"""Lanes of a rank, from the top of a picture down."""

COMPUTE: Final = LANES[0]


def rank_rows(spans: pd.DataFrame) -> pd.DataFrame:
    """Return one row per rank class, by stage: ``rank_class``, ``stage`` and ``label``.

    The label is ``stage 3``, or ``3 class 19`` where a stage has more than one class.
    """
    rows = spans[["stage", "rank_class"]].drop_duplicates().sort_values(["stage", "rank_class"])
    shared = rows["stage"].duplicated(keep=False)
    label = "stage " + rows["stage"].astype(str)
    short = rows["stage"].astype(str) + " class " + rows["rank_class"].astype(str)
    alone = label.where(~shared, short)
    return rows.assign(label=alone).reset_index(drop=True)


def actions(spans: pd.DataFrame) -> pd.DataFrame:
    """Return one row per action on a compute lane: all operators of one chunk and micro-batch.

    An action lasts from the start of its first operator to the end of its last, waits for tensor
    or expert communication included. Columns: ``rank_class``, ``action``, ``kind`` (of its last
    operator: a backward that begins with recomputation is a backward), ``micro_batch``,
    ``chunk``, ``start_s``, ``end_s``.
    """
    compute = spans[spans["lane"] == COMPUTE].sort_values(["rank_class", "start_s"], kind="stable")
    first = _run_starts(compute, ["rank_class", "action", "micro_batch", "chunk"])
    last = np.append(first, len(compute))[1:] - 1
    runs = compute[["rank_class", "action", "micro_batch", "chunk", "start_s"]].iloc[first]
    runs = runs.assign(
        kind=compute["kind"].to_numpy()[last], end_s=compute["end_s"].to_numpy()[last]
    )
    return runs[runs["action"] != ""].reset_index(drop=True)


def _run_starts(
    frame: pd.DataFrame, columns: list[str]
) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    """Return the positions where any of the columns differs from the row above."""
    keys = [frame[column].factorize()[0] for column in columns]
    changed = np.any([key[1:] != key[:-1] for key in keys], axis=0)
    return np.flatnonzero(np.append(True, changed)[: len(frame)])
