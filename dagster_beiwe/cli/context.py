"""What several commands need: credentials, the lake and its studies, from the environment."""

from __future__ import annotations

import argparse
import getpass
import logging
import math
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from dagster_beiwe.client import BeiweClient, HttpPolicy, StudyListing
from dagster_beiwe.client.studies import find_study, matching_studies
from dagster_beiwe.credentials import (
    Credentials,
    credentials_from_env,
    credentials_from_keyring,
    secrets_from_keyring,
    study_secret,
)
from dagster_beiwe.encryption import read_identity
from dagster_beiwe.errors import ConfigurationError, CredentialsError, ServerError, TimeRangeError
from dagster_beiwe.lake import BeiweLake, StudyLake
from dagster_beiwe.lake.catalog.opening import Seen

if TYPE_CHECKING:
    import dagster as dg

AGE_IDENTITY_VARIABLE = "BEIWE_AGE_IDENTITY"

logger = logging.getLogger("dagster_beiwe")

_LISTED = 20
_INPUT_LIMIT = 64 * 1024
_QUICK = HttpPolicy(connect_timeout_seconds=5, read_timeout_seconds=30, attempts=2)


def load_credentials() -> Credentials:
    """From the keyring where ``BEIWE_KEYRING_SECTION`` is set and ``BEIWE_URL`` is not; else from the environment."""
    if os.environ.get("BEIWE_KEYRING_SECTION") and not os.environ.get("BEIWE_URL"):
        return credentials_from_keyring(prompt=True)
    return credentials_from_env()


def dagster_history() -> dg.DagsterInstance:
    """What ``DAGSTER_HOME`` names, as a context manager; raises ``ConfigurationError`` where there is none."""
    home = os.environ.get("DAGSTER_HOME")
    if not home:
        raise ConfigurationError(
            "DAGSTER_HOME is not set, so Dagster's history cannot be found. Nothing was changed. Set it as for Dagster."
        )
    if not (user_path(home).is_absolute() and user_path(home).is_dir()):
        raise ConfigurationError(
            f"DAGSTER_HOME is {home[:200]!r}, which is not the absolute path of a folder, so Dagster's history cannot "
            "be found. Nothing was changed. Correct it, or mount its disk."
        )
    from dagster import DagsterInstance  # slow to import, and most commands don't need it

    return DagsterInstance.get()


def heads_in_dagster() -> list[Seen]:
    """What Dagster has seen of the logs of studies, where ``DAGSTER_HOME`` says where its history is."""
    if not os.environ.get("DAGSTER_HOME"):
        return []
    with dagster_history() as instance:
        from dagster_beiwe.runs.remembered_heads import all_remembered_heads

        return all_remembered_heads(instance)


def study_secrets(credentials: Credentials | None) -> Mapping[str, str]:
    """SECRETS of the keyring, which stand beside keys in the environment too, and need none to read a lake."""
    if credentials is not None and not os.environ.get("BEIWE_URL"):
        return credentials.secrets
    return secrets_from_keyring() if os.environ.get("BEIWE_KEYRING_SECTION") else {}


def study_passphrase(secrets: Mapping[str, str], study_id: str, name: str) -> str | None:
    """A study's own passphrase, or else the lake's; None where there is neither."""
    return study_secret(secrets, study_id=study_id, name=name) or os.environ.get("BEIWE_LAKE_PASSPHRASE") or None


def open_lake() -> BeiweLake:
    """The lake that ``BEIWE_LAKE`` names, with the witness of ``BEIWE_WITNESS``.

    Raises ``ConfigurationError`` without the former.
    """
    url = os.environ.get("BEIWE_LAKE")
    if not url:
        raise ConfigurationError(
            "Expected BEIWE_LAKE to name the lake's folder or URL, got nothing. Set it as for Dagster."
        )
    return lake_at(url, witness=os.environ.get("BEIWE_WITNESS"))


def lake_at(url: str, *, witness: str | None = None) -> BeiweLake:
    """The lake in a folder or at a URL. Raises ``ConfigurationError`` where there can be none."""
    return BeiweLake(_place(url), witness=_place(witness) if witness else None)


def _place(url: str) -> str | Path:
    return url if "://" in url else user_path(url)


