"""Synchronize a study's lake with the server. Knows nothing of Dagster.

By step: plan (``requests``), download (``downloader``, ``registry``), split on failure (``splitting``), stage
(``staging_pool``, ``local_files``), decide on deletions (``deletions``, ``daily_counts``, ``day_zones``), commit
(``study_run``), and report (``results``, ``progress``). Beside that: ``completeness`` compares counts, ``compare`` and
``audit`` contents.
"""

from dagster_beiwe.cells import Cell
from dagster_beiwe.sync.compare import Compared
from dagster_beiwe.sync.completeness import Completeness, Gap, dirty_cells, measure_completeness
from dagster_beiwe.sync.daily_counts import DailyIndex
from dagster_beiwe.sync.progress import Progress
from dagster_beiwe.sync.requests import FetchPolicy
from dagster_beiwe.sync.results import WindowReport
from dagster_beiwe.sync.study_sync import StudySync

__all__ = [
    "Cell",
    "Compared",
    "Completeness",
    "DailyIndex",
    "FetchPolicy",
    "Gap",
    "Progress",
    "StudySync",
    "WindowReport",
    "dirty_cells",
    "measure_completeness",
]
