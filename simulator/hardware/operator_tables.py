"""Measured tables of operators: what each row runs, and what its time holds besides."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from simulator.errors import SimulatorError
from simulator.hardware.pointwise_tables import pointwise_of
from simulator.operators import Attention, AttentionKernel, Gemm, GroupedGemm, Role
from simulator.precision import Precision

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Mapping

    import pandas as pd

    from simulator.operators import Compute

    Row = Mapping[Any, Any]

TIMING_OVERHEAD: Final = 3.5e-6
"""What a pair of events around one kernel adds to its time [s].

The same small bf16 shapes (8 to 30 us) take 3.3 to 4.0 us less, whatever their size, in a table
that was timed through CUDA graphs (ai-dynamo/aiconfigurator operator database, commit 095f58a51,
Apache-2.0, H200).
"""
BACKWARD_HOST_TIME: Final = 40e-6
"""Host time [s] before the first kernel of a backward attention call, in its measured time.

Small calls take 80 to 200 us whatever their size; a free constant fits as 48 and 73 us (the two
libraries), of which about 5 us can be the device's (two auxiliary kernels).
"""
PRECISIONS: Final = {
    "bf16": Precision.BF16,
    "bfloat16": Precision.BF16,
    "float16": Precision.FP16,
    "fp16": Precision.FP16,
    "fp8": Precision.FP8,
    "fp8_block": Precision.MXFP8,
    "nvfp4": Precision.NVFP4,
}
"""Number formats as tables write them; fp8 with scales by block counts as MXFP8."""


def reader(frame: pd.DataFrame) -> Callable[[Row], Compute]:
    """Return the function that turns a row of ``frame`` into an operator, by its columns.

    Raises
    ------
    SimulatorError
        If the columns are of no known table.
    """
    for columns, build in _TABLES:
        if columns <= set(frame.columns):
            return build
    known = "; ".join(", ".join(sorted(columns)) for columns, _ in _TABLES)
    given = ", ".join(map(str, frame.columns))
    raise SimulatorError(f"a table of operators has columns {given}; known are: {known}")


def timed_by_events(columns: Container[str]) -> bool:
    """Return whether the times of a table with these columns hold `TIMING_OVERHEAD`.

    Those from CUDA graphs do not: of memory-bound kernels they come with a second one, of data
    still in the cache; of products, from the operator database, without their rate.
    """
    return "warm_time_us" not in columns and ("m" not in columns or "tflops" in columns)


def added_time(operator: Compute, *, events: bool = True) -> float:
    """Return what an operator's measured time holds besides its own [s].

    That is the overhead of a pair of events, if one took the time, and the host's time before the
    first kernel of a backward attention call.
    """
    host = BACKWARD_HOST_TIME if isinstance(operator, Attention) and operator.backward else 0.0
    return (TIMING_OVERHEAD if events else 0.0) + host


def gemm_of(row: Row) -> Gemm:
    """Return the product of a row: a layer's m, n, k become those of its gradient's product."""
    role = Role(row["pass"])
    m, n, k = (int(row[name]) for name in "mnk")
    if role is Role.INPUT_GRADIENT:
        n, k = k, n
    elif role is Role.WEIGHT_GRADIENT:
        m, n, k = n, k, m
    return Gemm(name=role.value, m=m, n=n, k=k, precision=_precision(row["dtype"]), role=role)


def attention_of(row: Row) -> Attention:
    """Return the attention call of a row."""
    length = int(row["seq"])
    return Attention(
        name="attention",
        batch=int(row["batch"]),
        heads=int(row["heads"]),
        kv_heads=int(row["kv_heads"]),
        queries=length,
        keys=length,
        head_dim=int(row["head_dim"]),
        causal=bool(int(row["causal"])),
        backward=row["pass"] == "bwd",  # noqa: S105 - a direction
        kernel=AttentionKernel(row["backend"]),
    )


def grouped_gemm_of(row: Row) -> GroupedGemm:
    """Return the grouped product of a row; ``skew``: the first group has four times the average."""
    groups, mean = int(row["experts"]), int(row["tokens_per_expert"])
    rows = [mean] * groups
    if int(row["skew"]) and groups > 1:
        first = min(4 * mean, groups * mean)
        rest, more = divmod(groups * mean - first, groups - 1)
        rows = [first, *(rest + (group < more) for group in range(groups - 1))]
    return GroupedGemm(name="grouped", rows=tuple(rows), n=int(row["n"]), k=int(row["k"]))


def _precision(name: object) -> Precision:
    if name not in PRECISIONS:
        known = ", ".join(PRECISIONS)
        raise SimulatorError(f"a table of GEMMs has the dtype {name!r}; known are: {known}")
    return PRECISIONS[str(name)]


_TABLES: Final[tuple[tuple[frozenset[str], Callable[[Row], Compute]], ...]] = (
    (frozenset({"dtype", "pass", "m", "n", "k"}), gemm_of),
    (frozenset({"backend", "pass", "batch", "heads", "kv_heads", "seq", "head_dim"}), attention_of),
    (frozenset({"experts", "tokens_per_expert", "n", "k", "skew"}), grouped_gemm_of),
    (frozenset({"op", "bytes_moved"}), pointwise_of),
)
