"""The report of a study: one HTML page about who sends what, for people who have neither Dagster nor a terminal."""
