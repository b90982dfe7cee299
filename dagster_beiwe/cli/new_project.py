"""The files of a new project. Nothing in them is secret, and none replaces a file that is there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime, time, timezone
from pathlib import Path

from dagster_beiwe.cli.project_environment import as_line
from dagster_beiwe.client import StudyListing
from dagster_beiwe.environment import BEIWE_KEYRING_SECTION, DAGSTER_HOME, NRG_KEYRING_PASS
from dagster_beiwe.errors import ConfigurationError
from dagster_beiwe.ids import slug
from dagster_beiwe.private_files import make_folder, write_file
from dagster_beiwe.studies.config import StudyConfig
from dagster_beiwe.text import as_title
from dagster_beiwe.windows import Window, window_of

_MODULE = "lab"
_DEFS = f"{_MODULE}/defs/beiwe/defs.yaml"
_LAST = "pyproject.toml"
_HOME = "dagster_home"
INSTALL = 'pip install "dagster-beiwe[webserver]" dagster-dg-cli'
"""What brings ``dg``, and the page that ``dg dev`` shows."""
KEYRING = "keyring.enc"
LAKE = "lake"

_PYPROJECT = f"""\
[project]
name = "{_MODULE}"
version = "0.1.0"
dependencies = ["dagster-beiwe[webserver]", "dagster-dg-cli"]

[tool.dagster]
module_name = "{_MODULE}.definitions"
code_location_name = "{_MODULE}"

[tool.dg]
directory_type = "project"

[tool.dg.project]
root_module = "{_MODULE}"
code_location_name = "{_MODULE}"
"""

_DEFINITIONS = '''\
"""What Dagster loads: the components in ``defs``, each step in the process of its run."""

from pathlib import Path

import dagster as dg


@dg.definitions
def defs() -> dg.Definitions:
    found = dg.load_from_defs_folder(path_within_project=Path(__file__).parent)
    return dg.Definitions.merge(found, dg.Definitions(executor=dg.in_process_executor))
'''

_COMPONENT = """\
type: dagster_beiwe.BeiweComponent

attributes:
  # To add a study, add an entry with its id or name; the other fields are optional. Once there is data, leave `key`,
  # `start`, and `window` as they are: they name the assets and their partitions.
  studies:
    - study: {study}
      {name}{key}start: {start}

  # Schedules and sensors are there, but off until you switch them on in Dagster, or here.
  automation:
    running: false

  # Tables that your own assets return are stored in the lake, too.
  default_io_manager: true
"""

_DAGSTER = """\
# Medical data: report nothing to anyone.
telemetry:
  enabled: false
nux:
  enabled: false

concurrency:
  runs:
    max_concurrent_runs: 3  # SQLite writes one event at a time; more runs would only wait for each other
  pools:
    default_limit: 2        # runs that download from one Beiwe server at the same time
    granularity: run        # runs wait in the queue; with `op` they wait as processes, and dead ones keep their slots

run_monitoring:
  enabled: true             # mark a run as failed if its process was killed
  cancel_timeout_seconds: 60  # and as canceled if it was terminated and its process is gone
run_retries:
  enabled: true
  max_retries: 1            # the retry continues from what was committed
"""

_IGNORED = f"""\
# Data, history, and what belongs to one machine. Nothing of it is for git, not even encrypted.
/.env
/{KEYRING}
/{LAKE}/
/{_HOME}/
/.venv/
__pycache__/
"""

_README = """\
# {study}

A Dagster project for [dagster-beiwe](https://pypi.org/project/dagster-beiwe/). The studies are in
`{defs}`. `.env` says where the lake is and where secrets are kept, but holds none.

In this folder, run:

```sh
{commands}
```

`dg` is in the package `dagster-dg-cli`: `{install}`.

{advice}
"""


@dataclass(frozen=True, kw_only=True)
class NewProject:
    """What a new project is about. ``variables`` are for ``.env``, without secrets; ``advice`` says what must not be
    lost."""

    study: StudyListing
    start: date
    variables: Mapping[str, str]
    advice: str

    @property
    def first_window(self) -> Window:
        """The window that contains ``start``; the component leaves its length as it is by default."""
        return window_of(StudyConfig(self.study.id).window, datetime.combine(self.start, time(), timezone.utc))

    @property
    def next_commands(self) -> list[str]:
        """What to run in the project."""
        check = f"dagster-beiwe check --study {self.study.id}"
        if BEIWE_KEYRING_SECTION not in self.variables:
            return [check, "dg list defs", "dg dev"]
        read = f"read -rs {NRG_KEYRING_PASS} && export {NRG_KEYRING_PASS}"
        return [f"{read}  # type the passphrase of the keyring", check, "dg dev"]

    def environment(self, folder: Path) -> dict[str, str]:
        """What its ``.env`` sets."""
        return {DAGSTER_HOME: str(folder / _HOME), **self.variables}

    def files(self, folder: Path) -> dict[str, str]:
        """{path: text}; the last one makes a project of the others."""
        return {
            ".gitignore": _IGNORED,
            ".env": "\n".join([*(as_line(*each) for each in self.environment(folder).items()), ""]),
            f"{_HOME}/dagster.yaml": _DAGSTER,
            f"{_MODULE}/__init__.py": "",
            f"{_MODULE}/definitions.py": _DEFINITIONS,
            f"{_MODULE}/defs/__init__.py": "",
            _DEFS: self._component(),
            "README.md": _README.format(
                study=as_title(self.study.name),
                defs=_DEFS,
                commands="\n".join(self.next_commands),
                install=INSTALL,
                advice=self.advice,
            ),
            _LAST: _PYPROJECT,
        }

    def _component(self) -> str:
        key = ""
        with suppress(ConfigurationError):  # of a name without a Latin letter: the key is made from the id
            key = f"key: {slug(self.study.name)}\n      "
        name = ""  # the server knows it, too: Dagster takes {{ }} in YAML for a template, and YAML refuses controls
        if "{" not in self.study.name and self.study.name.isprintable():
            quoted = json.dumps(self.study.name, ensure_ascii=False)  # which YAML reads, too
            name = f"name: {quoted}\n      "
        return _COMPONENT.format(study=self.study.id, name=name, key=key, start=self.start)


def is_project(folder: Path) -> bool:
    """Whether a folder holds a whole project that was made here. Raises ``ConfigurationError`` if it holds another."""
    if not (folder / _LAST).exists():
        return False
    if (folder / _DEFS).exists():
        return True
    raise ConfigurationError(
        f"{folder} holds another project. Nothing was written. Name a new folder, or add the component there: `dg "
        "scaffold defs dagster_beiwe.BeiweComponent beiwe`."
    )


def write_project(project: NewProject, folder: Path) -> tuple[list[Path], list[Path]]:
    """Write the files that are not there; returns those written, and those kept."""
    written, kept = [], []
    for name, text in project.files(folder).items():
        path = folder / name
        make_folder(path.parent)
        try:
            write_file(path, text.encode(), exclusive=True)
        except FileExistsError:
            kept.append(path)
        else:
            written.append(path)
    return written, kept
