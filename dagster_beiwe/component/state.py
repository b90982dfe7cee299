"""Where Dagster keeps the state of a component: in the project's folder, or with its history."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from dagster.components import DefsStateConfig

from dagster_beiwe.errors import ConfigurationError
from dagster_beiwe.runs.dagster_private import (
    DefinitionsLoadContext,
    DefinitionsLoadType,
    DefsStateManagementType,
    DefsStateStorage,
    get_local_state_path,
    using_dagster_dev,
)
from dagster_beiwe.studies.discovery import read_state


@dataclass(frozen=True)
class StateStore:
    """The state of the component with a configuration. Raises ``ConfigurationError`` for a place that keeps nothing."""

    config: DefsStateConfig

    def __post_init__(self) -> None:
        if self.config.management_type is DefsStateManagementType.LEGACY_CODE_SERVER_SNAPSHOTS:
            raise ConfigurationError(
                "`management_type` of `defs_state` is LEGACY_CODE_SERVER_SNAPSHOTS, which forgets the keys and starts "
                "of studies. Nothing was built. Write VERSIONED_STATE_STORAGE or LOCAL_FILESYSTEM."
            )

    @property
    def exists(self) -> bool:
        """Whether there is a place for the state; a script without an instance of Dagster has none."""
        return not self._is_versioned or DefsStateStorage.get() is not None

    def is_to_be_refreshed(self, known: Sequence[bool], *, in_development: bool) -> bool:
        """Whether a process that loads the definitions asks the servers first: in development, as Dagster does, and
        where something is ``known`` of not every server; in the processes of runs, only if nothing is known at all."""
        begins = DefinitionsLoadContext.get().load_type is DefinitionsLoadType.INITIALIZATION
        return not any(known) or (begins and (not all(known) or (in_development and using_dagster_dev())))

    def pin(self, version: str) -> None:
        """Use this version of the state in the load that goes on, and in the runs of what it loads."""
        DefinitionsLoadContext.get().add_defs_state_info(self.config.key, version)

    def of_project(self, project_root: Path) -> dict[str, Any]:
        """The newest state, empty if there is none."""
        with TemporaryDirectory() as folder:
            local = None if self._is_versioned else get_local_state_path(self.config.key, project_root)
            return self.latest(local or Path(folder) / "state")

    def latest(self, state_path: Path) -> dict[str, Any]:
        """The newest state, where Dagster is about to write the next one: in the project's folder it is there
        already."""
        storage = DefsStateStorage.get()
        if self._is_versioned and storage is not None:
            info = storage.get_latest_defs_state_info()
            newest = info.info_mapping.get(self.config.key) if info else None
            if newest is None or newest.management_type is not self.config.management_type:
                return {}
            storage.download_state_to_path(self.config.key, newest.version, state_path)
        return read_state(state_path)

    @property
    def _is_versioned(self) -> bool:
        return self.config.management_type is DefsStateManagementType.VERSIONED_STATE_STORAGE
