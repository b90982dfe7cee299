"""``dg scaffold defs dagster_beiwe.BeiweComponent beiwe``: a ``defs.yaml`` that loads, and what to change in it."""

from __future__ import annotations

import json
from datetime import date

from dagster.components import Scaffolder, ScaffoldRequest, scaffold_component
from pydantic import BaseModel, Field

from dagster_beiwe.environment import (
    BEIWE_ACCESS_KEY,
    BEIWE_LAKE,
    BEIWE_LAKE_PASSPHRASE,
    BEIWE_SECRET_KEY,
    BEIWE_URL,
    NRG_KEYRING_PASS,
    PREFIX,
)
from dagster_beiwe.studies.config import DEFAULT_DEPLOYMENT, EVERY_STUDY

_DEFS = """\
type: {type}

attributes:
  # The server, by the names of environment variables. No key and no passphrase belongs in this file.
  deployments:
    {deployment}:
      {keys}
      lake_variable: {lake}
      passphrase_variable: {passphrase}

  # Each study by its id, the beginning of its id, or its name. "*" stands for all others that the keys can see.
  studies:
    - study: {study}
      {start}
      window: weekly
      streams: []  # all of them
      tables: [gps]

  # Schedules and sensors are there, but off until you switch them on in Dagster, or here.
  automation:
    running: false

  # Study ids and names are kept where Dagster keeps its history. `dg utils refresh-defs-state` asks the server again.
  defs_state:
    management_type: VERSIONED_STATE_STORAGE

requirements:
  env: [{variables}]
"""


class ScaffoldParams(BaseModel):
    """What ``dg scaffold defs`` takes as options or as JSON."""

    study: str = Field(default=EVERY_STUDY, description="Id, beginning of the id, or name of a study. Default: all.")
    start: date | None = Field(default=None, description="The first day of the study's data, in UTC.")
    keyring_section: str | None = Field(
        default=None, description="The section of the keyring with the server's keys. Default: environment variables."
    )


class BeiweComponentScaffolder(Scaffolder[ScaffoldParams]):
    """Writes ``defs.yaml`` with the names of the environment variables and one study."""

    @classmethod
    def get_scaffold_params(cls) -> type[ScaffoldParams]:
        return ScaffoldParams

    def scaffold(self, request: ScaffoldRequest[ScaffoldParams]) -> None:
        if request.scaffold_format == "python":
            scaffold_component(request)
            return
        path = request.target_path if request.append else request.target_path / "defs.yaml"
        with path.open("a" if request.append else "w", encoding="utf-8") as file:
            file.write(("---\n" if request.append else "") + _text(request.type_name, request.params))


def _text(type_name: str, params: ScaffoldParams) -> str:
    keys = f"environment_prefix: {PREFIX}  # {BEIWE_URL}, {BEIWE_ACCESS_KEY}, {BEIWE_SECRET_KEY}"
    variables = [BEIWE_URL, BEIWE_ACCESS_KEY, BEIWE_SECRET_KEY]
    if params.keyring_section:
        keys, variables = f"keyring_section: {_quoted(params.keyring_section)}", [NRG_KEYRING_PASS]
    start = "# start: 2024-01-01  # default: the month of the first participant"
    if params.start:
        start = f'start: "{params.start}"'
    return _DEFS.format(
        type=type_name,
        deployment=DEFAULT_DEPLOYMENT,
        keys=keys,
        lake=BEIWE_LAKE,
        passphrase=BEIWE_LAKE_PASSPHRASE,
        study=_quoted(params.study),
        start=start,
        variables=", ".join([*variables, BEIWE_LAKE, BEIWE_LAKE_PASSPHRASE]),
    )


def _quoted(text: str) -> str:
    """As YAML, of which JSON is a part."""
    return json.dumps(text, ensure_ascii=False)
