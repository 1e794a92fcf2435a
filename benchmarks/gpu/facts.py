"""The table of single facts: optimizer, host transfers, copies, launch gaps, sustained GEMMs."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import torch

from gpu.timing import PowerLog, event_time, graph_time, host_time, normal, release

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gpu.tables import Row

MIB: Final = 2**20


def measure(*, quick: bool) -> list[Row]:
    """Return all single facts; ``quick`` leaves out large buffers and sustained GEMMs."""
    rows = [*_updates(quick=quick), *_transfers(quick=quick), *_copies(quick=quick), *_gaps()]
    if not quick:
        rows += _sustained()
    properties = torch.cuda.get_device_properties(0)
    rows.append(_fact("device", properties.name, properties.total_memory, "bytes"))
    versions = f"torch {torch.__version__} cuda {torch.version.cuda} hip {torch.version.hip}"
    rows.append(_fact("versions", f"{versions} cudnn {torch.backends.cudnn.version()}", 0, ""))
    return rows


def _fact(what: str, setting: str, value: float, unit: str) -> Row:
    return {"what": what, "setting": setting, "value": round(value, 2), "unit": unit}


def _updates(*, quick: bool) -> Iterator[Row]:
    """Yield passes over all parameters: updates, the gradients' norm, scaling, zeroing, casts."""
    for size in (10**7, 10**8) if quick else (10**7, 10**8, 5 * 10**8, 10**9):
        setting = f"params={size}"
        parts = [torch.zeros(size // 10, device="cuda") for _ in range(10)]
        gradients = [torch.randn_like(part) for part in parts]
        for part, gradient in zip(parts, gradients, strict=True):
            part.requires_grad_().grad = gradient
        for kind in ("fused", "foreach") if size < 10**9 else ("fused",):
            optimizer = torch.optim.AdamW(parts, **{kind: True})
            optimizer.step()
            yield _timed(f"adamw_{kind}_fp32", setting, optimizer.step)
            del optimizer
            release()
        values = [part.detach() for part in parts]
        weights = [value.bfloat16() for value in values]
        yield _timed("gradient_norm_fp32", setting, partial(_norm, gradients))
        yield _timed("scale_fp32", setting, partial(torch._foreach_mul_, gradients, 0.9))
        yield _timed("zero_fp32", setting, partial(torch._foreach_zero_, gradients))
        yield _timed("copy_fp32_to_bf16", setting, partial(torch._foreach_copy_, weights, values))
        yield _timed("add_bf16_to_fp32", setting, partial(_add_each, gradients, weights))
        del parts, gradients, values, weights
        release()


def _norm(gradients: list[Any]) -> Any:
    return torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))  # noqa: SLF001


def _add_each(totals: list[Any], gradients: list[Any]) -> None:
    for total, gradient in zip(totals, gradients, strict=True):
        total.add_(gradient)


def _timed(what: str, setting: str, call: Any) -> Row:
    return _fact(what, setting, event_time(call, 7) * 1e6, "us")


def _transfers(*, quick: bool) -> Iterator[Row]:
    for size in (64,) if quick else (1, 8, 64, 512, 2048):
        host = torch.empty(size * MIB, dtype=torch.int8, pin_memory=True)
        device = torch.empty(size * MIB, dtype=torch.int8, device="cuda")
        for what, into, source in (("h2d_pinned", device, host), ("d2h_pinned", host, device)):
            seconds = event_time(partial(into.copy_, source, non_blocking=True), 7, flush=False)
            yield _fact(what, f"MiB={size}", size * MIB / seconds / 1e9, "GB/s")


def _copies(*, quick: bool) -> Iterator[Row]:
    for size in (0.25, 4) if quick else (0.064, 0.25, 1, 4, 16):
        source = torch.ones(int(size * 1e9), dtype=torch.int8, device="cuda")
        seconds = event_time(partial(torch.empty_like(source).copy_, source), 7)
        yield _fact("hbm_copy_rw", f"GB={size}", 2 * size * 1e9 / seconds / 1e9, "GB/s")
        del source
        release()


def _gaps() -> Iterator[Row]:
    tiny = torch.zeros(32, device="cuda")
    call = partial(tiny.add_, 1.0)
    yield _fact("eager_tiny_kernel", "add_ 32 floats", host_time(call, 2000) * 1e6, "us")
    seconds = graph_time([call] * 1000, keep=False)
    yield _fact("graph_tiny_kernel", "add_ 32 floats", seconds * 1e6, "us")


def _sustained() -> Iterator[Row]:
    """Yield the rate of GEMMs repeated for two seconds, with power and clock."""
    for size in (4096, 8192):
        left, right = normal(size, size), normal(size, size)
        out = torch.empty_like(left)
        call = partial(torch.mm, left, right, out=out)
        count = max(10, int(2.0 / event_time(call, 5)))
        with PowerLog() as log:
            for _ in range(count):
                call()
            torch.cuda.synchronize()
            begin = time.perf_counter()
            for _ in range(count // 4):
                call()
            torch.cuda.synchronize()
            seconds = (time.perf_counter() - begin) / (count // 4)
        setting = f"n={size}; {log.power} W, {log.clock} MHz"
        yield _fact("sustained_gemm_bf16", setting, 2 * size**3 / seconds / 1e12, "TFLOP/s")
