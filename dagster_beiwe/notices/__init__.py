"""Notices: which problems are new, what a message says of them, and how it is sent. Works without Dagster."""
