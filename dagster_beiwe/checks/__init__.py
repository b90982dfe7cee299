"""Asset checks: whether the lake is complete, intact, and protected, who is silent, and what changed."""

from dagster_beiwe.checks.study_checks import CHECKS, build_study_checks, checks_of

__all__ = ["CHECKS", "build_study_checks", "checks_of"]
