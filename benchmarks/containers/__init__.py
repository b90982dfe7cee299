"""Dagster beyond one machine, in containers on this one, with the settings of docs/deploy.md."""
