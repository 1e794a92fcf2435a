"""What each source of published runs leaves unsaid: its training stack, its cluster, its defaults.

A table of runs says little of the software and the network. Here stands, source by source, which
software profile and which cluster stand for it, and what is taken for an empty cell. Every default
that is used is listed in the prediction's ``assumed`` column.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Correction:
    """A cell of a source that is taken to be wrong, and what stands for it."""

    runs: str
    """Pattern of the rows' `run_name`."""
    column: str
    value: str
    evidence: str


@dataclass(frozen=True, slots=True)
class Source:
    """Where the runs of a source were made, with what, and what its empty cells stand for."""

    software: str
    """Software profile."""
    evidence: str
    """Why that profile stands for the source."""
    clusters: Mapping[str, str] = field(default_factory=dict)
    """Cluster profile by accelerator, where it differs from `CLUSTERS`."""
    defaults: Mapping[str, str] = field(default_factory=dict)
    """Value of an empty cell, by column."""
    stacks: Mapping[str, str] = field(default_factory=dict)
    """Software profile by accelerator, where it differs from ``software``."""
    stack_by_run: Mapping[str, str] = field(default_factory=dict)
    """Software profile by pattern of `run_name`, where it differs from ``software``."""
    altered: str = ""
    """Software profile of rows flagged ``model_altered(PTB,SWA)``: another stack and model."""
    allocated_memory: bool = False
    """The source's memory is what PyTorch's allocator held, not what the device reports."""
    modules_split: bool = False
    """Pipeline stages share out all modules evenly, embedding, norm and head among them."""
    head_recomputed: bool = False
    """Full recomputation covers the output head."""
    flushes: Mapping[str, int] = field(default_factory=dict)
    """Pipeline flushes per step where they are not one, by the start of ``MODEL on N, KERNEL``."""
    tuned: tuple[str, ...] = ()
    """Columns that the source leaves out and whose best value is taken (the authors tuned them)."""
    calibration: tuple[str, ...] = ()
    """Patterns of `run_name`: rows that fitted a profile which predicts them, and so validate
    nothing."""
    corrections: tuple[Correction, ...] = ()
    """Cells that are not taken as the table states them."""


ALTERED: Final = "model_altered"
"""Flag of MegaScale's rows: attention and MLP in parallel, a sliding window."""

CLUSTERS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "A100-80GB-SXM": "a100-hdr200",
        "H100-SXM": "h100-ndr400",
        "H200-SXM": "h200-ndr400",
        "H800-SXM": "h800-ndr400",
        "B200-SXM": "b200-ndr400",
        "B300-SXM": "b300-xdr800",
        "GB200-NVL72": "gb200-nvl72",
        "GB300-NVL72": "gb300-nvl72",
        "MI300X": "mi300x-pollara400",
        "MI325X": "mi325x-pollara400",
        "MI350X": "mi350x-pollara400",
        "MI355X": "mi355x-pollara400",
        "TPU-v5p": "tpu-v5p",
        "TPU-v6e": "tpu-v6e",
    }
)
"""Cluster that stands for an accelerator where a source does not say more."""

_GPT: Final = {"positions": "learned", "tied_embeddings": "True"}
_MEGATRON: Final = {"sequence_parallel": "False", "vpp": "1", "recompute": "none", "mbs": "1"}
_SHARDED: Final = {**_MEGATRON, "sequence_parallel": "True", "optimizer_sharding": "ZeRO-1"}

_ONE_NODE: Final = "gpt-L*-h* on [248] A100*"
"""vTrain's rows of one node."""

