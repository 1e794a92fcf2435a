"""Directories of the public operator database, made up here in its very format."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
import pytest

from simulator.calibration.operator_database import attention_calls, gemms, table_path
from simulator.catalog import Catalog
from simulator.cli.calibrate_operators import calibrate_operators
from simulator.documents import validate
from simulator.errors import SimulatorError
from simulator.hardware.accelerator import Accelerator
from simulator.hardware.gemm_costs import gemm_time
from simulator.hardware.operator_costs import operator_time
from simulator.operators import Attention, AttentionKernel, Gemm
from simulator.precision import Precision

if TYPE_CHECKING:
    from pathlib import Path

PART = validate(Accelerator, Catalog(()).document("accelerator", "h200-sxm"))
SLOWER = 1.2
GEMM_HEADER = "framework,version,device,op_name,kernel_source,gemm_dtype,m,n,k,latency"
ATTENTION_HEADER = (
    "framework,version,device,op_name,kernel_source,attn_dtype,kv_cache_dtype,batch_size,isl,"
    "num_heads,num_key_value_heads,head_dim,window_size,beam_width,step,latency"
)


def gemm_lines() -> list[str]:
    """Return products that take 1.2 times as long as the profile says, latencies in ms."""
    lines = [GEMM_HEADER]
    for dtype, precision in (("bfloat16", Precision.BF16), ("fp8_block", Precision.FP8_BLOCK)):
        for m in (1024, 4096, 16384):
            for n in (1024, 2048, 4096, 6144, 8192):
                for k in (1024, 4096, 8192):
                    gemm = Gemm("g", m=m, n=n, k=k, precision=precision)
                    latency = 1e3 * SLOWER * gemm_time(gemm, PART)
                    lines.append(
                        f"SGLang,0.5.14,NVIDIA H200,gemm,sglang,{dtype},{m},{n},{k},{latency}"
                    )
    # A second row of a key, a format that no profile knows, and a product of nothing.
    lines.append("SGLang,0.5.14,NVIDIA H200,gemm,sglang,bfloat16,1024,1024,1024,99.0")
    lines.append("SGLang,0.5.14,NVIDIA H200,gemm,sglang,int4_wo,1024,1024,1024,0.01")
    lines.append("SGLang,0.5.14,NVIDIA H200,gemm,sglang,bfloat16,0,1024,1024,0.01")
    return lines


def attention_lines() -> list[str]:
    lines = [ATTENTION_HEADER]
    for batch in (1, 2, 4):
        for length in (1024, 2048, 4096, 8192):
            for heads, kv_heads, listed in ((32, 8, 8), (16, 16, 0)):
                call = Attention(
                    "a", batch, heads, kv_heads, length, length, 128, kernel=AttentionKernel.FLASH3
                )
                latency = 1e3 * SLOWER * operator_time(call, PART)
                lines.append(
                    f"SGLang,0.5.14,NVIDIA H200,context_attention,fa3,bfloat16,bfloat16,{batch},"
                    f"{length},{heads},{listed},128,0,1,0,{latency}"
                )
    same = "1,1024,32,8,128,0,1"
    lines.append(
        f"SGLang,0.5.14,NVIDIA H200,context_attention,triton,bfloat16,bfloat16,{same},0,1.0"
    )
    lines.append(f"SGLang,0.5.14,NVIDIA H200,context_attention,fa3,fp8,fp8,{same},0,1.0")
    lines.append(
        f"SGLang,0.5.14,NVIDIA H200,context_attention,fa3,bfloat16,bfloat16,{same},512,1.0"
    )
    return lines


@pytest.fixture
def version(tmp_path: Path) -> Path:
    """Return the directory of one version below one of a system."""
    directory = tmp_path / "h200_sxm" / "sglang" / "0.5.14"
    directory.mkdir(parents=True)
    (directory / "gemm_perf.txt").write_text("\n".join(gemm_lines()) + "\n", encoding="utf-8")
    text = "\n".join(attention_lines()) + "\n"
    (directory / "context_attention_perf.txt").write_text(text, encoding="utf-8")
    (directory / "moe_perf.txt").write_text("not read\n", encoding="utf-8")
    return directory


@pytest.mark.parametrize("above", [0, 2])
def test_a_directory_is_fitted(
    version: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], above: int
) -> None:
    out = tmp_path / "accelerators" / "mine.yaml"
    out.parent.mkdir()
    directory = version.parents[above - 1] if above else version
    calibrate_operators([directory], accelerator="h200-sxm", out=out, profiles=[])
    printed = capsys.readouterr()
    assert printed.err == "left out: int4_wo (1 rows), triton (1 rows)\n"
    assert "fp8_block" in printed.out
    assert "attention flash3 forward  128" in printed.out
    mine = validate(Accelerator, Catalog((tmp_path,)).document("accelerator", "mine"))
    call = Attention("a", 4, 32, 8, 8192, 8192, 128, kernel=AttentionKernel.FLASH3)
    gemm = Gemm("g", m=4096, n=4096, k=4096)
    for operator in (call, gemm):
        ratio = operator_time(operator, mine) / operator_time(operator, PART)
        assert ratio == pytest.approx(SLOWER, rel=0.05)


def test_parquet_comes_before_text(version: Path) -> None:
    rows = pd.read_csv(version / "gemm_perf.txt")
    rows.to_parquet(version / "gemm_perf.parquet")
    assert table_path(version, "gemm_perf") == version / "gemm_perf.parquet"


def test_the_first_row_of_a_key_counts(version: Path) -> None:
    frame = pd.read_csv(version / "gemm_perf.txt").rename(columns={"gemm_dtype": "dtype"})
    rows, left_out = gemms(frame)
    assert len(rows) == 2 * 45 + 1
    assert rows["latency"].max() < 99.0
    assert left_out == ["int4_wo (1 rows)"]


def test_prompts_are_turned_into_calls(version: Path) -> None:
    calls, left_out = attention_calls(pd.read_csv(version / "context_attention_perf.txt"))
    assert len(calls) == 24
    assert set(calls["backend"]) == {"flash3"}
    assert set(zip(calls["heads"], calls["kv_heads"], strict=True)) == {(32, 8), (16, 16)}
    assert left_out == ["triton (1 rows)"]


def test_several_versions_are_named(version: Path) -> None:
    other = version.parents[1] / "trtllm" / "1.3.0"
    other.mkdir(parents=True)
    (other / "gemm_perf.txt").write_text(GEMM_HEADER + "\n", encoding="utf-8")
    with pytest.raises(SimulatorError, match=r"several versions \(sglang/0.5.14, trtllm/1.3.0\)"):
        table_path(version.parents[1], "gemm_perf")


def test_a_clone_without_the_tables_is_told_apart(version: Path) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 2367901\n"
    (version / "gemm_perf.txt").write_text(pointer, encoding="utf-8")
    with pytest.raises(SimulatorError, match=r"gemm_perf.txt: a Git LFS pointer.*git lfs pull"):
        calibrate_operators([version], accelerator="h200-sxm", out=None, profiles=[])


def test_a_directory_without_tables_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SimulatorError, match="no gemm_perf and no context_attention_perf"):
        calibrate_operators([tmp_path], accelerator="h200-sxm", out=None, profiles=[])
