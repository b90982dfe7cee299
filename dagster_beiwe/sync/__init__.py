"""Plan, fetch and commit: bring a study's lake in step with the server. Knows nothing of Dagster."""

from dagster_beiwe.sync.daily import DailyIndex
from dagster_beiwe.sync.engine import StudySync
from dagster_beiwe.sync.facts import Cell, FetchPolicy, Problem, Progress, WindowReport

__all__ = ["Cell", "DailyIndex", "FetchPolicy", "Problem", "Progress", "StudySync", "WindowReport"]
