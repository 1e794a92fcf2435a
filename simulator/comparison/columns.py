"""Columns of a comparison: what each means, in which unit."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from simulator.comparison.knee import TARGETS
from simulator.metrics.breakdown import CATEGORIES
from simulator.report.spans import Column

if TYPE_CHECKING:
    from collections.abc import Mapping


CURRENCY: Final = "currency"
PRICES: Final = ("network_share_of_price", "rent_per_million_tokens", CURRENCY, "price_date")
"""Columns that are there only where a profile has a price."""
PARTS: Final = tuple(f"{part}_s" for part in dict.fromkeys(CATEGORIES.values()))
"""Where the step goes; they add up to ``step_time_s``."""
KNEES: Final = {f"knee_{100 * share:.0f}_gbit_per_s": share for share in TARGETS}
"""Columns of least line rates, and the shares of the compute-bound speed that they are for."""
SEARCHED: Final = (
    *("compute_bound_step_time_s", "communication_free_step_time_s"),
    *("share_of_compute_bound", "knee_reason"),
)
"""What else is there only if the knee is sought."""

UTILISATIONS: Final = ("mfu_palm", "mfu_megatron", "mfu_causal", "mfu_convolutions")
"""Columns by convention of the model FLOPs, of which a kind of model has some."""

COLUMNS: Final[Mapping[str, Column]] = MappingProxyType(
    {
        "cluster": Column("", "cluster as it was named"),
        "changes": Column("", "what was changed on this cluster alone"),
        "status": Column("", "ok, over_memory (simulated, but does not fit) or refused"),
        "reason": Column("", "why it does not fit or was refused"),
        "scenario": Column("", "name of the scenario"),
        "accelerator": Column("", "accelerator of the cluster"),
        "accelerators": Column("", "size of the job"),
        "model": Column("", "model"),
        "software": Column("", "training stack"),
        "precision": Column("", "format of the linear layers"),
        "layout": Column("", "degrees above one"),
        "global_batch": Column("sequences", "sequences per step"),
        "micro_batch": Column("sequences", "sequences that a pipeline processes at once"),
        "sequence_length": Column("tokens", "tokens of a sequence"),
        "line_rate_gbit_per_s": Column("Gbit/s", "network of one accelerator, one direction"),
        "step_time_s": Column("s", "one training step"),
        "tokens_per_s_per_accelerator": Column("tokens/s", "tokens of one accelerator"),
        "mfu_palm": Column("", "model FLOPs utilisation, convention palm"),
        "mfu_megatron": Column("", "the same, convention megatron"),
        "mfu_causal": Column("", "the same, convention causal"),
        "mfu_convolutions": Column("", "the same of image models, convention convolutions"),
        "bubble_fraction": Column("", "bubble as a share of the step"),
        **{part: Column("s", "part of the step, mean over ranks") for part in PARTS},
        "peak_memory_gib": Column("GiB", "memory of the fullest stage"),
        "memory_capacity_gib": Column("GiB", "memory of the accelerator"),
        "compute_bound_step_time_s": Column("s", "the step if the network between nodes were free"),
        "communication_free_step_time_s": Column("s", "the step if all communication were free"),
        "share_of_compute_bound": Column("", "compute_bound_step_time_s over step_time_s"),
        **{
            name: Column("Gbit/s", f"least line rate for {share:.0%} of the compute-bound speed")
            for name, share in KNEES.items()
        },
        "knee_reason": Column("", "why there is no least line rate"),
        "network_share_of_price": Column("", "network between nodes in the purchase"),
        "rent_per_million_tokens": Column("currency", "accelerator-hours of a million tokens"),
        CURRENCY: Column("", "of the prices"),
        "price_date": Column("", "when prices were asked"),
        "kernels": Column("", "transferred if no kernel was measured on the part's family, or own"),
        "notes": Column("", "how groups sit on this cluster"),
    }
)
"""Every column in its order; swept fields come after ``cluster``, under their own keys."""
