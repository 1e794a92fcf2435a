"""The rank grid and its groups."""

from __future__ import annotations

import numpy as np
import pytest

from simulator.operators import Axis
from simulator.parallel.layout import Layout
from simulator.parallel.ranks import groups, rank_grid

LAYOUT = Layout(tensor=2, pipeline=2, data=2)
DATA_INSIDE_PIPELINE = Layout(
    tensor=2,
    pipeline=2,
    data=2,
    order=(Axis.TENSOR, Axis.CONTEXT, Axis.DATA, Axis.PIPELINE),
)


@pytest.mark.parametrize(
    ("axis", "members"),
    [
        (Axis.TENSOR, [[0, 1], [2, 3], [4, 5], [6, 7]]),
        (Axis.PIPELINE, [[0, 2], [1, 3], [4, 6], [5, 7]]),
        (Axis.DATA, [[0, 4], [1, 5], [2, 6], [3, 7]]),
        (Axis.CONTEXT, [[rank] for rank in range(8)]),
    ],
)
def test_groups_by_hand(axis: Axis, members: list[list[int]]) -> None:
    assert groups(LAYOUT, [axis]).tolist() == members


def test_order_decides_who_is_near() -> None:
    assert groups(DATA_INSIDE_PIPELINE, [Axis.DATA]).tolist() == [[0, 2], [1, 3], [4, 6], [5, 7]]
    assert groups(DATA_INSIDE_PIPELINE, [Axis.PIPELINE]).tolist()[0] == [0, 4]


def test_ranks_of_one_replica() -> None:
    replicas = groups(LAYOUT, [Axis.TENSOR, Axis.PIPELINE])
    assert replicas.tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert groups(LAYOUT, [Axis.PIPELINE, Axis.TENSOR]).tolist() == replicas.tolist()


@pytest.mark.parametrize("order", [LAYOUT.order, LAYOUT.order[::-1], DATA_INSIDE_PIPELINE.order])
@pytest.mark.parametrize(
    "axes", [(Axis.TENSOR,), (Axis.DATA, Axis.CONTEXT), (Axis.PIPELINE,), (Axis.DATA, Axis.TENSOR)]
)
def test_groups_partition_the_world(order: tuple[Axis, ...], axes: tuple[Axis, ...]) -> None:
    layout = Layout(tensor=4, context=2, pipeline=3, data=5, order=order)
    members = groups(layout, axes)
    assert members.shape[1] == np.prod([layout.degrees[axis] for axis in axes])
    assert np.array_equal(np.sort(members, axis=None), np.arange(layout.ranks))
    assert np.all(np.diff(members, axis=1) > 0)


def test_members_differ_in_their_axis_alone() -> None:
    layout = Layout(tensor=4, context=2, pipeline=3, data=5)
    grid = rank_grid(layout)
    coordinates = np.array(np.unravel_index(np.arange(layout.ranks), grid.shape)).T
    position = list(reversed(layout.order)).index(Axis.PIPELINE)
    for group in groups(layout, [Axis.PIPELINE]):
        fixed = np.delete(coordinates[group], position, axis=1)
        assert len(np.unique(fixed, axis=0)) == 1
        assert coordinates[group][:, position].tolist() == [0, 1, 2]
