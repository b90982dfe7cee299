"""Coverage: what arrived of each participant, day and stream, beside what was promised. Knows nothing of Dagster."""

from dagster_beiwe.coverage.enrollment import Enrollment, enrollments
from dagster_beiwe.coverage.frame import STATES, STATUSES
from dagster_beiwe.coverage.silence import SilenceLimits, SilentParticipant, find_silent

__all__ = ["STATES", "STATUSES", "Enrollment", "SilenceLimits", "SilentParticipant", "enrollments", "find_silent"]
