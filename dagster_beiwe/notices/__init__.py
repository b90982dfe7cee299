"""Notices: which problems are new, what a message says about them, and how it is sent. Works without Dagster."""
