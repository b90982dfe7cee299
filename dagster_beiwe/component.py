"""``type: dagster_beiwe.BeiweComponent``: a project in YAML."""

from __future__ import annotations

import os
from datetime import date
from functools import cache
from typing import Annotated, Any

import dagster as dg
from dagster.components.utils.translation import ResolvedTranslationFn, TranslationFn
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from dagster_beiwe.assets import DEFAULT_TRANSLATOR, BeiweTranslator, BeiweTranslatorData
from dagster_beiwe.automation.notices import Notices
from dagster_beiwe.definitions import Automation, build_beiwe_definitions
from dagster_beiwe.environment import BEIWE_LAKE, BEIWE_LAKE_PASSPHRASE, BEIWE_STUDIES, BEIWE_WITNESS, DAGSTER_HOME
from dagster_beiwe.resource import (
    BeiweCredentials,
    BeiweResource,
    EnvCredentials,
    KeyringCredentials,
    credentials_from_environment,
)
from dagster_beiwe.streams import STREAM_GROUPS, STREAM_NAMES
from dagster_beiwe.studies.config import DEFAULT_DEPLOYMENT, StudyConfig, encryptions, parse_date


def _resolve_date(context: dg.ResolutionContext, value: Any) -> object:
    return context.resolve_value(value)


_Date = Annotated[
    date | None, BeforeValidator(parse_date), dg.Resolver(_resolve_date, model_field_type=str | date | None)
]


class StudyInYaml(dg.Resolvable, StudyConfig):
    """A study's configuration as YAML writes it; see ``StudyConfig``."""

    start: _Date = None


class Deployment(dg.Resolvable, dg.Model):
    """One Beiwe server: where its keys come from and which lake its studies go to. Only names, no secrets.

    With ``keyring_section``, the keys are in that section of the keyring; otherwise in environment variables that begin
    with ``environment_prefix``.
    """

    model_config = ConfigDict(use_attribute_docstrings=True)

    keyring_section: str | None = None
    """The section of the keyring with the keys. Default: the keys are in environment variables."""

    keyring_file: str | None = None
    """The keyring file. Default: the one in ``BEIWE_KEYRING_FILE``."""

    environment_prefix: str = "BEIWE_"
    """What the names of the variables with the address and the keys begin with, if there is no section."""

    lake_variable: str = BEIWE_LAKE
    """The variable with the folder or URL of the lake."""

    passphrase_variable: str = BEIWE_LAKE_PASSPHRASE  # a name, not a passphrase
    """The variable with the passphrase of every study that has none in the keyring."""

    witness_variable: str = BEIWE_WITNESS
    """The variable with the folder or URL of the witness, if there is one."""

    def resource(self) -> BeiweResource:
        credentials: BeiweCredentials = EnvCredentials(prefix=self.environment_prefix)
        if self.keyring_section:
            credentials = KeyringCredentials(section=self.keyring_section, path=self.keyring_file or "")
        return BeiweResource(
            credentials=credentials,
            lake_variable=self.lake_variable,
            passphrase_variable=self.passphrase_variable,
            witness_variable=self.witness_variable,
        )


class _YamlTranslator(BeiweTranslator):
    """The ``translation`` of a component, applied to what each asset has by default."""

    def __init__(self, translate: TranslationFn[BeiweTranslatorData]) -> None:
        self._translate = translate

    def get_asset_spec(self, data: BeiweTranslatorData) -> dg.AssetSpec:
        return self._translate(super().get_asset_spec(data), data)