SOURCES: Final[Mapping[str, Source]] = MappingProxyType(
    {
        "aleph_alpha_layouts": Source(
            software="megatron-2023",
            clusters={"A100-80GB-SXM": "a100-selene"},
            evidence="Hagemann et al. 2023, arXiv 2311.05610, section 3; Aleph-Alpha/scaling",
            defaults={**_MEGATRON, "optimizer_sharding": "ZeRO-1", "vocabulary_multiple": "1"},
            # The 65B rows fitted the stack's times. From the kernels that store scores, which ran
            # with the 13B model only, it was inferred that the stack drops attention weights.
            calibration=("llama-65B*", "llama-13B*, fused", "llama-13B*, torch"),
            modules_split=True,
            head_recomputed=True,
            flushes={"llama-13B-128kvocab on 64, flash_attention2": 8},
        ),
        "vtrain": Source(
            software="megatron-deepspeed-fp16-2023",
            # Rows of one node are put together from traced layers (docs/validation.md, Why).
            stack_by_run={_ONE_NODE: "megatron-deepspeed-traced-2023"},
            evidence="Bang et al. 2024, arXiv 2312.12391; VIA-Research/vTrain, src/",
            clusters={"A100-80GB-SXM": "a100-vtrain"},
            calibration=("gpt-L*-h1024 on *",),
            corrections=(
                Correction(
                    runs=_ONE_NODE,
                    column="recompute",
                    value="none",
                    evidence=(
                        "The table infers full recomputation from a switch of vTrain's "
                        "configurations. Its predictor (src/predictor.py) recomputes on no last "
                        "stage, hence not at all without a pipeline, and layers of hidden size "
                        "1024 take equal times on every stage of every pipeline. From 4 to 8 "
                        "sequences such a layer takes 0.75 ms per sequence longer: its kernels "
                        "need 0.8 ms without recomputation and 1.1 ms with it"
                    ),
                ),
            ),
            defaults={
                **_MEGATRON,
                **_GPT,
                "vocab": "50257",
                "vocabulary_multiple": "1",
                "precision": "fp16",
                "optimizer_sharding": "none",
            },
        ),
        "korthikanti2022": Source(
            software="megatron-2022",
            evidence="Korthikanti et al. 2022, arXiv 2205.05198, section 6",
            clusters={"A100-80GB-SXM": "a100-selene"},
            defaults={**_MEGATRON, **_GPT, "optimizer_sharding": "none"},
        ),
        "narayanan2021": Source(
            software="megatron-2021",
            evidence="Narayanan et al. 2021, arXiv 2104.04473, section 5",
            clusters={"A100-80GB-SXM": "a100-selene"},
            defaults={**_MEGATRON, **_GPT, "optimizer_sharding": "none"},
            tuned=("mbs",),
        ),
        "mtnlg": Source(
            software="megatron-2021",
            evidence="Smith et al. 2022, arXiv 2201.11990, section 2.4",
            clusters={"A100-80GB-SXM": "a100-selene"},
            defaults={
                **_MEGATRON,
                **_GPT,
                "vocab": "51200",
                "optimizer_sharding": "none",
                "recompute": "full",
                "precision": "bf16",
            },
        ),
        "bigscience_bloom": Source(
            software="megatron-deepspeed-2022",
            evidence="BigScience, chronicles-prequel.md: Megatron-DeepSpeed, ZeRO-1, 1F1B",
            clusters={"A100-80GB-SXM": "a100-jean-zay"},
            defaults={
                **_MEGATRON,
                "positions": "alibi",
                "embedding_norm": "True",
                "tied_embeddings": "True",
                "vocab": "250880",
                "recompute": "full",
                "precision": "bf16",
            },
        ),
        "megascale": Source(
            software="megascale-megatron-2023",
            evidence="Jiang et al. 2024, arXiv 2402.15627, sections 3 and 6",
            altered="megascale-2024",
            calibration=("* on 256 *", "* on 512 *", "* on 768 *", "* on 1024 *"),
            clusters={"A100-80GB-SXM": "a100-megascale"},
            defaults={
                **_MEGATRON,
                **_GPT,
                "vocab": "51200",
                "precision": "bf16",
                "sequence_parallel": "True",
                "optimizer_sharding": "ZeRO-1",
                "vpp": "6",
            },
        ),
        "llama3_paper": Source(
            software="llama3-2024",
            evidence="Dubey et al. 2024, arXiv 2407.21783, section 3.3",
            clusters={"H100-SXM": "h100-roce400"},
            defaults={
                **_MEGATRON,
                "sequence_parallel": "True",
                "vocab": "128256",
                "vpp": "8",
            },
        ),
        "megatron_bridge": Source(
            software="megatron-bridge-2025",
            stacks={"H100-SXM": "megatron-bridge-eager-2025"},
            evidence="NVIDIA-NeMo/Megatron-Bridge, docs/performance-summary.md and recipes",
            calibration=(
                *("llama3-8B on * B200*", "llama3-8B on * GB200*"),
                *("llama3-70B on * GB200*", "llama3-70B on * GB300*"),
            ),
            defaults=_SHARDED,
        ),
        "dgxc_benchmarking": Source(
            software="nemo-2024",
            evidence="NVIDIA/dgxc-benchmarking: NeMo recipes of 2024 and 2025",
            calibration=("gpt3-175B on *",),
            defaults={
                **_SHARDED,
                "cp": "1",
            },
        ),
        "nemo_2407": Source(
            software="nemo-2024",
            evidence="NVIDIA/NeMo, docs/source/performance/performance_summary.md",
            defaults=_SHARDED,
        ),
        "nemo_longseq": Source(
            software="nemo-2024",
            evidence="NVIDIA/NeMo, docs/source/performance/performance_long_sequence.md",
            defaults=_SHARDED,
        ),
        "megatron_lm_llama_example": Source(
            software="megatron-bridge-eager-2025",
            evidence="NVIDIA/Megatron-LM, examples/llama/README.md",
            defaults=_SHARDED,
        ),
        "mlperf": Source(
            software="mlperf-nemo-2024",
            evidence="MLPerf Training submissions with NeMo: fp8 parameters",
            defaults={
                **_SHARDED,
                "positions": "learned",
            },
        ),
        "simumax_b200": Source(
            software="megatron-lm-2025",
            evidence="MooreThreads/SimuMax, docs/b200: Megatron-LM, Transformer Engine 2.11",
            allocated_memory=True,
            calibration=("llama3-70B-L12 on *",),
            defaults=_MEGATRON,
        ),
        "llm_foundry": Source(
            software="llm-foundry-2023",
            evidence="mosaicml/llm-foundry, scripts/train/benchmarking: FSDP",
            defaults={**_MEGATRON, **_GPT},
        ),
        "torchtitan": Source(
            software="torchtitan-2025",
            evidence="pytorch/torchtitan, benchmarks/: FSDP2",
            allocated_memory=True,
            defaults=_MEGATRON,
        ),
        "aws_torchtitan": Source(
            software="torchtitan-2025",
            evidence="aws-samples/awsome-distributed-training, torchtitan",
            defaults=_MEGATRON,
        ),
        "fms_fsdp": Source(
            software="torchtitan-2025",
            evidence="foundation-model-stack/fms-fsdp, README.md: FSDP, compiled",
            defaults=_MEGATRON,
        ),
        "maxtext_readme": Source(
            software="maxtext-2025",
            evidence="google/maxtext, MaxText/configs",
            defaults=_MEGATRON,
        ),
        "tpu_recipes": Source(
            software="maxtext-2025",
            evidence="AI-Hypercomputer/tpu-recipes",
            defaults=_MEGATRON,
        ),
    }
)
"""By the ``source`` column; sources with a version (``mlperf_v5.0``) by the part before it."""

UNKNOWN: Final = Source(
    software="megatron-core-2025",
    evidence="a source that is not known here: Megatron Core stands in",
    defaults=_SHARDED,
)


def run_name(row: Mapping[str, str]) -> str:
    """Return what patterns of rows match: ``MODEL on N ACCELERATOR, PRECISION, KERNEL``."""
    where = f"{row['model']} on {row['n_accel']} {row['accelerator']}"
    return f"{where}, {row['precision']}, {row.get('attention_kernel', '')}"


def source_of(name: str) -> Source:
    """Return what is known of a source by its name in a table; `UNKNOWN` for others."""
    if name in SOURCES:
        return SOURCES[name]
    return SOURCES.get(name.rpartition("_v")[0], UNKNOWN)
