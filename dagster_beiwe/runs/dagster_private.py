"""Everything that this package uses of Dagster beyond its public API. Checked with Dagster 1.13.27.

If a new version of Dagster breaks something, look here first. ``DagsterInstance.event_log_storage`` is used for the
history of checks, for pools, for the slots of runs in them, and for the newest events of partitions:
``remembered_heads``, ``pools``, ``dead_runs``, and ``partitions.events``.
"""

from __future__ import annotations

import os
from typing import Final

from dagster._core.definitions.definitions_load_context import DefinitionsLoadContext, DefinitionsLoadType
from dagster._core.definitions.target import ANONYMOUS_ASSET_JOB_PREFIX
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition as AssetJob
from dagster._core.errors import DagsterPipesExecutionError
from dagster._core.events import EngineEventData
from dagster._core.execution.context.system import StepExecutionContext
from dagster._core.launcher import DefaultRunLauncher
from dagster._core.storage.defs_state.base import DefsStateStorage
from dagster._utils.env import using_dagster_dev
from dagster.components.definitions import LazyDefinitions
from dagster.components.utils.project_paths import get_local_state_path
from dagster_shared.serdes.objects.models.defs_state_info import DefsStateManagementType

__all__ = [
    "ANONYMOUS_ASSET_JOB_PREFIX",
    "AssetJob",
    "DagsterPipesExecutionError",
    "DefaultRunLauncher",
    "DefinitionsLoadContext",
    "DefinitionsLoadType",
    "DefsStateManagementType",
    "DefsStateStorage",
    "EngineEventData",
    "LazyDefinitions",
    "StepExecutionContext",
    "get_local_state_path",
    "modules_of_workspace",
    "using_dagster_dev",
]

PARTITION_TAG: Final = "dagster/partition"
RANGE_START_TAG: Final = "dagster/asset_partition_range_start"
RANGE_END_TAG: Final = "dagster/asset_partition_range_end"

DATA_VERSION_TAG: Final = "dagster/data_version"
USER_VERSION_TAG: Final = "dagster/data_version_is_user_provided"

HIDDEN_TAG_PREFIX: Final = ".dagster/"
"""Dagster keeps a run's tags with this prefix and does not show them."""

CODE_VERSION_TAG: Final = "dagster/code_version"
INPUT_VERSION_TAG: Final = "dagster/input_data_version/{}"
INPUT_EVENT_TAG: Final = "dagster/input_event_pointer/{}"
NO_EVENT: Final = "NULL"
NO_VERSION: Final = "NULL"
UNVERSIONED: Final = "INITIAL"
"""Tags of a materialization that say what it was made from: Dagster compares them to find out whether it is stale. A
partitioned input makes nothing stale if its event is ``NO_EVENT``. ``NO_VERSION`` is the version of an asset that was
never materialized, ``UNVERSIONED`` that of a materialization without a version."""

CONTINUATION_TAGS: Final = ("dagster/retry_number", "dagster/is_resume_retry", "dagster/is_asset_resume_retry")
"""Tags of a run that continues a failed one: an automatic retry, or "re-execute from failure" in the UI."""

COLUMN_SCHEMA: Final = "dagster/column_schema"
"""Metadata of a definition, and of an event."""
COLUMN_LINEAGE: Final = "dagster/column_lineage"
"""Metadata of an event: the UI shows that of the newest one."""

KIND_TAG_PREFIX: Final = "dagster/kind/"

RECORDED_BY_ITSELF: Final = "__source_asset_observation__"
"""Dagster records nothing for an output with this metadata, which its own observable sources use."""


def modules_of_workspace() -> list[str | None]:
    """What Dagster's commands load in the current folder, by the files there: modules, or None for anything else.

    Raises ``click.UsageError`` if no file says it, and anything for a file that is damaged.
    """
    from dagster._cli.workspace.cli_target import workspace_opts_to_load_target  # slow to import
    from dagster_shared.cli import WorkspaceOpts

    modules: list[str | None] = []
    for origin in workspace_opts_to_load_target(WorkspaceOpts()).create_origins():
        target = getattr(origin, "loadable_target_origin", None)
        here = target and os.path.abspath(target.working_directory or "") == os.getcwd()
        modules.append(target.module_name if target and here else None)
    return modules
