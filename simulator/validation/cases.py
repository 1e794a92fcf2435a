"""A row of a table of measured runs as a scenario.

The columns are those of the published tables; an empty cell is what the source leaves unsaid. It
takes its source's default (`simulator.validation.sources`) and the prediction says so; what cannot
be expressed is refused by name, never guessed.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Final

from simulator.documents import validate
from simulator.hardware.cluster import Cluster
from simulator.hardware.software import Software
from simulator.operators import AttentionKernel
from simulator.parallel.blocks import Recomputation, Recompute
from simulator.parallel.layout import Batch, Layout, Sharding
from simulator.parallel.stages import split_modules
from simulator.precision import Precision
from simulator.scenario.checks import findings
from simulator.scenario.scenario import Scenario
from simulator.schedule.pipelines import ScheduleName
from simulator.validation.cells import Cells, InvalidError, UnsupportedError
from simulator.validation.sources import CLUSTERS, Source, source_of
from simulator.workload.transformer import Norm, Positions, Transformer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from simulator.catalog import Catalog
    from simulator.hardware.accelerator import Accelerator
    from simulator.validation.cells import Row

TUNED: Final[Mapping[str, tuple[str, ...]]] = {"mbs": ("1", "2", "4", "8")}
"""What is tried for a column that the authors tuned but did not print."""
ALTERED: Final = "model_altered"
"""Flag of MegaScale's rows: attention and MLP in parallel, a sliding window."""
GATED_FAMILIES: Final[Mapping[str, bool]] = {
    "llama": True,
    "mistral": True,
    "qwen": True,
    "gpt": False,
    "bloom": False,
}
"""Whether the MLP is gated, by a part of the model's name, for tables that have no such column."""
ALIASES: Final[Mapping[str, str]] = {"B200": "B200-SXM", "GB200": "GB200-NVL72"}
"""Accelerators that some tables call otherwise."""
WINDOW: Final = 1024
"""MegaScale's window [positions]; not printed, its FLOPs imply half the sequence."""
REFUSED_FLAGS: Final[Mapping[str, str]] = {
    "finetune": "fine-tuning of some of the weights",
    "arch_hybrid": "a hybrid architecture that the table does not give",
    "arch_unlisted": "an architecture that the table does not give",
    "layout_unknown": "a layout that the source does not give",
    "layout_partial": "a layout that the source gives in part",
}
"""Flags of rows that describe something else than a whole pre-training step."""


@dataclass(frozen=True, slots=True)
class Case:
    """A row as a scenario."""

    scenario: Scenario
    stack: str
    cluster: str
    assumed: str
    """What was taken for empty cells, ``column=value`` joined by semicolons."""
    flushes: int = 1
    """Times that the pipeline is drained per step."""
    allocated_memory: bool = False
    """The peak counts what the allocator holds, without context, libraries and fragmentation."""
    share: float = 1.0
    """Sequences of the row's batch over those simulated: below 1 for a ragged last micro-batch."""


def cases_of(row: Row, catalog: Catalog) -> list[Case]:
    """Return the scenarios that a row may mean: several where a tuned column was not printed.

    Raises
    ------
    UnsupportedError
        If this version does not simulate what the row describes.
    InvalidError
        If the row contradicts itself or lacks what has no default.
    """
    source = source_of(row["source"])
    open_columns = [column for column in source.tuned if not row.get(column)]
    if not open_columns:
        return [case_of(row, source, catalog)]
    column = open_columns[0]
    cases = []
    for value in TUNED[column]:
        try:
            case = case_of({**row, column: value}, source, catalog)
        except (UnsupportedError, InvalidError):
            continue
        note = f"{column}={value} (best of {', '.join(TUNED[column])})"
        cases.append(
            dataclasses.replace(case, assumed="; ".join(filter(None, (case.assumed, note))))
        )
    return cases or [case_of(row, source, catalog)]


def case_of(row: Row, source: Source, catalog: Catalog) -> Case:
    """Return the scenario of a row whose tuned columns are filled in.

    Raises
    ------
    UnsupportedError, InvalidError
        As `cases_of`.
    """
    _refuse(row)
    cells = Cells(row, source)
    cluster_name = _cluster_name(row, source)
    cluster = _cluster(cluster_name, catalog)
    layout = _layout(cells)
    batch, share = _batch(cells, layout)
    software = _software(cells, cluster.accelerator, catalog)
    scenario = Scenario(
        name=row["run_id"],
        model=_model(cells),
        cluster=cluster,
        accelerators=cells.count("n_accel"),
        software=software,
        layout=layout,
        batch=batch,
        schedule=ScheduleName.INTERLEAVED_1F1B
        if layout.virtual_stages > 1
        else ScheduleName.ONE_F_ONE_B,
        precision=_precision(cells),
        recompute=dataclasses.replace(_recompute(cells), head=source.head_recomputed),
    )
    broken = findings(scenario)
    if broken:
        raise InvalidError("; ".join(f"{where}: {what}" for where, what in broken))
    flushes = _flushes(cells, scenario)
    assumed = "; ".join(f"{column}={value}" for column, value in sorted(cells.assumed.items()))
    return Case(
        scenario=scenario,
        stack=stack_of(row, source),
        cluster=cluster_name,
        assumed=assumed,
        flushes=flushes,
        allocated_memory=source.allocated_memory,
        share=share,
    )


