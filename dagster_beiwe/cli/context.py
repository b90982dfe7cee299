"""What several commands need: credentials, the lake and its studies, from the environment."""

from __future__ import annotations

import getpass
import logging
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from dagster_beiwe.client import BeiweClient, StudyListing
from dagster_beiwe.client.studies import find_study, matching_studies
from dagster_beiwe.credentials import Credentials
from dagster_beiwe.environment import (
    BEIWE_ACCESS_KEY,
    BEIWE_KEYRING_SECTION,
    BEIWE_LAKE,
    BEIWE_SECRET_KEY,
    BEIWE_URL,
    DAGSTER_HOME,
    file_variable,
)
from dagster_beiwe.errors import BeiweError, ConfigurationError, CredentialsError, ServerError
from dagster_beiwe.lake import BeiweLake, StudyLake
from dagster_beiwe.lake.catalog.opening import Seen
from dagster_beiwe.lake.storage.base import Storage
from dagster_beiwe.lake.storage.local import LocalStorage
from dagster_beiwe.opening import LakeOpener, has_keys_in_keyring, load_credentials, load_secrets, user_path
from dagster_beiwe.retries import HTTP_IN_COMMANDS
from dagster_beiwe.tables.finding import key_called
from dagster_beiwe.tables.store import TableStore
from dagster_beiwe.text import listed, one_line

if TYPE_CHECKING:
    import dagster as dg

logger = logging.getLogger("dagster_beiwe")

_KEYS = (BEIWE_URL, BEIWE_ACCESS_KEY, BEIWE_SECRET_KEY)
_OF_A_SERVER = (*_KEYS, *map(file_variable, _KEYS), BEIWE_KEYRING_SECTION)
"""Variables without which nobody means to use one: a host that only reads the lake has no keys."""
_LISTED = 20
_INPUT_LIMIT = 64 * 1024


def dagster_history() -> dg.DagsterInstance:
    """Dagster's history in ``DAGSTER_HOME``, as a context manager. Raises ``ConfigurationError`` if there is none."""
    home = os.environ.get(DAGSTER_HOME)
    if not home:
        raise ConfigurationError(
            f"{DAGSTER_HOME} is not set, so Dagster's history cannot be found. Nothing was changed. Set it to the "
            "same folder as for Dagster."
        )
    check_dagster_home(home)
    from dagster import DagsterInstance  # slow to import, and most commands don't need it

    return DagsterInstance.get()


def check_dagster_home(home: str) -> None:
    """Raise ``ConfigurationError`` unless this is the absolute path of a folder. Loading definitions would make one."""
    if not (user_path(home).is_absolute() and user_path(home).is_dir()):
        raise ConfigurationError(
            f"{DAGSTER_HOME} is {home[:200]!r}, which is not the absolute path of a folder, so Dagster's history "
            "cannot be found. Nothing was changed. Correct it, or mount its disk."
        )


def heads_in_dagster() -> list[Seen]:
    """What Dagster has seen of the logs of studies, if ``DAGSTER_HOME`` is set."""
    if not os.environ.get(DAGSTER_HOME):
        return []
    with dagster_history() as instance:
        from dagster_beiwe.runs.remembered_heads import all_remembered_heads

        return all_remembered_heads(instance)


def opener() -> LakeOpener:
    """Opens the lake that the environment names."""
    return LakeOpener(os.environ)


def open_lake() -> BeiweLake:
    """The lake that the environment names. Raises ``ConfigurationError`` if it names none."""
    return opener().lake()


def tables_of_no_study(lake: BeiweLake) -> Iterator[TableStore]:
    """The tables that belong to no study: those about no participant, and if its passphrase is known, the lake's."""
    yield TableStore.of_nobody(lake.storage, witness=lake.witness)
    if passphrase := opener().lake_passphrase():
        yield TableStore.of_lake(lake.storage, passphrase=passphrase, witness=lake.witness)


def study_secrets(credentials: Credentials | None) -> Mapping[str, str]:
    """SECRETS of the keyring. If the keys came from it, they are known already, and nobody is asked twice."""
    if credentials is not None and has_keys_in_keyring(os.environ):
        return credentials.secrets
    return load_secrets(os.environ)


def studies_in_lake(lake: BeiweLake, wanted: str | None) -> Iterator[tuple[StudyListing, StudyLake]]:
    """The studies of the lake, or the wanted one, opened for reading.

    Names (which find the keyring's passphrases) come from the server; if it does not answer, those are used that the
    lake has, or else ids. Raises ``ConfigurationError`` for a lake that holds no study, or not the wanted one.
    """
    held = lake.studies()
    if not held:
        raise ConfigurationError(
            f"The lake at {lake.storage.describe()} holds no study. Nothing was done. Correct {BEIWE_LAKE}, or "
            "materialize a partition of raw_data first."
        )
    try:
        credentials: Credentials | None = load_credentials(os.environ, prompt=True)
    except CredentialsError as error:
        credentials = None
        level = logging.WARNING if any(map(os.environ.get, _OF_A_SERVER)) else logging.INFO
        logger.log(level, "Continuing without the server: %s", error)
    names = _names(credentials) or _stored_names(lake)
    stored = {study_id: names.get(study_id, study_id) for study_id in held}
    if wanted is not None and not matching_studies(stored, wanted):
        raise _not_held(lake, stored, names, wanted)
    chosen = [StudyListing(id=key, name=name) for key, name in stored.items()]
    if wanted is not None:
        chosen = [find_study(stored, wanted)]
    secrets, lakes = study_secrets(credentials), opener()
    for study in chosen:
        passphrase = lakes.study_passphrase(secrets, study_id=study.id, name=study.name)
        yield study, lakes.study_to_read(lake, study.id, passphrase=passphrase)


