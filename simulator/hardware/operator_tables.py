"""Measured tables of operators: what each row runs, and what its time holds besides."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from simulator.errors import SimulatorError
from simulator.hardware.pointwise_tables import pointwise_of
from simulator.operators import Attention, AttentionKernel, ExpertExchange, Gemm, GroupedGemm, Role
from simulator.precision import Precision

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

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
ROW_ALIGNMENT: Final = 16
"""Rows of an uneven group come in multiples of so many."""
EXCHANGES: Final = ("dispatch", "combine")
EXCHANGE_RANKS: Final = 8
"""Ranks of one node in DeepEP's timings, whose table does not say: HGX boards have eight."""
PRECISIONS: Final = {
    "bf16": Precision.BF16,
    "bfloat16": Precision.BF16,
    "float16": Precision.FP16,
    "fp16": Precision.FP16,
    "fp8": Precision.FP8,
    "fp8_block": Precision.FP8_BLOCK,
    "nvfp4": Precision.NVFP4,
}
"""Number formats as tables write them."""


def reader(frame: pd.DataFrame) -> Callable[[Row], tuple[Compute, ...]]:
    """Return the function that turns a row of ``frame`` into operators, by its columns.

    There are several only where a chain of memory-bound kernels has kernels of several kinds. The
    function raises a SimulatorError for a row with a word or nothing where a size should be.

    Raises
    ------
    SimulatorError
        If the columns are of no known table.
    """
    for columns, build in _TABLES:
        if columns <= set(frame.columns):
            return partial(_built, build)
    known = "; ".join(", ".join(sorted(columns)) for columns, _ in _TABLES)
    given = ", ".join(map(str, frame.columns))
    raise SimulatorError(f"a table of operators has columns {given}; known are: {known}")


def _built(build: Callable[[Row], tuple[Compute, ...]], row: Row) -> tuple[Compute, ...]:
    """Return the operators of a row of a user's table."""
    try:
        return build(row)
    except (KeyError, TypeError, ValueError) as error:
        cells = ", ".join(f"{name} {value}" for name, value in row.items())
        reason = f"no {error}" if isinstance(error, KeyError) else error
        raise SimulatorError(f"a table of operators has a wrong row ({cells}): {reason}") from None


def measured_times(frame: pd.DataFrame) -> pd.Series[float]:
    """Return the measured times of a table [us].

    Of an exchange, dispatch and combine with their notices.

    Raises
    ------
    SimulatorError
        If it has none, or a cell holds something else.
    """
    parts = ["time_us"]
    if "time_us" not in frame:
        parts = [f"{name}_{part}_us" for name in EXCHANGES for part in ("transmit", "notify")]
    try:
        times: pd.Series[float] = frame[parts].astype(float).sum(axis=1, skipna=False)
    except KeyError:
        raise SimulatorError("a table of measured times has a column time_us") from None
    except ValueError as error:
        raise SimulatorError(f"column time_us must hold numbers: {error}") from None
    return times


def timed_by_events(columns: Iterable[str]) -> bool:
    """Return whether the times of a table with these columns hold `TIMING_OVERHEAD`.

    Those from CUDA graphs do not: of memory-bound kernels they come with a second one, of data
    still in the cache; of grouped products with their routing, of latent attention with the width
    of its values; of exchanges with their multiprocessors; of other products, from the operator
    database, without their rate.
    """
    if not {"warm_time_us", "routing", "value_dim", "dispatch_sms"}.isdisjoint(columns):
        return False
    return "m" not in columns or "tflops" in columns


def added_time(operator: Compute, *, events: bool = True) -> float:
    """Return what an operator's measured time holds besides its own [s].

    That is, if a pair of events took the time, their overhead and the host's time before the first
    kernel of a backward attention call.
    """
    if not events:
        return 0.0
    host = BACKWARD_HOST_TIME if isinstance(operator, Attention) and operator.backward else 0.0
    return TIMING_OVERHEAD + host


def gemm_of(row: Row) -> Gemm:
    """Return the product of a row: a layer's m, n, k become those of its gradient's product.

    The operator database names its dtype ``gemm_dtype`` and knows forward products only.
    """
    role = Role(row.get("pass", Role.FORWARD))
    m, n, k = (int(row[name]) for name in "mnk")
    if role is Role.INPUT_GRADIENT:
        n, k = k, n
    elif role is Role.WEIGHT_GRADIENT:
        m, n, k = n, k, m
    precision = _precision(row["dtype"] if "dtype" in row else row["gemm_dtype"])
    return Gemm(name=role.value, m=m, n=n, k=k, precision=precision, role=role)


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
        window=int(row.get("window", 0)),
        value_dim=int(row.get("value_dim", 0)),
        backward=row["pass"] == "bwd",  # noqa: S105 - a direction
        kernel=AttentionKernel(row["backend"]),
    )


