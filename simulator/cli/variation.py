"""The options of ``simulator run`` that make ranks differ, as the library takes them."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

from simulator.errors import SimulatorError
from simulator.program.jitter import parse_jitter
from simulator.program.perturbations import Perturbations, parse_factors
from simulator.program.variation import SlowShare, Variation, parse_slow_share

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from simulator.scenario import Scenario


@dataclass(frozen=True, slots=True, kw_only=True)
class VariationOptions:
    """What the command line says, option by option."""

    slow_rank: Sequence[str] = ()
    slow_interface: Sequence[str] = ()
    lost_node: Sequence[int] = ()
    jitter: str | None = None
    slow_ranks: str | None = None
    slow_nodes: str | None = None
    per_rank: bool = False
    samples: int | None = None
    seed: int | None = None

    def perturbations(self) -> Perturbations:
        """Return the ranks that are named.

        Raises
        ------
        SimulatorError
            If an option cannot be read.
        """
        return Perturbations(
            slow_ranks=parse_factors("--slow-rank", self.slow_rank),
            slow_interfaces=parse_factors("--slow-interface", self.slow_interface),
            lost_nodes=tuple(sorted({*self.lost_node})),
        )

    def variation(self, scenario: Scenario) -> Variation | None:
        """Return what is to be drawn, None if nothing is.

        Raises
        ------
        SimulatorError
            If an option cannot be read, or would have no effect.
        """
        draws = self.jitter is not None or self.slow_ranks or self.slow_nodes
        for option, value in (("--samples", self.samples), ("--seed", self.seed)):
            if value is not None and not draws:
                raise SimulatorError(
                    f"{option} {value}: nothing is drawn; give --jitter, --slow-ranks or "
                    f"--slow-nodes, too"
                )
        if not draws and not self.per_rank:
            return None
        return Variation(
            jitter=None if self.jitter is None else parse_jitter(self.jitter),
            slow=self._slow(scenario),
            samples=1 if self.samples is None else self.samples,
            seed=0 if self.seed is None else self.seed,
            per_rank=self.per_rank,
        )

    def _slow(self, scenario: Scenario) -> SlowShare | None:
        if self.slow_ranks and self.slow_nodes:
            raise SimulatorError("--slow-ranks and --slow-nodes: give one of them")
        slow = None
        if self.slow_ranks:
            slow = parse_slow_share("--slow-ranks", self.slow_ranks)
        elif self.slow_nodes:
            together = scenario.cluster.node.accelerators
            slow = parse_slow_share("--slow-nodes", self.slow_nodes, together)
        if slow is not None:
            slow.count(scenario.accelerators)  # refuses a share of nothing
        return slow


@contextmanager
def sampling_progress(variation: Variation | None) -> Iterator[Callable[[], None] | None]:
    """Yield what to call after every sample: it moves a bar on a terminal's standard error."""
    console = Console(stderr=True)
    if variation is None or variation.samples == 1 or not console.is_terminal:
        yield None
        return
    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("samples", total=variation.samples)
        yield lambda: progress.advance(task)
