"""Plan, fetch and commit: bring a study's lake in step with the server. Knows nothing of Dagster."""

from dagster_beiwe.sync.compare import Compared
from dagster_beiwe.sync.coverage import Coverage, Gap, dirty_cells, measure_coverage
from dagster_beiwe.sync.daily import DailyIndex
from dagster_beiwe.sync.engine import StudySync
from dagster_beiwe.sync.facts import Cell, FetchPolicy, Problem, Progress, WindowReport

__all__ = [
    "Cell",
    "Compared",
    "Coverage",
    "DailyIndex",
    "FetchPolicy",
    "Gap",
    "Problem",
    "Progress",
    "StudySync",
    "WindowReport",
    "dirty_cells",
    "measure_coverage",
]
