"""Schedules by hand-made examples: text, mistakes, placements, memory and the picture."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure

from simulator.errors import ScheduleError
from simulator.report.schedule_plot import plot_schedule
from simulator.schedule import (
    SCHEDULES,
    Action,
    Actions,
    Kind,
    Placement,
    Schedule,
    build_schedule,
    evaluate_equal_costs,
    find_problems,
    format_schedule,
    gpipe,
    ideal_bubble_fraction,
    interleaved_1f1b,
    looping,
    one_f_one_b,
    parse_schedule,
    peak_in_flight,
    producers,
    validate_schedule,
)

SPLIT = "F0 F1 I0 I1 W0 W1\nF0 I0 F1 I1 W0 W1"
"""Two stages with input and weight gradients apart."""


def v_shape(stages: int, chunks: int) -> Placement:
    """Down the stages with chunk 0 and back up with chunk 1."""
    return tuple((stage, stages * chunks - 1 - stage) for stage in range(stages))


def both_directions(stages: int, chunks: int) -> Placement:
    """Chunk 0 runs the model from the first stage on, chunk 1 from the last."""
    assert chunks == 2
    return tuple((stage, stages - 1 - stage) for stage in range(stages))


def test_one_f_one_b_is_the_textbook_order() -> None:
    assert format_schedule(one_f_one_b(3, 4)).splitlines() == [
        "F0 F1 F2 B0 F3 B1 B2 B3",
        "F0 F1 B0 F2 B1 F3 B2 B3",
        "F0 B0 F1 B1 F2 B2 F3 B3",
    ]


def test_interleaved_first_stage_of_the_paper() -> None:
    """Narayanan et al. 2021, figure 4, device 1: eleven forwards before the first backward."""
    first, *_ = format_schedule(interleaved_1f1b(4, 8, 2)).splitlines()
    assert first.startswith(
        "F0.0 F1.0 F2.0 F3.0 F0.1 F1.1 F2.1 F3.1 F4.0 F5.0 F6.0 B0.1 F7.0 B1.1 F4.1 B2.1"
    )


def test_one_chunk_interleaved_is_plain_1f1b() -> None:
    assert interleaved_1f1b(4, 6, 1) == one_f_one_b(4, 6)


def test_fewer_micro_batches_than_stages_all_warm_up() -> None:
    first, *_ = format_schedule(one_f_one_b(4, 2)).splitlines()
    assert first == "F0 F1 B0 B1"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("1f2b", 4, 8, 1), r"no schedule is called '1f2b'.*did you mean '1f1b'"),
        (("gpipe", 4, 8, 2), "gpipe does not interleave: chunks = 2"),
        (("1f1b", 4, 8, 3), "interleaved_1f1b takes several"),
        (("1f1b", 0, 8, 1), "stages = 0, but must be from 1"),
        (("interleaved_1f1b", 4, 8, 40_000), "chunks = 40000, but must be from 1 to 32,767"),
        (("interleaved_1f1b", 4, 10, 2), r"10 micro-batches = 2 x 4 stages \+ 2; use 8 or 12"),
        (("interleaved_1f1b", 4, 3, 2), r"3 micro-batches = 0 x 4 stages \+ 3; use 4$"),
    ],
)
def test_counts_that_do_not_fit_are_refused(
    arguments: tuple[str, int, int, int], message: str
) -> None:
    with pytest.raises(ScheduleError, match=message):
        build_schedule(*arguments)
    with pytest.raises(ScheduleError, match=message):
        ideal_bubble_fraction(*arguments)


def test_ideal_bubble_by_hand() -> None:
    assert ideal_bubble_fraction("1f1b", 4, 8, 1) == pytest.approx(3 / 11)
    assert ideal_bubble_fraction("interleaved_1f1b", 4, 8, 2) == pytest.approx(3 / 19)
    assert ideal_bubble_fraction("gpipe", 1, 8, 1) == 0


def test_registry_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        SCHEDULES["mine"] = gpipe  # type: ignore[index]


def test_actions_are_read_as_objects_and_kept_as_columns() -> None:
    actions = interleaved_1f1b(2, 2, 2).actions[1]
    assert actions[0] == Action(Kind.FORWARD, 0, 0)
    assert list(actions)[-1] == Action(Kind.BACKWARD, 1, 0)
    columns = (actions.kinds, actions.micro_batches, actions.chunks)
    assert [column.itemsize for column in columns] == [1, 4, 2]
    assert hash(actions) == hash(Actions.of(actions))
    assert actions != interleaved_1f1b(2, 2, 2).actions[0]
    with pytest.raises(ValueError, match="read-only"):
        actions.kinds[0] = 1


def test_columns_that_cannot_be_read_are_refused() -> None:
    one, two = np.zeros(1, np.int8), np.zeros(2, np.int32)
    with pytest.raises(ScheduleError, match=r"differ in length: \[1, 2\]"):
        Actions(one, two, np.zeros(1, np.int16))
    with pytest.raises(ScheduleError, match="codes from 0 to 3"):
        Actions(one + np.int8(4), np.zeros(1, np.int32), np.zeros(1, np.int16))


@pytest.mark.parametrize(
    ("placement", "message"),
    [
        (((0,),), "placement has 1 stages, actions have 2"),
        (((0, 1), (2,)), "same number of chunks"),
        (((), ()), "same number of chunks"),
        (((0,), (2,)), r"gaps: virtual stages \[0, 2\]"),
    ],
)
def test_placements_that_do_not_fit_are_refused(placement: Placement, message: str) -> None:
    actions = one_f_one_b(2, 2).actions
    with pytest.raises(ScheduleError, match=message):
        Schedule(2, placement, actions)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("F0 B0\nF0 X0", r"line 2, token 2: 'X0' is not an action"),
        ("F0 B-1", r"line 1, token 2: 'B-1'"),
        ("\n\nF0 B0 F1. B1", r"line 3, token 3: 'F1\.'"),
        ("F0 B٣", "line 1, token 2"),
        ("F99999999999", "micro-batches are below 2,147,483,647"),
        ("F0.99999", "chunks below 32,767"),
        (" \n", "has no actions"),
    ],
)
def test_junk_is_refused_with_its_place(text: str, message: str) -> None:
    with pytest.raises(ScheduleError, match=message):
        parse_schedule(text)


def test_text_with_split_gradients_reads_back_and_can_run() -> None:
    schedule = parse_schedule(SPLIT)
    assert format_schedule(schedule) == SPLIT
    validate_schedule(schedule)


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("F0 B0\nF0", ["B0 of stage 1 is missing"]),
        ("F0 F0 B0\nF0 B0", ["F0 of stage 0 is repeated"]),
        ("F0 I0 W0\nF0 I0", ["B0 of stage 1 or W0 of stage 1 is missing"]),
        ("F0 I0 B0", ["B0 of stage 0 or I0 of stage 0 is repeated"]),
        ("F0 W0 I0", ["W0 of stage 0 must come after I0 of stage 0, on the same stage"]),
        (
            "F0.0 F0.1 B0.1 B0.0\nF0.1 F0.0 B0.0 B0.1",
            [
                "deadlock: F0.1 of stage 0 waits for ever for F0.0 of stage 1",
                "deadlock: F0.1 of stage 1 waits for ever for F0.1 of stage 0",
            ],
        ),
        (
            "F0 F7",
            [
                *(f"F{i} of stage 0 is missing" for i in range(1, 6)),
                "… and 1 more like the last",
                *(f"B{i} of stage 0 is missing" for i in range(5)),
                "… and 3 more like the last",
            ],
        ),
    ],
)
def test_mistakes_are_named(text: str, problems: list[str]) -> None:
    schedule = parse_schedule(text)
    assert find_problems(schedule) == problems
    with pytest.raises(ScheduleError) as error:
        validate_schedule(schedule)
    assert str(error.value).splitlines() == problems


def test_an_absurd_micro_batch_is_reported_without_a_table_of_all_before_it() -> None:
    problems = find_problems(parse_schedule("F0 B0 F999999999 B999999999"))
    assert problems[0] == "F1 of stage 0 is missing"
    assert problems[5] == "… and 999,999,993 more like the last"


def test_actions_outside_the_schedule_are_named() -> None:
    actions = (Actions.of([Action(Kind.FORWARD, 3), Action(Kind.BACKWARD, 0, -1)]),)
    assert find_problems(Schedule(2, ((0,),), actions)) == [
        "stage 0: F3.0 does not exist; micro-batches are 0 to 1, chunks 0 to 0",
        "stage 0: B0.-1 does not exist; micro-batches are 0 to 1, chunks 0 to 0",
    ]


def test_a_v_shaped_placement_turns_round_on_the_last_stage() -> None:
    text = "F0.0 F0.1 B0.1 B0.0\nF0.0 F0.1 B0.1 B0.0"
    schedule = parse_schedule(text, v_shape)
    timeline = evaluate_equal_costs(schedule, 1, 1)
    assert timeline.starts[0].tolist() == [0, 3, 4, 7]
    assert timeline.starts[1].tolist() == [1, 2, 5, 6]
    assert schedule != parse_schedule(text, looping)


def test_micro_batches_may_run_through_the_stages_in_both_directions() -> None:
    schedule = parse_schedule("F0.0 F1.1 B1.1 B0.0\nF1.1 F0.0 B0.0 B1.1", both_directions)
    assert evaluate_equal_costs(schedule, 1, 2).makespan == 6
    strayed = parse_schedule("F0.0 F1.1 B1.1 B0.1\nF1.1 F0.0 B0.0 B1.1", both_directions)
    assert find_problems(strayed) == [
        "B0.0 of stage 0 or B0.1 of stage 1 is missing",
        "B0.1 of stage 0 or B0.0 of stage 1 is repeated",
    ]
    swapped = parse_schedule("F0.0 F1.1 B1.1 B0.1\nF1.1 F0.0 B0.1 B1.1", both_directions)
    assert "on the same stage" in find_problems(swapped)[0]


def test_producers_by_hand() -> None:
    """Flat numbers: stage 0 has 0 to 5, stage 1 has 6 to 11; see ``SPLIT``."""
    first, second = producers(parse_schedule(SPLIT))
    assert first.tolist() == [-1, -1, 7, 9, -1, -1]
    assert second.tolist() == [0, 6, 1, 8, -1, -1]


def test_timeline_by_hand() -> None:
    timeline = evaluate_equal_costs(parse_schedule(SPLIT), forward=1, backward=4)
    assert timeline.starts[0].tolist() == [0, 1, 4, 7, 9, 11]
    assert timeline.ends[1].tolist() == [2, 4, 5, 7, 9, 11]
    assert timeline.makespan == 13


def test_a_schedule_that_cannot_run_has_no_timeline() -> None:
    with pytest.raises(ScheduleError, match="missing"):
        evaluate_equal_costs(parse_schedule("F0"), 1, 2)
    with pytest.raises(ScheduleError, match=r"not negative: forward=-1"):
        evaluate_equal_costs(one_f_one_b(2, 2), -1, 2)
    with pytest.raises(ScheduleError, match="finite"):
        evaluate_equal_costs(one_f_one_b(2, 2), 1, float("nan"))


def test_activations_are_held_until_the_weight_gradient() -> None:
    assert peak_in_flight(parse_schedule(SPLIT)).tolist() == [2, 2]
    assert peak_in_flight(parse_schedule(SPLIT.replace("I0 F1", "I0 W0 F1", 1))).tolist() == [2, 1]


def test_activations_are_weighted_by_stage_and_chunk() -> None:
    schedule = interleaved_1f1b(2, 2, 2)
    assert peak_in_flight(schedule).tolist() == [4, 3]
    assert peak_in_flight(schedule, [1.0, 10.0]).tolist() == [22, 12]
    assert peak_in_flight(schedule, [[1.0, 0.0], [0.0, 5.0]]).tolist() == [2, 5]


def test_picture_has_a_cell_and_a_number_for_each_action() -> None:
    schedule = one_f_one_b(2, 3)
    ax = plot_schedule(schedule, Figure(figsize=(10, 3)).subplots(), forward=1, backward=2)
    (cells,) = ax.collections
    assert len(cells.get_paths()) == 12
    assert ax.get_xlim() == (0, 12)
    assert [text.get_text() for text in ax.texts][:6] == ["0", "1", "0", "2", "1", "2"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["stage 0", "stage 1"]


@pytest.mark.parametrize(
    ("stages", "micro_batches", "size_in"),
    [
        pytest.param(2, 100, (3, 3), id="cells too narrow"),
        pytest.param(30, 2, (10, 2), id="rows too low"),
        pytest.param(2, 600, (800, 3), id="a swarm"),
    ],
)
def test_picture_leaves_out_numbers_that_do_not_fit(
    stages: int, micro_batches: int, size_in: tuple[float, float]
) -> None:
    ax = plot_schedule(one_f_one_b(stages, micro_batches), Figure(figsize=size_in).subplots())
    assert not ax.texts


def test_picture_tells_chunks_by_lightness_and_kinds_by_colour() -> None:
    ax = plot_schedule(interleaved_1f1b(2, 2, 2), Figure(figsize=(10, 3)).subplots())
    (cells,) = ax.collections
    assert len(np.unique(np.asarray(cells.get_facecolor()), axis=0)) == 4
    legend = ax.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == [
        "forward",
        "backward",
        "idle",
        "lighter: later of 2 chunks",
    ]