def grouped_gemm_of(row: Row) -> GroupedGemm:
    """Return the grouped product of a row: a layer's n, k become those of its gradient's product.

    ``pass`` is forward where the table has none; ``routing`` is a name of `rows_of_groups`, or
    ``skew`` says whether it is skewed or even.
    """
    role = Role(row.get("pass", Role.FORWARD))
    routing = row["routing"] if "routing" in row else ("even", "skewed")[int(row["skew"])]
    rows = rows_of_groups(routing, int(row["experts"]), int(row["tokens_per_expert"]))
    n, k = int(row["n"]), int(row["k"])
    if role is Role.INPUT_GRADIENT:
        n, k = k, n
    return GroupedGemm(name="grouped", rows=rows, n=n, k=k, role=role)


def exchanges_of(row: Row) -> tuple[ExpertExchange, ...]:
    """Return dispatch and combine of a row of DeepEP's timings: eight ranks of one node.

    Raises
    ------
    SimulatorError
        If the row is of several nodes.
    """
    if int(row["node_num"]) != 1:
        raise SimulatorError(
            f"exchange of experts' tokens over {int(row['node_num'])} nodes is not modelled: "
            "give the rows with node_num = 1"
        )
    return tuple(
        ExpertExchange(
            name=name,
            ranks=EXCHANGE_RANKS,
            tokens=int(row["num_token"]),
            hidden=int(row["hidden_size"]),
            top_k=int(row["num_topk"]),
            experts=int(row["num_experts"]),
            multiprocessors=int(row[f"{name}_sms"]),
            combine=name == "combine",
        )
        for name in EXCHANGES
    )


def rows_of_groups(routing: str, groups: int, mean: int) -> tuple[int, ...]:
    """Return the rows of each group, as `benchmarks/gpu/routing.py` deals them out.

    Even; skewed: the first group has four times the mean, the others share what is left; zipf:
    group i has a share of 1/i. Both in multiples of 16 and no fewer.

    Raises
    ------
    SimulatorError
        If there is no such routing.
    """
    if routing == "even":
        return (mean,) * groups
    if routing == "skewed":
        rest = (groups - 4) * mean // max(1, groups - 1)
        return (4 * mean, *(_aligned(rest),) * (groups - 1))
    if routing == "zipf":
        harmonic = sum(1 / index for index in range(1, groups + 1))
        return tuple(_aligned(groups * mean / harmonic / at) for at in range(1, groups + 1))
    raise SimulatorError(
        f"no routing {routing!r} of grouped products; there are even, skewed, zipf"
    )


def _aligned(rows: float) -> int:
    """Return the multiple of `ROW_ALIGNMENT` below, at least one."""
    return max(ROW_ALIGNMENT, int(rows) // ROW_ALIGNMENT * ROW_ALIGNMENT)


def _precision(name: object) -> Precision:
    if name not in PRECISIONS:
        known = ", ".join(PRECISIONS)
        raise SimulatorError(f"a table of GEMMs has the dtype {name!r}; known are: {known}")
    return PRECISIONS[str(name)]


_TABLES: Final[tuple[tuple[frozenset[str], Callable[[Row], tuple[Compute, ...]]], ...]] = (
    (frozenset({"dtype", "pass", "m", "n", "k"}), lambda row: (gemm_of(row),)),
    (frozenset({"gemm_dtype", "m", "n", "k"}), lambda row: (gemm_of(row),)),
    (
        frozenset({"backend", "pass", "batch", "heads", "kv_heads", "seq", "head_dim"}),
        lambda row: (attention_of(row),),
    ),
    (
        frozenset({"experts", "tokens_per_expert", "n", "k", "skew"}),
        lambda row: (grouped_gemm_of(row),),
    ),
    (
        frozenset({"experts", "tokens_per_expert", "n", "k", "routing"}),
        lambda row: (grouped_gemm_of(row),),
    ),
    (frozenset({"op", "bytes_moved"}), pointwise_of),
    (frozenset({"num_token", "num_topk", "dispatch_sms", "combine_sms"}), exchanges_of),
)
