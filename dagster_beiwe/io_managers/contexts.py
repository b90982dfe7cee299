"""What both IO managers read from Dagster's contexts."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import dagster as dg

from dagster_beiwe.lake import StudyLake
from dagster_beiwe.resource import BeiweResource
from dagster_beiwe.runs.remembered_heads import remembered_heads
from dagster_beiwe.studies.study import Study


def checked_lake(beiwe: BeiweResource, study: Study, context: dg.InputContext | dg.OutputContext) -> StudyLake:
    """The study's lake, after a check that it still has everything that Dagster remembers of it.

    A context that was built by hand may have no instance, which then remembers nothing.
    """
    lake = beiwe.study_lake(study)
    instance = None
    with suppress(dg.DagsterInvariantViolationError):
        instance = context.instance if isinstance(context, dg.InputContext) else context.step_context.instance
    if instance is not None:
        lake.log.check(remembered_heads(instance, study))
    return lake


def upstream_metadata(context: dg.InputContext) -> Mapping[str, Any]:
    """Metadata of the definition of the asset that an input reads."""
    upstream = context.upstream_output
    return (upstream.definition_metadata if upstream else None) or {}


def name_of(context: dg.OutputContext) -> str:
    """The asset that returned something, or the op."""
    return "/".join(context.asset_key.path) if context.has_asset_key else context.name
