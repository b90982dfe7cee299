"""Plan, fetch and commit: bring a study's lake in step with the server. Knows nothing of Dagster."""

from dagster_beiwe.cells import Cell
from dagster_beiwe.sync.compare import Compared
from dagster_beiwe.sync.completeness import Coverage, Gap, dirty_cells, measure_coverage
from dagster_beiwe.sync.daily_counts import DailyIndex
from dagster_beiwe.sync.results import FetchPolicy, Progress, WindowReport
from dagster_beiwe.sync.study_sync import StudySync

__all__ = [
    "Cell",
    "Compared",
    "Coverage",
    "DailyIndex",
    "FetchPolicy",
    "Gap",
    "Progress",
    "StudySync",
    "WindowReport",
    "dirty_cells",
    "measure_coverage",
]
