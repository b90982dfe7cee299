"""``type: dagster_beiwe.BeiweComponent``: a project in YAML."""

from __future__ import annotations

import os

import dagster as dg
from pydantic import Field

from dagster_beiwe.definitions import Automation, build_beiwe_definitions
from dagster_beiwe.environment import BEIWE_LAKE, BEIWE_LAKE_PASSPHRASE, BEIWE_STUDIES, BEIWE_WITNESS, DAGSTER_HOME
from dagster_beiwe.resource import (
    BeiweCredentials,
    BeiweResource,
    EnvCredentials,
    KeyringCredentials,
    credentials_from_environment,
)
from dagster_beiwe.studies.config import DEFAULT_DEPLOYMENT, StudyConfig


class Deployment(dg.Resolvable, dg.Model):
    """One Beiwe server: where its keys come from and which lake its studies go to. Only names, no secrets.

    With ``keyring_section``, the keys are in that section of the keyring; otherwise in environment variables that begin
    with ``environment_prefix``.
    """

    keyring_section: str | None = None
    keyring_file: str | None = None
    environment_prefix: str = "BEIWE_"
    lake_variable: str = BEIWE_LAKE
    passphrase_variable: str = BEIWE_LAKE_PASSPHRASE  # a name, not a passphrase
    witness_variable: str = BEIWE_WITNESS

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


class BeiweComponent(dg.Component, dg.Resolvable, dg.Model):
    """Studies of one or more Beiwe servers: rosters, settings and raw data in an encrypted lake.

    Use it once per project; it takes any number of studies and servers.
    """

    studies: list[StudyConfig] = Field(
        default_factory=list,
        description=f"The studies; none listed means those of {BEIWE_STUDIES}, or every study that the key can see.",
    )
    deployments: dict[str, Deployment] = Field(
        default_factory=dict,
        description="Servers by name; none listed means one, beiwe, with credentials from the environment.",
    )
    automation: Automation = Field(default=Automation(), description="When things run by themselves.")
    default_io_manager: bool = Field(
        default=False,
        description="Whether what assets without an IO manager return is stored as encrypted tables. That binds the "
        "resource `io_manager`, which a project has once.",
    )
    state_folder: str | None = Field(
        default=None, description=f"Where the last known studies are kept; {DAGSTER_HOME}/beiwe if not given."
    )

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:  # noqa: ARG002
        resources = {name: deployment.resource() for name, deployment in self.deployments.items()}
        if not resources:
            resources = {DEFAULT_DEPLOYMENT: BeiweResource(credentials=credentials_from_environment(os.environ))}
        return build_beiwe_definitions(
            self.studies or None,
            deployments=resources,
            automation=self.automation,
            default_io_manager=self.default_io_manager,
            state_folder=self.state_folder,
        )