def _flushes(cells: Cells, scenario: Scenario) -> int:
    """Return how often the run drains its pipeline per step, and note it if not once.

    The layouts study's FlashAttention-2 runs of its 13B model on two stages take 44.1, 47.4, 55.6
    and 72.8 s with 64, 32, 16 and 8 micro-batches: (m + 8) stage times, as if each step were eight
    pipelines one after another. Its FlashAttention-1 runs of the same layouts take m + 1.
    """
    run = f"{scenario.model.name} on {scenario.accelerators}, {cells.text('attention_kernel')}"
    counts = [n for start, n in cells.source.flushes.items() if run.startswith(start)]
    if not counts or scenario.layout.pipeline == 1:
        return 1
    flushes = min(counts[0], scenario.micro_batches)
    cells.assumed["pipeline flushes"] = str(flushes)
    return flushes


def _refuse(row: Row) -> None:
    """Raise for rows that describe something else than a dense pre-training step."""
    if "ablation" in row.get("flags", "") and ALTERED in row.get("flags", ""):
        raise UnsupportedError("a stack between two others, with some of MegaScale's changes")
    for flag in row.get("flags", "").replace(",", " ").split():
        if flag in REFUSED_FLAGS:
            raise UnsupportedError(REFUSED_FLAGS[flag])
    if row.get("notes", "").startswith("JAX (Paxml), FSDP"):
        raise UnsupportedError("sharded parameters or gradients (ZeRO-2, ZeRO-3, FSDP)")
    if "lora" in row.get("model", "").lower():
        raise UnsupportedError(REFUSED_FLAGS["finetune"])
    if row.get("n_experts") not in ("", None, "0", "0.0", "1", "1.0"):
        raise UnsupportedError("mixture of experts")
    fsdp = row.get("fsdp", "")
    if "ZeRO-3" in row.get("optimizer_sharding", "") or "ZeRO-2" in row.get(
        "optimizer_sharding", ""
    ):
        raise UnsupportedError("sharded parameters or gradients (ZeRO-2, ZeRO-3, FSDP)")
    if fsdp not in ("", "0", "0.0", "1", "1.0", "no") and row["source"] != "llama3_paper":
        raise UnsupportedError("sharded parameters or gradients (ZeRO-2, ZeRO-3, FSDP)")


def _cluster_name(row: Row, source: Source) -> str:
    accelerator = ALIASES.get(row["accelerator"], row["accelerator"])
    name = source.clusters.get(accelerator) or CLUSTERS.get(accelerator)
    if name is None:
        raise UnsupportedError(f"no profile of the accelerator {accelerator}")
    return name


@cache
def _cluster(name: str, catalog: Catalog) -> Cluster:
    return validate(Cluster, catalog.document("cluster", name))


@cache
def _stack_profile(name: str, catalog: Catalog) -> Software:
    return validate(Software, catalog.document("software", name))


def _model(cells: Cells) -> Transformer:
    gated = _gated(cells)
    heads = cells.count("n_heads")
    hidden = cells.count("hidden")
    multiple = int(cells.text("vocabulary_multiple") or 128)
    vocabulary = cells.count("vocab")
    if multiple == 1:
        # An unpadded vocabulary is cut by whole division: the remainder has no rows.
        vocabulary -= vocabulary % cells.count("tp")
    altered = ALTERED in cells.row.get("flags", "")
    positions = Positions(cells.text("positions") or ("rotary" if gated else "learned"))
    head_dim = cells.text("head_dim")
    return Transformer(
        name=cells.row["model"] or "unnamed",
        layers=cells.count("n_layers"),
        hidden=hidden,
        heads=heads,
        kv_heads=cells.count("n_kv_heads") if cells.text("n_kv_heads") else heads,
        head_dim=int(float(head_dim)) if head_dim else hidden // heads,
        ffn_hidden=cells.count("ffn_hidden"),
        vocabulary=vocabulary,
        vocabulary_multiple=multiple,
        gated_mlp=gated,
        tied_embeddings=cells.flag("tied_embeddings"),
        norm=Norm.RMS if gated else Norm.LAYER,
        positions=positions,
        max_positions=cells.count("seq_len") if positions is Positions.LEARNED else 0,
        linear_bias=not gated,
        qkv_bias=not gated,
        embedding_norm=cells.flag("embedding_norm"),
        parallel_block=altered,
        window=WINDOW if altered else 0,
    )


