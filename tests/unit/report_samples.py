"""Made-up steps for the tests of the report: spans, memory and summary of a pipelined step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from simulator.report.spans import COLUMNS, LANES

CAPACITY_GIB = 79.6
FORWARD_S = 0.010
SEND_S = 0.0006
NAMES = (("attention", 0.42, "compute"), ("all_reduce", 0.10, "tensor"), ("mlp", 0.48, "compute"))
"""Operators of a layer: name, share of its time, lane."""


@dataclass(frozen=True)
class Pipeline:
    """A 1F1B pipeline, interleaved where it has chunks."""

    stages: int
    micro_batches: int
    chunks: int = 1
    layers: int = 2

    def forwards(self) -> list[tuple[int, int]]:
        """Return (chunk, micro-batch) in the order of forwards: rounds of one chunk each."""
        group = self.stages if self.chunks > 1 else self.micro_batches
        return [
            (chunk, micro_batch)
            for first in range(0, self.micro_batches, group)
            for chunk in range(self.chunks)
            for micro_batch in range(first, min(first + group, self.micro_batches))
        ]

    def order(self, stage: int) -> list[tuple[str, int, int]]:
        """Return the stage's actions (action, chunk, micro-batch) in order."""
        forwards = self.forwards()
        last = self.chunks - 1
        backwards = [("B", last - chunk, micro_batch) for chunk, micro_batch in forwards]
        distance = self.stages - stage - 1
        warm_up = distance if last == 0 else 2 * distance + last * self.stages
        warm_up = min(warm_up, len(forwards))
        plan = [("F", *forward) for forward in forwards]
        steady = [
            action for pair in zip(plan[warm_up:], backwards, strict=False) for action in pair
        ]
        return [*plan[:warm_up], *steady, *backwards[len(forwards) - warm_up :]]

    def needs(self, stage: int, action: tuple[str, int, int]) -> tuple[int, str, int, int] | None:
        """Return the stage and action that hands an action its input."""
        kind, chunk, micro_batch = action
        step = 1 if kind == "B" else -1
        place = chunk * self.stages + stage + step
        if place == self.stages * self.chunks:
            return stage, "F", chunk, micro_batch
        if place < 0:
            return None
        return place % self.stages, kind, place // self.stages, micro_batch


def play(pipeline: Pipeline) -> dict[tuple[int, str, int, int], tuple[float, float]]:
    """Return start and end of every action by (stage, action, chunk, micro-batch)."""
    ended: dict[tuple[int, str, int, int], tuple[float, float]] = {}
    orders = [iter(pipeline.order(stage)) for stage in range(pipeline.stages)]
    heads = [next(order, None) for order in orders]
    free = [0.0] * pipeline.stages
    while any(heads):
        for stage, action in enumerate(heads):
            if action is None:
                continue
            source = pipeline.needs(stage, action)
            if source is not None and source not in ended:
                continue
            ready = 0.0
            if source is not None:
                ready = ended[source][1] + (SEND_S if source[0] != stage else 0.0)
            start = max(free[stage], ready)
            free[stage] = start + FORWARD_S * (2 if action[0] == "B" else 1)
            ended[stage, *action] = start, free[stage]
            heads[stage] = next(orders[stage], None)
    return ended


