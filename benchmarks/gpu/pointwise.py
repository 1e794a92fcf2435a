"""The table of memory-bound operations: fused, eager and native, forward and backward.

Times are per operation, from a graph of calls on disjoint tensors that together outgrow the
level-2 cache (``time_us``) or of calls on the same tensors (``warm_time_us``); the gaps between
kernels are part of both. ``kernels`` and the kernels' own time come from the profiler.
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import torch
import torch._functorch.config as functorch_config

from gpu.operations import EAGER, FUSED, NATIVE, VOCABULARY, Operation
from gpu.tables import Row, microseconds
from gpu.timing import Kernel, calls_for, event_time, graph_time, kernels_of, normal, release

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

SHAPES: Final = {
    "stream": (
        (4096, 4096),
        (1024, 2048),
        (8192, 5120),
        (2048, 4096),
        (2048, 1024),
        (8192, 2048),
        (2048, 12288),
        (4096, 8192),
        (16384, 8192),
    ),
    "logits": ((4096, 32000), (2048, 50304), (4096, 8192), (8192, 16032), (2048, 128256)),
    "scores": ((16 * 2048, 2048), (32 * 1024, 1024), (8 * 4096, 4096), (8 * 512, 512)),
}
COMPILED_SHAPES: Final = 4
"""Shapes of operations that are compiled anew for each."""
WARM_CALLS: Final = 32
PROFILED_CALLS: Final = 3


def measure(save: Callable[[list[Row], list[Row]], None], *, quick: bool) -> None:
    """Hand ``save`` the rows so far, and the kernels at one shape, after each operation."""
    # A donated buffer may be overwritten by the backward pass, which is timed repeatedly here.
    functorch_config.donated_buffer = False
    rows: list[Row] = []
    listed: list[Row] = []
    for name, cases in _all_cases(quick=quick):
        begin = time.perf_counter()
        try:
            for row, kernels in cases:
                first = row["op"] not in {known["op"] for known in rows}
                rows.append(row)
                listed += _listing(row, kernels) if first else []
        except Exception as error:  # noqa: BLE001 - one operation must not cost the others
            print(f"{name}: failed: {error!r:.300}", flush=True)
        save(rows, listed)
        print(f"{name}: {time.perf_counter() - begin:.1f} s", flush=True)


def _all_cases(*, quick: bool) -> Iterator[tuple[str, Iterator[tuple[Row, list[Kernel]]]]]:
    yield "embedding", _embedding(SHAPES["stream"][: 1 if quick else None])
    for form, operations in (("", NATIVE), ("_eager", EAGER), ("_fused", FUSED)):
        most = 1 if quick else COMPILED_SHAPES if form == "_fused" else None
        for operation in operations:
            shapes = SHAPES[operation.shapes][:most]
            yield operation.name + form, _shape_cases(operation, form, shapes)


def _shape_cases(
    operation: Operation, form: str, shapes: Sequence[tuple[int, int]]
) -> Iterator[tuple[Row, list[Kernel]]]:
    for shape in shapes:
        yield from _cases(operation, form, *shape)


def _cases(
    operation: Operation, form: str, rows: int, cols: int
) -> Iterator[tuple[Row, list[Kernel]]]:
    """Yield the forward and, where there is one, the backward row of one shape."""
    run = operation.run
    if form == "_fused":
        torch._dynamo.reset()  # noqa: SLF001 - each shape is compiled for itself
        run = torch.compile(run, dynamic=False)
    n_bytes = rows * cols * operation.forward_bytes
    sets = [operation.inputs(rows, cols) for _ in range(calls_for(n_bytes))]
    name = operation.name + form
    inference = [[tensor.detach() for tensor in inputs] for inputs in sets]
    yield _timed(name, rows, cols, n_bytes, [partial(run, *inputs) for inputs in inference])
    if operation.backward_bytes:
        gradients = [_gradient(run, inputs) for inputs in sets]
        n_bytes = rows * cols * operation.backward_bytes
        yield _timed(name + "_backward", rows, cols, n_bytes, gradients)
        del gradients
    del sets, inference, run
    release()


def _gradient(run: Callable[..., Any], inputs: Sequence[Any]) -> Callable[[], object]:
    """Return the backward pass of one call, ready to be run many times."""
    outputs = run(*inputs)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    seeds = [torch.randn_like(output) for output in outputs]
    leaves = [tensor for tensor in inputs if tensor.requires_grad]
    return partial(torch.autograd.grad, outputs, leaves, seeds, retain_graph=True)


def _timed(
    name: str,
    rows: int,
    cols: int,
    n_bytes: float,
    calls: Sequence[Callable[[], object]],
    *,
    capture: bool = True,
) -> tuple[Row, list[Kernel]]:
    if capture:
        cold = graph_time(calls, keep=True)
        warm = graph_time([calls[0]] * WARM_CALLS, keep=False)
    else:
        cold, warm = (event_time(calls[0], flush=flush) for flush in (True, False))
    # Cycles over all sets: neighbours in the list do not find each other's data.
    kernels = kernels_of((list(calls) * PROFILED_CALLS)[:PROFILED_CALLS])
    row: Row = {
        "op": name,
        "rows": rows,
        "cols": cols,
        "bytes_moved": int(n_bytes),
        "time_us": microseconds(cold),
        "GBps": round(n_bytes / cold / 1e9, 1),
        "kernels": len(kernels),
        "warm_time_us": microseconds(warm),
        "kernel_time_us": microseconds(sum(kernel.time for kernel in kernels)),
    }
    return row, kernels


def _listing(row: Row, kernels: list[Kernel]) -> list[Row]:
    return [
        {
            "op": row["op"],
            "rows": row["rows"],
            "cols": row["cols"],
            "position": position,
            "kernel": " ".join(kernel.name.split())[:160],
            "time_us": microseconds(kernel.time),
        }
        for position, kernel in enumerate(kernels)
    ]


def _embedding(shapes: Sequence[tuple[int, int]]) -> Iterator[tuple[Row, list[Kernel]]]:
    """Yield look-up and gradient of a table of `VOCABULARY` rows; the gradient is dense."""
    for rows, cols in shapes:
        table = normal(VOCABULARY, cols).requires_grad_()
        ids = [
            torch.randint(0, VOCABULARY, (rows,), device="cuda")
            for _ in range(calls_for(4.0 * rows * cols))
        ]
        look_up = [partial(torch.nn.functional.embedding, one, table.detach()) for one in ids]
        yield _timed("embedding", rows, cols, 4.0 * rows * cols, look_up)
        gradient = normal(rows, cols)
        scatter = torch.ops.aten.embedding_dense_backward
        backward: list[Callable[[], object]] = [
            partial(scatter, gradient, one, VOCABULARY, -1, scale_grad_by_freq=False)
            for one in ids[:4]
        ]
        n_bytes = 2.0 * cols * (VOCABULARY + 2 * rows)
        # Its sort may wait for the host, which no graph allows.
        yield _timed("embedding_backward", rows, cols, n_bytes, backward, capture=False)
        del table, gradient, ids, look_up, backward
        release()
