"""The lab's own tables."""

from __future__ import annotations

from collections.abc import Sequence

import dagster as dg

from dagster_beiwe import StudyFacts


def lab_assets(study: StudyFacts) -> Sequence[dg.AssetsDefinition]:
    return []
