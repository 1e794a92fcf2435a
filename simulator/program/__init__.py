"""A scenario as tasks on lanes: the last place that knows what a transformer is."""