def _not_held(lake: BeiweLake, stored: Mapping[str, str], names: Mapping[str, str], wanted: str) -> ConfigurationError:
    elsewhere = "" if names else "Without the server, --study takes ids, not names. "
    if matching_studies(names, wanted):
        elsewhere = "The server has it: materialize a partition of its raw_data first. "
    held = [named(StudyListing(id=key, name=name)) for key, name in sorted(stored.items())]
    return ConfigurationError(
        f"The lake at {lake.storage.describe()} does not hold the study {wanted[:80]!r}. Nothing was done. {elsewhere}"
        f"The lake holds: {listed(held, most=_LISTED)}."
    )


def named(study: StudyListing) -> str:
    """A study as messages name it: name and id, or its id alone if its name is not known."""
    return study.id if study.name == study.id else f"{one_line(study.name)} ({study.id})"


def not_held(participants: Iterable[str]) -> ConfigurationError:
    """The error for participants of the command line whom the lake does not hold."""
    return ConfigurationError(
        f"The lake does not hold these participants: {', '.join(name[:64] for name in participants)}. Correct the ids "
        "(the roster of the study lists them), or --study."
    )


def check_outside(path: Path, storage: Storage) -> None:
    """Raise ``ConfigurationError`` for a path in the lake's folder: plain files must not lie among encrypted ones."""
    if isinstance(storage, LocalStorage) and path.resolve().is_relative_to(storage.root.resolve()):
        raise ConfigurationError(
            f"{path} is in the lake at {storage.describe()}. Nothing was written. Plain files must not lie among "
            "encrypted ones: choose a place outside of the lake."
        )


def check_apart(folder: Path, storage: Storage) -> None:
    """Raise ``ConfigurationError`` if the lake's folder and another one are one in the other."""
    check_outside(folder, storage)
    if isinstance(storage, LocalStorage) and storage.root.resolve().is_relative_to(folder.resolve()):
        raise ConfigurationError(
            f"The lake at {storage.describe()} is in {folder.resolve()}, which is only read. Nothing was written. Set "
            f"{BEIWE_LAKE} to a place outside of it."
        )


def confirmed(question: str, *, yes: bool) -> bool:
    """Ask on a terminal; without one, only ``--yes`` confirms."""
    if yes:
        return True
    if not can_ask():
        raise ConfigurationError(
            "Nobody can confirm this, because standard input is not a terminal. Nothing was changed. Add --yes to "
            "confirm."
        )
    print(f"{question} Type 'yes' to continue: ", end="", file=sys.stderr, flush=True)  # the output may be JSON
    return input().strip().lower() == "yes"


def can_ask() -> bool:
    """Whether somebody at a terminal can answer."""
    return sys.stdin is not None and sys.stdin.isatty()


def ask_twice(what: str) -> str:
    """A new passphrase, without echo; empty if nothing is typed. Raises ``ConfigurationError`` if the second input
    differs from the first."""
    first = getpass.getpass(f"{what}: ")
    if first and first != getpass.getpass(f"{what}, again: "):
        raise ConfigurationError("The two passphrases differ. Nothing was changed. Run the command again.")
    return first


def read_input(*, line: bool = False) -> str:
    """Standard input, or its first line without the line break; empty if it is closed.

    Raises ``ConfigurationError`` if it is not text, or more than 64 kB, which no secret or section is.
    """
    if sys.stdin is None:
        return ""
    try:
        text = sys.stdin.readline(_INPUT_LIMIT).rstrip("\r\n") if line else sys.stdin.read(_INPUT_LIMIT)
        if len(text) < _INPUT_LIMIT:
            return text
    except UnicodeDecodeError:
        pass
    # Outside of the except block: the exception holds what was read.
    raise ConfigurationError(
        "Standard input is not UTF-8 text of at most 64 kB. Nothing was changed. Pass the value as text."
    )


def _names(credentials: Credentials | None) -> Mapping[str, str]:
    if credentials is None:
        return {}
    try:
        with BeiweClient(credentials, policy=HTTP_IN_COMMANDS) as client:
            return client.studies()
    except ServerError as error:
        logger.warning("Continuing without the server's names of studies: %s", error)
        return {}


def _stored_names(lake: BeiweLake) -> Mapping[str, str]:
    """{study id: name}, as the asset ``studies`` last stored them, if it can be read."""
    names: dict[str, str] = {}
    for tables in tables_of_no_study(lake):
        try:
            key = key_called(tables, "studies")
            rows = tables.read(key, columns=("study_id", "name")).to_dict("records") if tables.exists(key) else []
        except BeiweError as error:
            logger.warning("Continuing with study ids, because the table of studies cannot be read: %s", error)
        else:
            names |= {str(row["study_id"]): str(row["name"]) for row in rows}
    return names
