"""Coverage: what arrived, by participant, day, and stream, compared with what was expected. Knows no Dagster."""

from dagster_beiwe.coverage.enrollment import Enrollment, enrollments
from dagster_beiwe.coverage.frame import STATES, STATUSES
from dagster_beiwe.coverage.silence import SilenceLimits, SilentParticipant, find_silent

__all__ = ["STATES", "STATUSES", "Enrollment", "SilenceLimits", "SilentParticipant", "enrollments", "find_silent"]