def sample_spans(pipeline: Pipeline) -> pd.DataFrame:
    """Return the span table of a step, gradients reduced and optimizer run at its end."""
    played = play(pipeline)
    records = [
        record for key, times in played.items() for record in _operators(pipeline, key, *times)
    ]
    for flow, (key, (_, end)) in enumerate(played.items()):
        stage, action, chunk, micro_batch = key
        step = 1 if action == "F" else -1
        place = chunk * pipeline.stages + stage + step
        if 0 <= place < pipeline.stages * pipeline.chunks:
            peer = place % pipeline.stages
            common = (action, "send_recv", micro_batch, chunk, -1, end, end + SEND_S, 2.0**26)
            records.append((stage, stage, "pipeline_send", "pipeline", *common, peer, flow))
            records.append((peer, peer, "pipeline_receive", "pipeline", *common, -1, flow))
    for stage in range(pipeline.stages):
        end = max(times[1] for key, times in played.items() if key[0] == stage)
        reduced, updated = end + 0.6 * FORWARD_S, end + 1.2 * FORWARD_S
        tail = (-1, -1, -1)
        records.append(
            (
                stage,
                stage,
                "data",
                "data",
                "",
                "reduce_scatter",
                *tail,
                end,
                reduced,
                2.0**30,
                -1,
                -1,
            )
        )
        records.append(
            (
                stage,
                stage,
                "compute",
                "optimizer",
                "",
                "adamw",
                *tail,
                reduced,
                updated,
                0.0,
                -1,
                -1,
            )
        )
    frame = pd.DataFrame(records, columns=list(COLUMNS))
    frame["lane"] = pd.Categorical(frame["lane"], categories=list(LANES))
    for column in ("kind", "action", "name"):
        frame[column] = frame[column].astype("category")
    return frame.sort_values(["rank_class", "lane", "start_s"], ignore_index=True)


def _operators(
    pipeline: Pipeline, key: tuple[int, str, int, int], start: float, end: float
) -> list[tuple[Any, ...]]:
    stage, action, chunk, micro_batch = key
    kind = "forward" if action == "F" else "backward"
    layer_s = (end - start) / pipeline.layers
    records = []
    for layer in range(pipeline.layers):
        time = start + layer * layer_s
        for name, share, lane in NAMES:
            after = time + share * layer_s
            of = kind if lane == "compute" else lane
            n_bytes = 0.0 if lane == "compute" else 2.0**25
            records.append(
                (
                    stage,
                    stage,
                    lane,
                    of,
                    action,
                    name,
                    micro_batch,
                    chunk,
                    layer,
                    time,
                    after,
                    n_bytes,
                    -1,
                    -1,
                )
            )
            time = after
    return records


def sample_memory(pipeline: Pipeline) -> tuple[pd.DataFrame, list[dict[str, float]]]:
    """Return memory over the step, and the components of each stage's peak [GiB]."""
    fixed = {"weights": 9.5, "gradients": 9.5, "optimizer": 7.2, "working": 0.4, "buffers": 1.1}
    fixed |= {"fragmentation": 2.1, "framework": 2.4}
    per_action = 30.0 / (pipeline.stages * pipeline.chunks)
    changes: dict[int, list[tuple[float, float]]] = {stage: [] for stage in range(pipeline.stages)}
    for (stage, action, _, _), (start, end) in play(pipeline).items():
        changes[stage].append((start, per_action) if action == "F" else (end, -per_action))
    records, stages = [], []
    for stage, own in changes.items():
        logits = 3.9 if stage == pipeline.stages - 1 else 0.0
        held = sum(fixed.values()) + logits
        peak = held
        records.append((stage, 0.0, held))
        for time, change in sorted(own):
            held += change
            peak = max(peak, held)
            records.append((stage, time, held))
        activations = peak - sum(fixed.values()) - logits
        stages.append(
            {"stage": stage, **fixed, "activations": activations, "logits": logits, "total": peak}
        )
    return pd.DataFrame(records, columns=["stage", "time_s", "memory_gib"]), stages


def group(axis: str, ranks: int, nodes: int, crosses: str, rate: float) -> dict[str, Any]:
    """Return one row of communication groups, spread evenly over its nodes."""
    return {
        "axis": axis,
        "ranks": ranks,
        "ranks_per_node": ranks // nodes,
        "nodes": nodes,
        "rails": 1,
        "crosses": crosses,
        "line_rate_gb_per_s": rate,
        "contention": 1.0,
        "wire_share": 1.0,
        "collective": "reduce_scatter",
        "message_mib": 128.0,
        "message_time_us": 2840.0,
        "bus_bandwidth_gb_per_s": 0.9 * rate,
        "latency_us": 34.2,
    }


