"""Exports: decrypt a selection of a study into plain files that other programs read. Knows no Dagster."""
