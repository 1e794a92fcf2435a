"""Measure whole training steps of small models on the one accelerator of this machine.

bf16 weights, fp32 main gradients, fp32 master weights and Adam moments (18 B per parameter), fused
AdamW, several micro-batches per step. Times of forward, backward, accumulation and optimizer come
from device events in steady state; memory from PyTorch's allocator. Run where PyTorch sees a GPU::

    python benchmarks/measure_steps.py --out measurements/mine
"""

from __future__ import annotations

import argparse
import statistics
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from gpu.cases import Case
from measure_operators import missing

if TYPE_CHECKING:
    from gpu.model import Model
    from gpu.tables import Row

GATED, PLAIN = True, False

CASES: Final = (
    Case("llama-3.2B-like-12layers", 12, 3072, 24, 8, 8192, 128256, GATED, 4096, 1, 4),
    Case("llama-3.2B-like-12layers", 12, 3072, 24, 8, 8192, 128256, GATED, 4096, 1, 4, "full"),
    Case("llama-13B-4layers", 4, 5120, 40, 40, 13824, 32000, GATED, 4096, 2, 4),
    Case("gpt-2048-12layers", 12, 2048, 16, 16, 8192, 50304, PLAIN, 1024, 8, 4),
    Case("qwen-like-14layers", 14, 1536, 12, 2, 8960, 151936, GATED, 2048, 2, 4),
    Case("llama-1.2B", 16, 2048, 32, 8, 8192, 50304, GATED, 2048, 2, 4, "none", "eager"),
    Case("llama-8B-4layers", 4, 4096, 32, 8, 14336, 32000, GATED, 2048, 2, 4, "none", "eager",
         "flash"),
    Case("gpt-1.3B", 24, 2048, 16, 16, 8192, 51200, PLAIN, 2048, 1, 4, "none", "eager", "math",
         "gpt"),
    Case("gpt-1.3B", 24, 2048, 16, 16, 8192, 51200, PLAIN, 2048, 2, 4, "full", "eager", "math",
         "gpt"),
    Case("gpt-350M", 24, 1024, 16, 16, 4096, 51200, PLAIN, 1024, 1, 8, "none", "eager", "flash",
         "gpt"),
    Case("gpt-5120-4layers", 4, 5120, 40, 40, 20480, 51200, PLAIN, 2048, 2, 4, "none", "eager",
         "math", "gpt"),
    Case("llama-350M", 24, 1024, 16, 16, 2816, 32000, GATED, 2048, 1, 8, "none", "eager"),
    Case("llama-350M", 24, 1024, 16, 16, 2816, 32000, GATED, 2048, 1, 8),
)  # fmt: skip
WARM_STEPS: Final = 3
TIMED_STEPS: Final = 5


def main() -> None:
    """Measure all cases; one that fails (out of memory, say) does not cost the others."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=Path("measurements"), help="directory to fill")
    parser.add_argument("--only", default="", help="positions of cases, such as 0,3")
    arguments = parser.parse_args()
    reason = missing()
    if reason:
        print(f"Nothing measured: {reason}.")
        return
    from gpu import tables, timing  # noqa: PLC0415 - they need PyTorch

    print(f"Measuring on {timing.start()}", flush=True)
    chosen = [int(text) for text in arguments.only.split(",")] if arguments.only else None
    rows: list[Row] = []
    for case in CASES if chosen is None else [CASES[index] for index in chosen]:
        try:
            rows.append(step_row(case))
            print(rows[-1], flush=True)
            tables.write(arguments.out / "steps.csv", rows)
        except Exception:  # noqa: BLE001
            print(f"{case}: failed\n{traceback.format_exc()}", flush=True)
        timing.release()


def step_row(case: Case) -> Row:
    """Return the row of one case."""
    import torch  # noqa: PLC0415
    from gpu import timing  # noqa: PLC0415
    from gpu.model import Model, choose_attention  # noqa: PLC0415

    torch._dynamo.reset()  # noqa: SLF001 - each case is compiled for itself
    choose_attention(case.attention)
    before = torch.cuda.memory_allocated()
    model = Model(case)
    trainer = Trainer(model, case)
    static = torch.cuda.memory_allocated() - before
    parameters = sum(weight.numel() for weight in model.parameters())
    for _ in range(WARM_STEPS):
        trainer.step()
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    with timing.PowerLog() as log:
        times = [trainer.step() for _ in range(TIMED_STEPS)]
    medians = {key: statistics.median(time[key] for time in times) for key in times[0]}
    tokens = case.mbs * case.seq * case.grad_accum
    return {
        **asdict(case),
        "gated": int(case.gated),
        "n_params": parameters,
        **{key: round(value, 3) for key, value in medians.items()},
        "tokens_per_s": round(tokens / medians["step_ms"] * 1e3, 1),
        "peak_alloc_gb": round(torch.cuda.max_memory_allocated() / timing.GIB, 3),
        "peak_reserved_gb": round(torch.cuda.max_memory_reserved() / timing.GIB, 3),
        "static_gb": round(static / timing.GIB, 3),
        "power_w": log.power,
        "sm_mhz": log.clock,
        "device": torch.cuda.get_device_name(),
    }


class Trainer:
    """The optimizer's state and one step."""

    def __init__(self, model: Model, case: Case) -> None:
        """Make main gradients, master weights and moments."""
        import torch  # noqa: PLC0415

        self._model = model
        self._weights = model.parameters()
        self._masters = [weight.detach().float() for weight in self._weights]
        for master in self._masters:
            master.grad = torch.zeros_like(master)
        self._optimizer = torch.optim.AdamW(self._masters, lr=1e-4, fused=True)
        self._optimizer.step()
        device = self._weights[0].device
        size = (case.grad_accum, case.mbs, case.seq)
        self._ids = torch.randint(0, case.vocab, size, device=device)
        self._targets = torch.randint(0, case.vocab, size, device=device)

    def step(self) -> dict[str, float]:
        """Train one step and return its times [ms]: medians over the micro-batches."""
        marks = []
        begin = mark()
        for ids, targets in zip(self._ids, self._targets, strict=True):
            start = mark()
            loss = self._model(ids, targets)
            middle = mark()
            loss.backward()
            after = mark()
            self._accumulate()
            marks.append((start, middle, after, mark()))
            del loss
        update = mark()
        self._update()
        end = mark()
        end.synchronize()
        spans = ((0, 1, "fwd_ms"), (1, 2, "bwd_ms"), (2, 3, "accum_ms"))
        times = {
            name: statistics.median(events[a].elapsed_time(events[b]) for events in marks)
            for a, b, name in spans
        }
        last = {"optimizer_ms": update.elapsed_time(end), "step_ms": begin.elapsed_time(end)}
        return times | last

    def _accumulate(self) -> None:
        for weight, master in zip(self._weights, self._masters, strict=True):
            master.grad.add_(weight.grad)
            weight.grad = None

    def _update(self) -> None:
        import torch  # noqa: PLC0415

        self._optimizer.step()
        with torch.no_grad():
            torch._foreach_copy_(self._weights, self._masters)
            torch._foreach_zero_([master.grad for master in self._masters])


def mark() -> Any:  # noqa: ANN401 - a device event
    """Return an event recorded now."""
    import torch  # noqa: PLC0415

    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event


if __name__ == "__main__":
    main()
