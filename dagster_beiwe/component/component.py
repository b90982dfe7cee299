"""The component: its fields, what a lab can override, and how it becomes definitions."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from pathlib import Path
from typing import Any

import dagster as dg
from dagster.components import DefsStateConfig, DefsStateConfigArgs, ResolvedDefsStateConfig
from dagster.components.utils.translation import ResolvedTranslationFn
from pydantic import BaseModel, Field, PrivateAttr

from dagster_beiwe.assets import DEFAULT_TRANSLATOR, AssetOptions, BeiweTranslator, BeiweTranslatorData
from dagster_beiwe.automation.notices import Notices
from dagster_beiwe.component.fields import Deployment, ResolvedLabAssets, StudyInYaml
from dagster_beiwe.component.scaffolder import BeiweComponentScaffolder
from dagster_beiwe.component.schema import precise_model
from dagster_beiwe.component.state import StateStore
from dagster_beiwe.definitions import Automation, assemble_definitions, check_deployments, default_deployments
from dagster_beiwe.environment import BEIWE_STRICT, BEIWE_STUDIES, is_strict
from dagster_beiwe.errors import BeiweError
from dagster_beiwe.resource import BeiweResource
from dagster_beiwe.studies.discovery import LOADING_SECONDS, Patience, read_state, write_state
from dagster_beiwe.studies.study import Study
from dagster_beiwe.study_finder import StudyFinder

logger = logging.getLogger("dagster_beiwe")


class _ComponentTranslator(BeiweTranslator):
    """What the component says about each asset, changed by the ``translation`` in its YAML: once, as templates take
    time."""

    def __init__(self, component: BeiweComponent) -> None:
        self._component = component
        self._specs: dict[tuple[str, str], dg.AssetSpec] = {}

    def get_asset_spec(self, data: BeiweTranslatorData) -> dg.AssetSpec:
        place = (data.name, data.study.key if data.study else "")
        if place not in self._specs:
            spec, translation = self._component.get_asset_spec(data), self._component.translation
            self._specs[place] = translation(spec, data) if translation else spec
        return self._specs[place]


@dg.scaffold_with(BeiweComponentScaffolder)
class BeiweComponent(dg.StateBackedComponent, dg.Model, dg.Resolvable):
    """Studies of one or more Beiwe servers: rosters, settings, and raw data in an encrypted lake.

    Use it once per project; it takes any number of studies and servers. What the servers say about their studies is
    the component's state: ``dg utils refresh-defs-state`` asks them again, and so do ``dagster dev``, the other
    commands of ``dg``, and ``beiwe/studies``. If a server does not answer, the last state is used.

    A subclass can override ``get_asset_spec``, ``lab_assets``, and ``execute``.
    """

    studies: list[StudyInYaml] = Field(
        default_factory=list,
        description=f"The studies. Default: those in {BEIWE_STUDIES}, or every study that the keys can see.",
    )
    deployments: dict[str, Deployment] = Field(
        default_factory=dict,
        description="Servers by name. Default: one, beiwe, with credentials from the environment.",
    )
    per_study: ResolvedLabAssets = Field(
        default=None,
        description="Function that returns the lab's own assets for a study: module.function, or .module.function for "
        "a module beside this file. It is called with each study whose start is known.",
        examples=["lab.assets.lab_assets", ".assets.lab_assets"],
    )
    automation: Automation = Field(default=Automation(), description="Whether and when schedules and sensors run.")
    notices: list[Notices] = Field(
        default_factory=list, description="Who gets a message about new problems that the checks find. Default: nobody."
    )
    translation: ResolvedTranslationFn[BeiweTranslatorData] = Field(
        default=None,
        description="How every asset looks: key, group, owners, tags, description, metadata. Templates can use "
        "`data.name` (the asset's name, such as raw_data), `data.study` (none for studies), and `spec` (the defaults).",
    )
    default_io_manager: bool = Field(
        default=False,
        description="Store what assets without an IO manager return as encrypted tables. This sets the resource "
        "`io_manager`, which a project can have only once.",
    )
    strict: bool = Field(
        default=False,
        description="Refuse to load if a study has no assets, because its server did not answer or does not have it. "
        f"For tests of a project; {BEIWE_STRICT}=1 does the same.",
    )
    defs_state: ResolvedDefsStateConfig = Field(
        default=DefsStateConfigArgs.versioned_state_storage(),
        description="Where Dagster keeps what the servers said about their studies: VERSIONED_STATE_STORAGE, with its "
        "history, or LOCAL_FILESYSTEM, in the project's folder; and whether `dagster dev` and `dg` refresh it.",
    )

    _patience: Patience | None = PrivateAttr(default=None)

    @classmethod
    def get_model_cls(cls) -> type[BaseModel]:
        return precise_model(cls)

    @classmethod
    def get_spec(cls) -> dg.ComponentTypeSpec:
        return dg.ComponentTypeSpec(tags=["beiwe"], produces=["asset", "asset_check", "job", "schedule", "sensor"])

    def get_asset_spec(self, data: BeiweTranslatorData) -> dg.AssetSpec:
        """How an asset looks. Override it as ``get_asset_spec`` of ``BeiweTranslator``; the ``translation`` in YAML is
        applied to the result."""
        return DEFAULT_TRANSLATOR.get_asset_spec(data)

    def lab_assets(self, study: Study) -> Sequence[dg.AssetsDefinition]:
        """The lab's own assets for a study whose start is known: those of ``per_study``."""
        return self.per_study(study) if self.per_study else []

    def execute(
        self,
        context: dg.AssetExecutionContext,  # noqa: ARG002  # for subclasses
        asset: BeiweTranslatorData,  # noqa: ARG002
        materialize: Callable[[], Iterator[Any]],
    ) -> Iterable[Any]:
        """Runs an asset's step. Override it to do something before or after ``materialize``, which does the work.

        ::

            class LabComponent(BeiweComponent):
                def execute(self, context, asset, materialize):
                    context.log.info("%s begins.", asset.name)
                    yield from super().execute(context, asset, materialize)
        """
        yield from materialize()

    @property
    def defs_state_config(self) -> DefsStateConfig:
        """Where the state is. Dagster never refreshes it while it loads the component: ``build_defs`` does.

        A subclass that takes the place of this class has the same key, so that it keeps what is known.
        """
        key = BeiweComponent.__name__
        return DefsStateConfig.from_args(self.defs_state.model_copy(update={"refresh_if_dev": False}), default_key=key)

    def write_state_to_path(self, state_path: Path) -> None:
        """Asks the servers for their studies. Raises ``BeiweError`` if none of them answered."""
        state = self._store.latest(state_path)
        self._ask(state)
        write_state(state_path, state)

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """Dagster cannot load a component whose state it cannot refresh. This one keeps the state that it has.

        A state knows nothing of a server that is new, or has another address.
        """
        if not self._store.exists:
            return self._definitions(self._asked_now(), context.project_root)
        memories = self._finder(self._store.of_project(context.project_root)).memories.values()
        known = [bool(memory.studies()) for memory in memories]
        if self._store.is_to_be_refreshed(known, in_development=self.defs_state.refresh_if_dev):
            self._patience = Patience(LOADING_SECONDS)
            try:
                self._store.pin(self._refreshed(context.project_root))
            except (BeiweError, OSError):
                logger.warning("The state of %s could not be refreshed. It stays as it was.", type(self).__name__)
            finally:
                self._patience = None
        return super().build_defs(context)

    def build_defs_from_state(self, context: dg.ComponentLoadContext, state_path: Path | None) -> dg.Definitions:
        state = read_state(state_path) if state_path else self._store.of_project(context.project_root)
        return self._definitions(state, context.project_root)

    def _definitions(self, state: dict[str, Any], project_root: Path) -> dg.Definitions:
        finder = self._finder(state)
        check_deployments(self.studies, finder.deployments)
        return assemble_definitions(
            finder.found(strict=self.strict or is_strict(os.environ)),
            deployments=finder.deployments,
            per_study=self.lab_assets,
            automation=self.automation,
            notices=self.notices,
            options=AssetOptions(translator=_ComponentTranslator(self), execute=self.execute),
            default_io_manager=self.default_io_manager,
            ask=lambda _: self._visible_studies(project_root),
        )

    def _finder(self, state: dict[str, Any]) -> StudyFinder:
        resources: Mapping[str, BeiweResource] = {name: each.resource() for name, each in self.deployments.items()}
        return StudyFinder.of(self.studies or None, resources or default_deployments(), state=state)

    @property
    def _store(self) -> StateStore:
        return StateStore(self.defs_state_config)

    def _ask(self, state: dict[str, Any]) -> None:
        finder = self._finder(state)
        errors = finder.ask(patience=self._patience)
        if len(errors) == len(finder.deployments):
            raise errors[0]
        finder.remember_keys()

    def _refreshed(self, project_root: Path) -> str:
        """The version of the state after asking the servers. In a thread: a notebook's own loop is running already."""
        with ThreadPoolExecutor(max_workers=1) as executor:
            work = executor.submit(copy_context().run, lambda: asyncio.run(self.refresh_state(project_root)))
            return work.result()

    def _asked_now(self) -> dict[str, Any]:
        """The state in a script or a test without an instance of Dagster, where there is no place to keep it."""
        state: dict[str, Any] = {}
        self._finder(state).ask(patience=Patience(LOADING_SECONDS))
        return state

    def _visible_studies(self, project_root: Path) -> list[Study]:
        """The studies that the access keys can see, after refreshing the state."""
        if self._store.exists:
            self._refreshed(project_root)
            state = self._store.of_project(project_root)
        else:
            state = self._asked_now()
        return self._finder(state).visible()
