"""``dagster-beiwe demo``: a simulated server and a project beside it."""
