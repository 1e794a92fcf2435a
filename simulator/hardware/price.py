"""What a cluster costs, per accelerator, where somebody has published it."""

from __future__ import annotations

from simulator.fields import NonNegative, Positive, Text, record


@record
class Price:
    """The ``price`` of a cluster profile: renting, buying, or both; of the cluster as it stands.

    Amounts are in ``currency``. Neglected: power, cooling, building, staff and spares, unless the
    rent includes them.
    """

    currency: Text
    """Code of ISO 4217: USD."""
    date: Text
    """When the price was asked: 2024-08."""
    rent_per_accelerator_hour: Positive | None = None
    """Renting one accelerator for an hour with its share of everything else."""
    machine_per_accelerator: Positive | None = None
    """Buying one accelerator's share of its node, network interfaces included."""
    network_per_accelerator: NonNegative | None = None
    """Buying its share of the network between the nodes: switches, optics, cables."""

    @property
    def network_share(self) -> float | None:
        """Share of the purchase that is the network between nodes; None where parts are unknown."""
        if self.machine_per_accelerator is None or self.network_per_accelerator is None:
            return None
        whole = self.machine_per_accelerator + self.network_per_accelerator
        return self.network_per_accelerator / whole