class BeiweComponent(dg.Component, dg.Resolvable, dg.Model):
    """Studies of one or more Beiwe servers: rosters, settings and raw data in an encrypted lake.

    Use it once per project; it takes any number of studies and servers.
    """

    studies: list[StudyInYaml] = Field(
        default_factory=list,
        description=f"The studies. Default: those in {BEIWE_STUDIES}, or every study that the keys can see.",
    )
    deployments: dict[str, Deployment] = Field(
        default_factory=dict,
        description="Servers by name. Default: one, beiwe, with credentials from the environment.",
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
    state_folder: str | None = Field(
        default=None, description=f"Folder in which the last known studies are kept. Default: {DAGSTER_HOME}/beiwe."
    )

    @classmethod
    def get_model_cls(cls) -> type[BaseModel]:
        return _precise_model(cls.model())

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:  # noqa: ARG002
        resources = {name: deployment.resource() for name, deployment in self.deployments.items()}
        if not resources:
            resources = {DEFAULT_DEPLOYMENT: BeiweResource(credentials=credentials_from_environment(os.environ))}
        return build_beiwe_definitions(
            self.studies or None,
            deployments=resources,
            automation=self.automation,
            notices=self.notices,
            translator=_YamlTranslator(self.translation) if self.translation else DEFAULT_TRANSLATOR,
            default_io_manager=self.default_io_manager,
            state_folder=self.state_folder,
        )


@cache
def _precise_model(model: type[BaseModel]) -> type[BaseModel]:
    """The model, with a schema by which ``dg check yaml`` names the field that is wrong, and its line."""

    class Precise(model):  # type: ignore[misc, valid-type]
        @classmethod
        def model_json_schema(cls, *args: Any, **options: Any) -> dict[str, Any]:
            schema: dict[str, Any] = super().model_json_schema(*args, **options)
            _describe(schema["properties"], BeiweComponent)
            for part in (StudyInYaml, Deployment, Automation, Notices):
                _describe(schema["$defs"][part.model().__name__]["properties"], part)
            fields = schema["$defs"][StudyInYaml.model().__name__]["properties"]
            fields["encryption"] |= {"anyOf": [{"enum": list(encryptions())}, {"type": "string"}]}
            for name in ("streams", "plain_streams", "quality_streams"):
                fields[name]["anyOf"][0]["items"] = _stream_schema()
            translation = schema["properties"]["translation"]
            translation["anyOf"] = [each for each in translation["anyOf"] if "$ref" in each] + [{"type": "string"}]
            fields["silent_groups"]["anyOf"][0]["propertyNames"] = {"enum": list(STREAM_GROUPS)}
            precise: dict[str, Any] = _precise(schema)
            return precise

    Precise.__name__ = model.__name__
    return Precise


def _describe(properties: dict[str, Any], part: type[BaseModel]) -> None:
    """Add the descriptions of a part's fields, which Dagster takes over only from ``Field(description=...)``."""
    for model in reversed(part.__mro__):  # a field that is declared again has the description of its first declaration
        for name, field in getattr(model, "model_fields", {}).items():
            if field.description:
                properties[name]["description"] = field.description.replace("``", "`")


def _precise(schema: Any) -> Any:
    """The schema without "this or text", as Dagster allows for templates (``{{ }}``): a validator cannot tell what is
    wrong in one of several alternatives."""
    if isinstance(schema, list):
        return [_precise(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: _precise(value) for name, value in schema.items()}
    alternatives = found.get("anyOf", [])
    if len(alternatives) == 2 and alternatives[1] == {"type": "string"} and _has_parts(alternatives[0]):
        del found["anyOf"]
        found |= {"if": {"type": "string", "pattern": r"\{\{"}, "else": alternatives[0]}
    return found


def _has_parts(schema: dict[str, Any]) -> bool:
    return bool({"$ref", "enum"} & schema.keys()) or schema.get("type") in ("array", "object")


def _stream_schema() -> dict[str, Any]:
    """A stream's name: one of the catalog or one of the server's own, but none that is one typing error away from the
    catalog's."""
    known = list(STREAM_NAMES)
    return {
        "type": "string",
        "examples": known,
        "allOf": [{"if": {"anyOf": _near(name), "not": {"enum": known}}, "then": {"const": name}} for name in known],
    }


def _near(name: str) -> list[dict[str, str]]:
    """Patterns of a name with a letter changed, left out, added or swapped, with or without its underscores."""
    letters = ["[_ -]?" if letter == "_" else letter for letter in name]
    other = ".{0,2}" if len(name) > 4 else ".?"
    changed = ["".join((*letters[:at], other, *letters[at + 1 :])) for at in range(len(letters))]
    swapped = [
        "".join((*letters[:at], letters[at + 1], letters[at], *letters[at + 2 :])) for at in range(len(letters) - 1)
    ]
    return [{"pattern": f"^{each}$"} for each in (*changed, *swapped)]