def _gated(cells: Cells) -> bool:
    """Return whether the MLP is gated: as the row says, else as the model's family is known to be.

    Raises
    ------
    InvalidError
        If the row does not say and the family is not known here.
    """
    if cells.text("gated_mlp"):
        return cells.flag("gated_mlp")
    name = cells.row["model"].lower()
    for family, gated in GATED_FAMILIES.items():
        if family in name:
            cells.assumed["gated_mlp"] = str(gated)
            return gated
    raise InvalidError(f"gated_mlp is empty, and {cells.row['model']} is of no family known here")


def _layout(cells: Cells) -> Layout:
    tensor, pipeline = cells.count("tp"), cells.count("pp")
    context = cells.count("cp") if cells.text("cp") else 1
    accelerators = cells.count("n_accel")
    data, rest = divmod(accelerators, tensor * pipeline * context)
    stated = cells.text("dp")
    if rest or (stated and int(float(stated)) != data):
        raise InvalidError(
            f"tp {tensor} x pp {pipeline} x cp {context} x dp {stated or '?'} "
            f"does not make {accelerators} accelerators"
        )
    return Layout(
        tensor=tensor,
        context=context,
        pipeline=pipeline,
        virtual_stages=cells.count("vpp") if pipeline > 1 else 1,
        data=data,
        sequence_parallel=tensor > 1 and cells.flag("sequence_parallel"),
        sharding=_sharding(cells.text("optimizer_sharding")),
        layers=split_modules(cells.count("n_layers"), pipeline)
        if cells.source.modules_split and pipeline > 1
        else None,
    )


def _sharding(text: str) -> Sharding:
    if text.startswith("none") or not text:
        return Sharding.NONE
    if "ZeRO-1" in text or text.startswith("FSDP (optimizer"):
        return Sharding.OPTIMIZER
    raise UnsupportedError(f"optimizer sharding {text!r}")


def _batch(cells: Cells, layout: Layout) -> tuple[Batch, float]:
    """Return the batch of whole micro-batches, and the row's share of its sequences."""
    micro = cells.count("mbs")
    if cells.text("gbs"):
        sequences = cells.count("gbs")
    elif cells.text("grad_accum"):
        sequences = cells.count("grad_accum") * micro * layout.data
    else:
        raise InvalidError("neither gbs nor grad_accum is given: the batch is unknown")
    passes = -(-sequences // (layout.data * micro))
    whole = passes * layout.data * micro
    if whole != sequences:
        cells.assumed["last micro-batch"] = f"{sequences} of {whole} sequences, priced by share"
    batch = Batch(sequence_length=cells.count("seq_len"), global_batch=whole, micro_batch=micro)
    return batch, sequences / whole


def _precision(cells: Cells) -> Precision:
    text = cells.needed("precision").lower().split()[0]
    try:
        return Precision(text)
    except ValueError:
        raise UnsupportedError(f"precision {text}") from None


def _recompute(cells: Cells) -> Recompute:
    text = (cells.text("recompute") or "none").partition(" (")[0]
    if text in ("none", "full", "selective"):
        return Recompute(mode=Recomputation(text))
    if text == "selective layer":
        return Recompute(mode=Recomputation.FULL, every=2)
    raise UnsupportedError(f"recomputation {text!r}")


ATTENTION: Final[Mapping[str, AttentionKernel]] = {
    "flash_attentionv1": AttentionKernel.FLASH1,
    "flash_attention2": AttentionKernel.FLASH2,
    "torch": AttentionKernel.UNFUSED,
    "fused": AttentionKernel.FUSED_SOFTMAX,
}
"""Kernel by the start of the ``attention_kernel`` cell; others leave the stack its own."""


def stack_of(row: Row, source: Source) -> str:
    """Return the name of the software profile that stands for a row."""
    if source.altered and ALTERED in row.get("flags", ""):
        return source.altered
    return source.stacks.get(row["accelerator"], source.software)


def _software(cells: Cells, part: Accelerator, catalog: Catalog) -> Software:
    software = _stack_profile(stack_of(cells.row, cells.source), catalog)
    text = cells.text("attention_kernel")
    named = [kernel for start, kernel in ATTENTION.items() if text.startswith(start)]
    if not named:
        return _with_attention_of(part, software, cells)
    kernels = dataclasses.replace(
        software.kernels, attention=named[0], fused_norm="RMS kernel" in text
    )
    return dataclasses.replace(software, kernels=kernels)


def _with_attention_of(part: Accelerator, software: Software, cells: Cells) -> Software:
    """Return the stack with its own attention kernel, or the part's if that is not made for it.

    Transformer Engine's fused attention is cuDNN's on NVIDIA parts, Composable Kernel's on AMD's.
    """
    fused = part.kernels.fused_attention
    own = software.kernels.attention
    if own in fused or own in part.kernels.score_passes or len(fused) != 1:
        return software
    (kernel,) = fused
    cells.assumed["attention_kernel"] = str(kernel)
    return dataclasses.replace(
        software, kernels=dataclasses.replace(software.kernels, attention=kernel)
    )
