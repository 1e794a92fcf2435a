"""The public operator database's directories: one system, framework and version each.

Layout of ai-dynamo/aiconfigurator (``systems/data/SYSTEM/FRAMEWORK/VERSION/``): tables named
``*_perf``, as CSV text (``.txt``) or Parquet, latencies in milliseconds. Read are the matrix
products and the forward attention of prompts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from simulator.errors import SimulatorError
from simulator.hardware.operator_tables import PRECISIONS
from simulator.operators import AttentionKernel

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pandas as pd

GEMM_TABLE: Final = "gemm_perf"
ATTENTION_TABLE: Final = "context_attention_perf"
SUFFIXES: Final = (".parquet", ".txt")
"""Forms of a table; later versions of the database hold Parquet."""
POINTER: Final = b"version https://git-lfs"
"""First bytes of what a clone without Git LFS holds in place of a table."""
ATTENTION_KERNELS: Final = {
    "fa3": AttentionKernel.FLASH3,
    "flash_attention": AttentionKernel.FLASH2,
    "trtllm_mha": AttentionKernel.CUDNN,
    "torch_flow": AttentionKernel.CUDNN,
}
"""By ``kernel_source``; NVIDIA's own count as cuDNN's."""
GEMM_KEY: Final = ["dtype", "m", "n", "k"]


def table_path(directory: Path, name: str) -> Path | None:
    """Return the file of a table in a directory of the database, or none if it has no such table.

    The directory is a version's, or one above in which there is only one version.

    Raises
    ------
    SimulatorError
        If several versions lie below, or the file is the pointer of a clone without Git LFS.
    """
    found = [path for depth in ("", "*/", "*/*/") for path in _files(directory, depth + name)]
    versions = sorted({path.parent for path in found})
    if len(versions) > 1:
        names = ", ".join(str(version.relative_to(directory)) for version in versions)
        raise SimulatorError(f"{directory}: holds several versions ({names}): name one")
    if not found:
        return None
    path = found[0]
    with path.open("rb") as file:
        if file.read(len(POINTER)) == POINTER:
            message = f"{path}: a Git LFS pointer in place of the table; `git lfs pull` fetches it"
            raise SimulatorError(message)
    return path


def _files(directory: Path, pattern: str) -> Iterator[Path]:
    for suffix in SUFFIXES:
        yield from directory.glob(pattern + suffix)


def gemms(frame: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Return a table of products with columns dtype, m, n, k, time_us, and what was left out.

    Of rows with the same key the first counts, as for the database's own reader; formats that no
    profile knows (weights alone quantised, say) are left out.
    """
    known = frame["dtype"].isin(PRECISIONS)
    left_out = [
        f"{dtype} ({count} rows)"
        for dtype, count in frame.loc[~known, "dtype"].value_counts().items()
    ]
    return frame[known].drop_duplicates(GEMM_KEY), left_out


def attention_calls(frame: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Return bf16 prompts in the columns of ``attention.csv``, and what was left out.

    Prompts that continue a cached one (``step`` above 0) are left out, and kernels that are not in
    `ATTENTION_KERNELS`.
    """
    frame = frame[(frame["attn_dtype"] == "bfloat16") & (frame.get("step", 0) == 0)]
    known = frame["kernel_source"].isin(ATTENTION_KERNELS)
    left_out = [
        f"{kernel} ({count} rows)"
        for kernel, count in frame.loc[~known, "kernel_source"].value_counts().items()
    ]
    frame = frame[known]
    own_heads = frame["num_key_value_heads"].where(
        frame["num_key_value_heads"] > 0, frame["num_heads"]
    )
    calls = frame.assign(
        backend=frame["kernel_source"].map(ATTENTION_KERNELS),
        batch=frame["batch_size"],
        heads=frame["num_heads"],
        kv_heads=own_heads,
        seq=frame["isl"],
        window=frame.get("window_size", 0),
        causal=1,
        time_us=1e3 * frame["latency"],
    )
    calls["pass"] = "fwd"  # noqa: S105 - a direction
    return calls, left_out
