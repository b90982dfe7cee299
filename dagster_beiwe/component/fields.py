"""What the fields of the component's YAML mean in Python."""

from __future__ import annotations

import importlib
from datetime import date
from typing import Annotated, Any

import dagster as dg
from pydantic import BeforeValidator, ConfigDict

from dagster_beiwe.definitions import LabAssets
from dagster_beiwe.environment import (
    BEIWE_AGE_IDENTITY,
    BEIWE_LAKE,
    BEIWE_LAKE_PASSPHRASE,
    BEIWE_WITNESS,
    NRG_KEYRING_PASS,
    PREFIX,
)
from dagster_beiwe.errors import ConfigurationError
from dagster_beiwe.resource import BeiweCredentials, BeiweResource, EnvCredentials, KeyringCredentials
from dagster_beiwe.studies.config import StudyConfig, parse_date


def _resolve_date(context: dg.ResolutionContext, value: Any) -> object:
    return context.resolve_value(value)


def _resolve_function(context: dg.ResolutionContext, path: str) -> LabAssets:
    """The function at a dotted path, which is relative to the component's folder if it begins with a dot."""
    place = path
    if path.startswith("."):
        load_context = dg.ComponentLoadContext.from_resolution_context(context)
        place = f"{load_context.defs_relative_module_name(load_context.path)}{path}"
    module, _, name = place.rpartition(".")
    try:
        function = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigurationError(
            f"`per_study` is {path!r}, which cannot be imported: {error}. Nothing was built. Write module.function, or "
            ".module.function for a module beside the YAML file."
        ) from error
    if not callable(function):
        raise ConfigurationError(f"`per_study` is {path!r}, which is not a function. Nothing was built.")
    return function  # type: ignore[no-any-return]  # what it returns is checked by Dagster


_Date = Annotated[
    date | None, BeforeValidator(parse_date), dg.Resolver(_resolve_date, model_field_type=str | date | None)
]
ResolvedLabAssets = Annotated[LabAssets, dg.Resolver(_resolve_function, model_field_type=str)] | None


class StudyInYaml(dg.Resolvable, StudyConfig):
    """A study's configuration as YAML writes it; see ``StudyConfig``."""

    start: _Date = None


class Deployment(dg.Resolvable, dg.Model):
    """One Beiwe server: where its keys come from and which lake its studies go to. Only names, no secrets."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    keyring_section: str | None = None
    """The section of the keyring with the keys. Default: the keys are in environment variables."""

    keyring_file: str | None = None
    """The keyring file. Default: the one in ``BEIWE_KEYRING_FILE``."""

    keyring_passphrase_variable: str = NRG_KEYRING_PASS  # a name, not a passphrase
    """The variable with the passphrase of the keyring file."""

    environment_prefix: str = PREFIX
    """What the names of the variables with the address and the keys begin with, if there is no section."""

    lake_variable: str = BEIWE_LAKE
    """The variable with the folder or URL of the lake."""

    passphrase_variable: str = BEIWE_LAKE_PASSPHRASE  # a name, not a passphrase
    """The variable with the passphrase of every study that has none in the keyring."""

    age_identity_variable: str = BEIWE_AGE_IDENTITY
    """The variable with the file of the private key that decrypts what `age` encrypted."""

    witness_variable: str = BEIWE_WITNESS
    """The variable with the folder or URL of the witness, if there is one."""

    def resource(self) -> BeiweResource:
        credentials: BeiweCredentials = EnvCredentials(prefix=self.environment_prefix)
        if self.keyring_section:
            credentials = KeyringCredentials(
                section=self.keyring_section,
                path=self.keyring_file or "",
                passphrase_variable=self.keyring_passphrase_variable,
            )
        return BeiweResource(
            credentials=credentials,
            lake_variable=self.lake_variable,
            passphrase_variable=self.passphrase_variable,
            age_identity_variable=self.age_identity_variable,
            witness_variable=self.witness_variable,
        )
