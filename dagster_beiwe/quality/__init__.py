"""The quality of the rows of raw data, by participant, day, and stream. Knows nothing of Dagster."""

from dagster_beiwe.quality.days import DAY_TYPES
from dagster_beiwe.quality.findings import CHECKS, Finding, find_faults
from dagster_beiwe.quality.study import Progress, StudyMeasuring

__all__ = ["CHECKS", "DAY_TYPES", "Finding", "Progress", "StudyMeasuring", "find_faults"]
