"""Pipeline schedules: stages, micro-batches and chunks become an order of actions.

The order is plain data. It prints and parses (`notation`), is checked by one validator
(`validation`), is previewed with equal costs (`timeline`) and is later priced and played.
"""

from __future__ import annotations

from simulator.schedule.actions import Action, Actions, Kind, Placement, Schedule, looping
from simulator.schedule.dependencies import producers
from simulator.schedule.notation import format_schedule, parse_schedule
from simulator.schedule.pipelines import (
    SCHEDULES,
    build_schedule,
    gpipe,
    ideal_bubble_fraction,
    interleaved_1f1b,
    one_f_one_b,
)
from simulator.schedule.timeline import Timeline, evaluate_equal_costs, peak_in_flight
from simulator.schedule.validation import find_problems, validate_schedule

__all__ = [
    "SCHEDULES",
    "Action",
    "Actions",
    "Kind",
    "Placement",
    "Schedule",
    "Timeline",
    "build_schedule",
    "evaluate_equal_costs",
    "find_problems",
    "format_schedule",
    "gpipe",
    "ideal_bubble_fraction",
    "interleaved_1f1b",
    "looping",
    "one_f_one_b",
    "parse_schedule",
    "peak_in_flight",
    "producers",
    "validate_schedule",
]
