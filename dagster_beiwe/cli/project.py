"""The studies of a Dagster project, as its definitions configure them."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dagster_beiwe.client.studies import find_study
from dagster_beiwe.definitions import build_beiwe_definitions
from dagster_beiwe.errors import BeiweError, ConfigurationError
from dagster_beiwe.private_files import others_can_write
from dagster_beiwe.resource import BeiweResource
from dagster_beiwe.retries import HTTP_IN_COMMANDS
from dagster_beiwe.runs.beta import beta_features
from dagster_beiwe.runs.dagster_private import LazyDefinitions, modules_of_workspace
from dagster_beiwe.studies.study import Study
from dagster_beiwe.text import one_line

if TYPE_CHECKING:
    import dagster as dg


def project_definitions(module: str | None) -> dg.Definitions:
    """The definitions in a module; by default in that of the project in the current folder, else those that the
    environment alone gives. Raises ``ConfigurationError``.
    """
    if module is None and (module := _own_module()) is None:
        return build_beiwe_definitions()
    found = list(_definitions_in(_imported(module)))
    if len(found) != 1:
        raise ConfigurationError(
            f"The module {module[:80]!r} has {len(found)} definitions, not one. Nothing was done. Name the module that "
            "Dagster loads."
        )
    return found[0]


def _imported(module: str) -> object:
    if "" not in sys.path:
        sys.path.insert(0, "")  # the project is in the current folder, as for Dagster's own commands
    try:
        with beta_features():
            return importlib.import_module(module)
    except BeiweError:
        raise
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever its code does
        why = one_line(str(error)) if isinstance(error, ImportError) else f"it raised {type(error).__name__}"
        raise ConfigurationError(
            f"The module {module[:80]!r} cannot be imported: {why}. Nothing was done. Name the module of your "
            "project's definitions, and call this in the project's folder."
        ) from None


def _own_module() -> str | None:
    """The module that Dagster loads in the current folder; None if that holds no project.

    Raises ``ConfigurationError`` if Dagster loads several there, or something else: the environment alone might
    configure other windows, whose length a lake keeps. Code of another user is not loaded without being named.
    """
    try:
        modules = modules_of_workspace()
    except click.UsageError:
        if not Path("dg.toml").exists():
            return None
        modules = []
    except Exception as error:  # noqa: BLE001 - whatever Dagster says of a damaged file
        raise ConfigurationError(
            f"Dagster cannot read the project in this folder: {one_line(str(error))}. Nothing was done. Correct its "
            "pyproject.toml or workspace.yaml, or name the module with --module."
        ) from None
    if len(modules) != 1 or modules[0] is None:
        raise ConfigurationError(
            "The project in this folder does not name one module for `dagster` to load, in pyproject.toml or "
            "workspace.yaml. Nothing was done. Name the module of its definitions with --module."
        )
    if others_can_write(Path()):
        raise ConfigurationError(
            f"Others can write to this folder, which names the module {modules[0][:80]!r} for Dagster to load. Nothing "
            "was done. If you trust it, name it with --module."
        )
    return modules[0]


def configured_study(definitions: dg.Definitions, wanted: str | None) -> tuple[Study, BeiweResource, dg.AssetSpec]:
    """A study with raw data in the definitions, the resource of its server, and the spec of its ``raw_data``.

    ``wanted`` is its id, the beginning of its id, or its name; None if it is the only one. Raises
    ``ConfigurationError``.
    """
    specs: dict[str, tuple[Study, dg.AssetSpec]] = {}
    with beta_features():
        found = definitions.resolve_all_asset_specs()
    for spec in found:
        study = Study.from_metadata(spec.metadata)
        if study is not None and spec.key == study.asset_key("raw_data"):
            specs[study.id] = study, spec
    if not specs:
        _ask_for_studies(definitions)
        raise ConfigurationError(
            "The project has no study with raw data: none was found on the server, or the first day of its data is not "
            "known. Nothing was done. Load the project in Dagster, and see its warnings."
        )
    if wanted is None and len(specs) > 1:
        names = ", ".join(sorted(one_line(study.name) for study, _ in specs.values()))
        raise ConfigurationError(f"The project has several studies. Nothing was done. Add --study: {names}.")
    names_by_id = {study_id: study.name for study_id, (study, _) in specs.items()}
    study, spec = specs[next(iter(specs)) if wanted is None else find_study(names_by_id, wanted).id]
    resource = (definitions.resources or {})[study.config.deployment]
    assert isinstance(resource, BeiweResource), "every deployment of a study is one"
    return study, resource, spec


def _ask_for_studies(definitions: dg.Definitions) -> None:
    """Raise what kept a server from telling its studies: whoever loads definitions is only warned."""
    for resource in (definitions.resources or {}).values():
        if isinstance(resource, BeiweResource):
            with (
                resource.process_config_and_initialize_cm() as live,
                live.get_client(policy=HTTP_IN_COMMANDS) as client,
            ):
                client.studies()


def _definitions_in(module: object) -> Iterator[dg.Definitions]:
    import dagster as dg

    for value in vars(module).values():
        if isinstance(value, LazyDefinitions):
            yield value()
        elif isinstance(value, dg.Definitions):
            yield value
