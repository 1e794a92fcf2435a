"""A document and its profiles as one frozen, checked scenario."""

from simulator.scenario.loading import load_scenario
from simulator.scenario.scenario import Scenario

__all__ = ["Scenario", "load_scenario"]
