"""Whole training steps on one accelerator: predictions beside a table of measured ones.

The table is what ``benchmarks/measure_steps.py`` writes: a model, a batch, and the times of
forward, backward, accumulation and optimizer with the peak of allocated memory.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Final

from simulator.api import simulate
from simulator.errors import SimulatorError
from simulator.hardware.software import Launch
from simulator.operators import AttentionKernel
from simulator.parallel.blocks import Recomputation, Recompute
from simulator.parallel.layout import Batch, Layout
from simulator.precision import Precision
from simulator.program.tasks import SpanKind
from simulator.scenario.checks import findings
from simulator.scenario.scenario import Scenario
from simulator.schedule.pipelines import ScheduleName
from simulator.validation.profiles import cluster_of, stack_profile
from simulator.workload.transformer import Norm, Positions, Transformer

if TYPE_CHECKING:
    from simulator.api import Result
    from simulator.catalog import Catalog
    from simulator.hardware.software import Software
    from simulator.validation.cells import Row

SOFTWARE: Final = "pytorch-steps-2026"
CLUSTER: Final = "h200-ndr400"
"""Where the tables were measured."""
ACCUMULATION: Final = "gradient_accumulation"


def predict_row(row: Row, catalog: Catalog, cluster: str = CLUSTER) -> dict[str, object]:
    """Return the prediction of one row: times [s], peak allocated memory [GiB], status, reason."""
    try:
        result = simulate(scenario_of(row, catalog, cluster))
    except SimulatorError as error:
        return {"status": "unsupported", "reason": str(error)}
    memory = result.summary["memory_gib"]
    return {
        "status": "ok",
        "reason": "",
        "step_time_s": result.summary["step_time_s"],
        "peak_memory_gib": memory["peak"],
        **_phases(result),
    }


def scenario_of(row: Row, catalog: Catalog, cluster: str = CLUSTER) -> Scenario:
    """Return a row as a scenario.

    Raises
    ------
    SimulatorError
        If the row describes what is not simulated, or contradicts itself.
    """
    if row.get("n_experts", "0") not in ("", "0"):
        raise SimulatorError("mixture of experts")
    scenario = Scenario(
        name=row["model"],
        model=_model(row),
        cluster=cluster_of(cluster, catalog),
        accelerators=1,
        software=_software(row, catalog),
        layout=Layout(data=1),
        batch=Batch(
            sequence_length=int(row["seq"]),
            global_batch=int(row["mbs"]) * int(row["grad_accum"]),
            micro_batch=int(row["mbs"]),
        ),
        schedule=ScheduleName.ONE_F_ONE_B,
        precision=Precision(row.get("precision") or "bf16"),
        recompute=Recompute(mode=Recomputation(row["recompute"])),
    )
    broken = findings(scenario)
    if broken:
        raise SimulatorError("; ".join(f"{where}: {what}" for where, what in broken))
    return scenario


def _model(row: Row) -> Transformer:
    # A table of mixtures has no `gated` column: its models are all gated.
    gated = row.get("gated", "1") in ("1", "True")
    heads, hidden = int(row["n_heads"]), int(row["hidden"])
    head_dim = int(row.get("head_dim") or hidden // heads)
    return Transformer(
        name=row["model"],
        layers=int(row["n_layers"]),
        hidden=hidden,
        heads=heads,
        kv_heads=int(row["n_kv_heads"]),
        head_dim=head_dim,
        ffn_hidden=int(row["ffn_hidden"]),
        vocabulary=int(row["vocab"]),
        vocabulary_multiple=1,
        gated_mlp=gated,
        tied_embeddings=False,
        norm=Norm.RMS,
        positions=Positions.ROTARY,
        linear_bias=False,
        qkv_bias=False,
    )


def _software(row: Row, catalog: Catalog) -> Software:
    """Return the measuring loop; a row may say that its blocks ran eagerly, and which attention."""
    software = stack_profile(SOFTWARE, catalog)
    kernels = software.kernels
    if row.get("attention") == "flash":
        kernels = dataclasses.replace(kernels, attention=AttentionKernel.FLASH2)
    if row.get("attention") == "math":
        kernels = dataclasses.replace(kernels, attention=AttentionKernel.UNFUSED)
    if row.get("blocks") == "eager":
        kernels = dataclasses.replace(
            kernels,
            fused_norm=False,
            fused_activation=False,
            fused_rope=False,
            fused_residual=False,
            dropout=row.get("style") == "gpt",
            attention_dropout=row.get("style") == "gpt",
        )
    return dataclasses.replace(software, kernels=kernels, launch=Launch.EAGER)


def _phases(result: Result) -> dict[str, float]:
    """Return mean seconds of forward, backward and accumulation per micro-batch, and the update."""
    spans = result.trace
    compute = spans[spans["lane"] == "compute"]
    seconds = compute["end_s"] - compute["start_s"]
    passes = result.scenario.micro_batches
    accumulates = compute["name"] == ACCUMULATION
    forward = (compute["action"] == "F") & ~accumulates
    update = compute["kind"] == SpanKind.OPTIMIZER.name.lower()
    backward = ~(forward | update | accumulates)
    return {
        "forward_s": float(seconds[forward].sum()) / passes,
        "backward_s": float(seconds[backward].sum()) / passes,
        "accumulate_s": float(seconds[accumulates].sum()) / passes,
        "optimizer_s": float(seconds[update].sum()),
    }
