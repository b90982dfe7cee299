"""What Dagster costs around the transfers, by number of participants and windows: ``python -m benchmarks.scale``."""
