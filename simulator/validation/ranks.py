"""How well the layouts that compete for one job are ranked by their predicted step times."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from simulator.validation.columns import LAYOUT, present

if TYPE_CHECKING:
    import pandas as pd

RIVALS: Final = ("group", "accelerator", "precision")
"""Layouts compete within these; across accelerators or precisions a ranking would be too easy."""
LEAST_RIVALS: Final = 5
"""Layouts of a group that is ranked: fewer say little of a rank correlation."""
TOP: Final = 3
"""How many of the best predictions someone would try."""


def ranked_layouts(compared: pd.DataFrame) -> pd.DataFrame:
    """Return one row per layout of each group of `LEAST_RIVALS` or more: what is ranked.

    Repeats of a layout count as one, with their median. Columns: ``source``, ``split``, ``model``,
    ``n_accel``, `RIVALS`, ``step_time_s``, ``measured_s`` and their ranks within the group, 1 the
    fastest, ``predicted_rank`` and ``measured_rank``.

    Parameters
    ----------
    compared
        Table of `errors.with_errors`.
    """
    keys = _group_keys(compared)
    rows = compared[compared["error"].notna()]
    layouts = rows.groupby([*keys, *present(rows, LAYOUT)], dropna=False, sort=False)
    each = layouts[["step_time_s", "measured_s"]].median().reset_index()
    rivals = each.groupby(keys, dropna=False)
    each = each.assign(
        predicted_rank=rivals["step_time_s"].rank(), measured_rank=rivals["measured_s"].rank()
    )
    return each[rivals["measured_s"].transform("size") >= LEAST_RIVALS].reset_index(drop=True)


def rankings(layouts: pd.DataFrame) -> pd.DataFrame:
    """Return how well the layouts of each group are ranked.

    Columns: what names the group (see `ranked_layouts`); ``layouts``; ``spearman``, the rank
    correlation of predicted and measured step times (NaN if either is constant);
    ``rank_of_best``, where the measured best stands among the predictions; ``best_in_top_3``;
    ``regret``, the measured time of the predicted best over the measured best, minus 1.

    Parameters
    ----------
    layouts
        Table of `ranked_layouts`.
    """
    import pandas as pd  # noqa: PLC0415 - slow, and a run without tables needs none

    keys = _group_keys(layouts)
    lines = [
        {**dict(zip(keys, key, strict=True)), **_ranking(part)}
        for key, part in layouts.groupby(keys, dropna=False)
    ]
    columns = ["layouts", "spearman", "rank_of_best", "best_in_top_3", "regret"]
    return pd.DataFrame(lines, columns=[*keys, *columns])


def _group_keys(frame: pd.DataFrame) -> list[str]:
    return ["source", "split", "model", "n_accel", *present(frame, RIVALS)]


def _ranking(layouts: pd.DataFrame) -> dict[str, Any]:
    """Return the figures of `rankings` for the layouts of one group."""
    predicted = layouts["step_time_s"].reset_index(drop=True)
    measured = layouts["measured_s"].reset_index(drop=True)
    rank = int(predicted.rank(method="min").iloc[int(measured.argmin())])
    return {
        "layouts": len(layouts),
        "spearman": spearman(predicted, measured),
        "rank_of_best": rank,
        "best_in_top_3": rank <= TOP,
        "regret": float(measured.iloc[int(predicted.argmin())] / measured.min() - 1),
    }


def spearman(left: pd.Series[float], right: pd.Series[float]) -> float:
    """Return the rank correlation of two samples, ties at their mean rank; NaN if one is constant.

    References
    ----------
    Spearman 1904: the product-moment correlation of ranks.
    """
    ranks = left.rank(), right.rank()
    if any(rank.min() == rank.max() for rank in ranks):
        return float("nan")
    return float(ranks[0].corr(ranks[1]))
