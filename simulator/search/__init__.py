"""A space of layouts as a ranked table: on one core, all cores, or a Dask cluster."""