def user_path(text: str) -> Path:
    """A path of the command line or the environment. Raises ``ConfigurationError`` for the home of an unknown user."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        pass
    raise ConfigurationError(
        f"Expected a path, got {text[:200]!r}, which begins in the home folder of a user who is not known here; "
        "nothing was done. Write the path in full."
    )


def studies_in_lake(lake: BeiweLake, wanted: str | None) -> Iterator[tuple[StudyListing, StudyLake]]:
    """The studies of the lake, or the wanted one, opened for reading.

    Names (which find the keyring's passphrases) come from the server; while it is silent, ids serve. Raises
    ``ConfigurationError`` for a lake that holds no study, or not the wanted one.
    """
    held = lake.studies()
    if not held:
        raise ConfigurationError(
            f"Expected a lake at {lake.storage.describe()}, got a place without any study; nothing was done. Correct "
            "BEIWE_LAKE, or run a partition of raw_data first."
        )
    try:
        credentials: Credentials | None = load_credentials()
    except CredentialsError as error:
        credentials = None
        logger.warning("Going on without the server: %s", error)
    names = _names(credentials)
    stored = {study_id: names.get(study_id, study_id) for study_id in held}
    if wanted is not None and not matching_studies(stored, wanted):
        raise _not_held(lake, stored, names, wanted)
    chosen = [StudyListing(id=key, name=name) for key, name in stored.items()]
    if wanted is not None:
        chosen = [find_study(stored, wanted)]
    secrets, identity = study_secrets(credentials), read_identity(AGE_IDENTITY_VARIABLE)
    for study in chosen:
        passphrase = study_passphrase(secrets, study.id, study.name)
        cipher = "cryptease" if passphrase else None
        yield (
            study,
            lake.study(
                study.id,
                passphrase=passphrase,
                cipher=cipher,
                identity=identity,
                keep_superseded_days=math.inf,  # only the project's configuration knows better
            ),
        )


def _not_held(lake: BeiweLake, stored: Mapping[str, str], names: Mapping[str, str], wanted: str) -> ConfigurationError:
    elsewhere = "The server has it: run a partition of its raw_data first. " if matching_studies(names, wanted) else ""
    held = ", ".join(f"{name!r} ({study_id})" for study_id, name in sorted(stored.items())[:_LISTED])
    more = f" and {len(stored) - _LISTED} more" if len(stored) > _LISTED else ""
    return ConfigurationError(
        f"Expected a study of the lake at {lake.storage.describe()}, got {wanted[:80]!r}, which it does not hold; "
        f"nothing was done. {elsewhere}The lake holds: {held}{more}."
    )


def not_held(participants: Iterable[str]) -> ConfigurationError:
    """The error for participants of the command line that the lake does not hold."""
    return ConfigurationError(
        f"Expected participants whom the lake holds, got {', '.join(name[:64] for name in participants)}; nothing was "
        "found of them. Correct the ids (the study's roster has them), or --study."
    )


def add_study_option(parser: argparse.ArgumentParser, *, required: bool) -> None:
    parser.add_argument("--study", required=required, help="id, beginning of an id, or name of the study")


def utc_hour(text: str) -> datetime:
    """A date or time of the command line as aware UTC; naive ones are taken as UTC."""
    try:
        moment = datetime.fromisoformat(text)
        return moment.replace(tzinfo=timezone.utc) if moment.tzinfo is None else moment.astimezone(timezone.utc)
    except (ValueError, OverflowError):
        raise TimeRangeError(
            f"Expected a time like 2024-03-01 or 2024-03-01T13:00, got {text[:40]!r}; nothing was done."
        ) from None


def past_state(text: str) -> int | datetime | str:
    """A past state of the command line: a record's number, a date or time, or else a snapshot's name."""
    if text.isdecimal():
        return int(text)
    try:
        return utc_hour(text)
    except TimeRangeError:
        return text


def confirmed(question: str, *, yes: bool) -> bool:
    """Ask where somebody can answer; without a terminal only ``--yes`` confirms."""
    if yes:
        return True
    if not can_ask():
        raise ConfigurationError(
            "Expected a confirmation, but nobody can answer here; nothing was changed. Add --yes to confirm."
        )
    return input(f"{question} Type 'yes' to go on: ").strip().lower() == "yes"


def can_ask() -> bool:
    """Whether somebody sits at a terminal who can answer."""
    return sys.stdin is not None and sys.stdin.isatty()


def ask_twice(what: str) -> str:
    """A new passphrase, without echo. Raises ``ConfigurationError`` if it was not typed twice the same."""
    first = getpass.getpass(f"{what}: ")
    if first != getpass.getpass(f"{what}, again: "):
        raise ConfigurationError("Expected the same passphrase twice, got two; nothing was changed.")
    return first


def read_input(*, line: bool = False) -> str:
    """Standard input, or its first line without the end; empty where it is closed.

    Raises ``ConfigurationError`` if it is no text, or more than 64 kB, which nothing that belongs here is.
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
        "Expected a little UTF-8 text on standard input, got other bytes or more than 64 kB; nothing was changed."
    )


def _names(credentials: Credentials | None) -> Mapping[str, str]:
    if credentials is None:
        return {}
    try:
        with BeiweClient(credentials, policy=_QUICK) as client:
            return client.studies()
    except ServerError as error:
        logger.warning("Going on with ids, the server can't be asked for names: %s", error)
        return {}
