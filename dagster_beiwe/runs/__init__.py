"""How runs end, wait, and remember; and what this package uses of Dagster beyond its public API."""
