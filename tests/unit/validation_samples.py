"""A small table of predictions that the tests of validation share, with errors by hand."""

from __future__ import annotations

import pandas as pd

from simulator.validation.columns import BREAKDOWN, COLUMNS, LAYOUT

NAN = float("nan")


def sample_predictions() -> pd.DataFrame:
    """Return six layouts of one group, a run out of memory, one by its rate, and what is missing.

    Signed errors: 0, +10 %, -10 %, +20 %, 0, 0; then none; then +25 % (from the rate).
    """
    predicted = [1.0, 2.2, 2.7, 4.8, 5.0, 6.0, 9.0, 2.0, NAN]
    measured = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, NAN, NAN, 1.0]
    count = len(predicted)
    frame = pd.DataFrame(
        {
            "run_id": [f"run-{number}" for number in range(count)],
            "source": ["study"] * 7 + ["rates", "<b>other</b>"],
            "model": "a model",
            "accelerator": "H100-SXM",
            "n_accel": 64,
            "status": ["ok"] * 8 + ["unsupported"],
            "reason": [""] * 8 + ["mixture of experts"],
            "assumed": ["vpp=1; vocab=51200"] * 2 + [""] * 7,
            "stack": "a-stack",
            "cluster": "a-cluster",
            "step_time_s": predicted,
            "tokens_per_s_per_gpu": [NAN] * 7 + [80.0, NAN],
            "peak_memory_gib": [40.0] * 6 + [90.0, 81.0, NAN],
            "fits": [True] * 6 + [False, False, None],
            "measured_step_time_s": measured,
            "measured_tokens_per_s_per_gpu": [NAN] * 7 + [100.0, NAN],
            "measured_memory_gib": [50.0] + [NAN] * 8,
            "measured_oom": [None] * 6 + [True, None, None],
            "flags": [""] * 8 + ["layout_unknown"],
            "group": ["study 64"] * 7 + ["rates 64", "other 64"],
            "split": "validation",
            "capacity_gib": 80.0,
            "tp": [1, 2, 4, 8, 1, 2, 4, 1, 1],
            "pp": [1, 1, 1, 1, 2, 2, 2, 1, 1],
        }
    )
    for name in LAYOUT:
        if name not in frame:
            frame[name] = None
    for name in BREAKDOWN:
        frame[name] = 0.0
    frame["compute_s"] = frame["step_time_s"] * 0.75
    frame["bubble_s"] = frame["step_time_s"] * 0.25
    assert set(COLUMNS) <= set(frame.columns)
    return frame
