"""Surveys as rows: what phones wrote about them, joined with what the study asked. Nothing here knows Dagster."""