def sample_summary(pipeline: Pipeline) -> dict[str, Any]:
    """Return a summary with every key, its breakdown adding up to the step."""
    spans = sample_spans(pipeline)
    step_time_s = float(spans["end_s"].max())
    _, stages = sample_memory(pipeline)
    peak = max(stage["total"] for stage in stages)
    parts = {
        "recompute": 0.0,
        "exposed_tensor": 0.071,
        "exposed_context": 0.0,
        "exposed_expert": 0.0,
    }
    parts |= {"exposed_pipeline": 0.013, "exposed_data": 0.022, "bubble": 0.052, "optimizer": 0.004}
    breakdown = {"compute": 1 - sum(parts.values()) - 0.003, **parts, "other": 0.003}
    return {
        "schema_version": 1,
        "scenario": "llama3-405b-16k-h100",
        "model": "llama3-405b",
        "sample": "token",
        "parameters": 405_853_388_800,
        "cluster": "meta-24k-roce",
        "accelerator": "NVIDIA H100 SXM5 80 GB",
        "accelerators": 16_384,
        "layout": {
            "tensor": 8,
            "context": 1,
            "pipeline": pipeline.stages,
            "data": 128,
            "virtual_stages": pipeline.chunks,
            "sequence_parallel": True,
            "sharding": "optimizer",
            "order": ["tensor", "context", "pipeline", "data"],
            "layers": [1] * pipeline.stages * pipeline.chunks,
        },
        "placement": {"nodes": "scattered", "seed": 7, "lost_nodes": [3, 17]},
        "batch": {
            "global_batch": 2048,
            "micro_batch": 1,
            "micro_batches": pipeline.micro_batches,
            "sequence_length": 8192,
        },
        "precision": "bf16",
        "recompute": {"mode": "none", "every": 1},
        "software": "Megatron Core (2025)",
        "schedule": "interleaved_1f1b" if pipeline.chunks > 1 else "1f1b",
        "engine": "compiled",
        "step_time_s": step_time_s,
        "tokens_per_step": 2**24,
        "tokens_per_s": 2**24 / step_time_s,
        "tokens_per_s_per_accelerator": 2**24 / step_time_s / 16_384,
        "model_flop_per_token": {"palm": 2.5483e12, "megatron": 2.5495e12, "causal": 2.4917e12},
        "tflop_per_s_per_accelerator": {"palm": 410.2, "megatron": 410.4, "causal": 401.1},
        "mfu": {"palm": 0.4148, "megatron": 0.4150, "causal": 0.4056},
        "hfu": {"palm": 0.4148, "megatron": 0.4150, "causal": 0.4056},
        "peak_tflop_per_s": 989.0,
        "bubble_fraction": 0.052,
        "bubble_fraction_ideal": 0.0489,
        "breakdown_s": {part: share * step_time_s for part, share in breakdown.items()},
        "memory_gib": {"capacity": CAPACITY_GIB, "peak": peak, "stages": stages},
        "fits": peak <= CAPACITY_GIB,
        "groups": [
            group("tensor", 8, 1, "hgx-h100", 450.0),
            group("data+context", 128, 128, "cluster", 50.0),
            group("pipeline", 16, 2, "pod", 50.0),
        ],
        "network": {
            "sharing": "fair",
            "background_share": 0.3,
            "routing": "ecmp",
            "seed": 0,
            "flows_per_pair": 4,
        },
        "transfers": {
            "pipeline": {"count": 4064, "alone_s": 0.199, "shared_s": 0.208, "slowdown": 1.046},
            "data": {"count": 272, "alone_s": 0.488, "shared_s": 0.5, "slowdown": 1.025},
        },
        "links": [
            {"link": "nic_out", "mean_use": 0.096, "highest_use": 0.097, "stage": 1},
            {"link": "port_out", "mean_use": 1e-5, "highest_use": 1e-5, "stage": 0},
        ],
        "assumptions": [
            "kernel efficiencies measured on one H200 and scaled to this part's published rates",
            "ECMP collisions cost the data-parallel groups 14 % of their bandwidth",
        ],
    }
