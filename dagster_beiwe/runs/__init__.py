"""How runs of Dagster end, wait, and remember."""
