"""``dagster-beiwe rekey``: copy the lake to another place, encrypted with a new passphrase."""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from dagster_beiwe.cli.command import Command
from dagster_beiwe.cli.context import (
    ask_twice,
    can_ask,
    heads_in_dagster,
    named,
    open_lake,
    opener,
    studies_in_lake,
)
from dagster_beiwe.cli.messages import say, when_interrupted
from dagster_beiwe.cli.options import json_option, optional_study_option
from dagster_beiwe.cli.output import print_json
from dagster_beiwe.cli.progress import progress
from dagster_beiwe.cli.project_environment import NAME as ENV_FILE
from dagster_beiwe.client import StudyListing
from dagster_beiwe.credentials import find_secret
from dagster_beiwe.encryption import AgeCipher, CrypteaseCipher
from dagster_beiwe.environment import BEIWE_LAKE, BEIWE_LAKE_PASSPHRASE, BEIWE_LAKE_PASSPHRASE_NEW, BEIWE_WITNESS
from dagster_beiwe.errors import ConfigurationError, WrongPassphraseError
from dagster_beiwe.lake import BeiweLake, StudyLake
from dagster_beiwe.lake.catalog.opening import Opening
from dagster_beiwe.lake.storage.base import Storage
from dagster_beiwe.lake.storage.local import LocalStorage
from dagster_beiwe.opening import lake_at
from dagster_beiwe.text import counted, human_size

if TYPE_CHECKING:
    from dagster_beiwe.maintenance.rekey import RekeyResult

NEW_PASSPHRASE = BEIWE_LAKE_PASSPHRASE_NEW

_INTERRUPTED = (
    "The old lake is unchanged, and the windows that were copied stay in the new one. Run the same command again, with "
    "the same new passphrase, to continue."
)
_NEXT = f"""The old lake is unchanged. Now
  1. set {BEIWE_LAKE} to the new place, where it is set now: in {ENV_FILE} of your project, or in the environment of
     Dagster and of this command. Set the new passphrase, too: if `dagster-beiwe keyring list` names the study, copy the
     keyring file, which has the old passphrase, and run `dagster-beiwe keyring passphrase`; otherwise set
     {BEIWE_LAKE_PASSPHRASE}. If you have a witness, set {BEIWE_WITNESS} to an empty place, because the old one
     remembers the old log;
  2. run `dagster-beiwe verify`, and see that it names the new place. If runs continued between two calls of this
     command, run each study's check `intact` once with `accept_older: true`, because the new log knows the old one as
     it was at the first call;
  3. keep the new passphrase apart from the lake, and destroy the old lake, its backups, and the copy of the keyring
     file: anyone who knows the old passphrase can read them."""


@click.command(
    cls=Command,
    examples=[
        "rekey --to /secure/beiwe-lake-2",
        "rekey --to s3://lab-2/beiwe --recipient age1...",
    ],
)
@optional_study_option
@click.option("--to", required=True, metavar="PLACE", help="Folder or URL of the new lake. What it holds is kept.")
@click.option("--compression", type=click.Choice(["zstd", "none"]), help="How to store files. Default: as they are.")
@click.option(
    "--recipient", "recipients", multiple=True, metavar="age1...",
    help="Encrypt files with age for this public key. Can be repeated.",
)  # fmt: skip
@click.option("--encrypt-all", is_flag=True, help="Also encrypt files that are stored plain.")
@json_option
def command(
    *,
    study: str | None,
    to: str,
    compression: str | None,
    recipients: tuple[str, ...],
    encrypt_all: bool,
    as_json: bool,
) -> int:
    """Copy the lake to another place under a new passphrase.

    The new passphrase comes from BEIWE_LAKE_PASSPHRASE_NEW, or the command asks for it. Run it again to continue a
    call that was interrupted, or to copy what the old lake received since.
    """
    from dagster_beiwe.maintenance.rekey import rekey_study, rekey_tables_of_lake

    old, new, remembered = open_lake(), lake_at(to), heads_in_dagster()
    _check_places(old, new)
    passphrase = _new_passphrase()
    identity = opener().identity()
    cipher = AgeCipher(recipients=recipients) if recipients else CrypteaseCipher(passphrase)
    form: dict[str, Any] = {"compression": compression, "encrypt_all": encrypt_all}
    damaged = []
    for found, lake in studies_in_lake(old, study):
        _check_new(lake, passphrase, same_allowed=any(form.values()))
        target = new.study(found.id, passphrase=passphrase, cipher=cipher, identity=identity)
        _check_continued(target)
        with progress("windows") as shown, when_interrupted(lambda: _INTERRUPTED):
            done = rekey_study(lake, target, remembered=remembered, progress=shown, processes=True, **form)
        damaged += done.damaged_tables
        _print(found, done, as_json=as_json)
    if study is None:
        shared = rekey_tables_of_lake(
            old.storage, new.storage, passphrase=opener().lake_passphrase(), new_passphrase=passphrase
        )
        damaged += shared.damaged_tables
        _print(None, shared, as_json=as_json)
    if not as_json:
        if damaged:
            print("Damaged, and therefore not copied. Materialize these tables again: " + ", ".join(damaged))
        print(_NEXT)
    return 1 if damaged else 0


def _print(study: StudyListing | None, done: RekeyResult, *, as_json: bool) -> None:
    """What was copied of a study, or of the tables that belong to none."""
    if as_json:
        print_json({"study_id": study and study.id, **asdict(done)})
    elif study is None:
        print(f"Tables of no study: {done.tables} ({done.tables_copied} copied).")
    else:
        print(
            f"{named(study)}: {counted(done.participants, 'participant')}, {counted(done.windows, 'window')} "
            f"({done.windows_copied} copied: {counted(done.files_copied, 'file')}, {human_size(done.bytes_copied)}), "
            f"{counted(done.tables, 'table')} ({done.tables_copied} copied), {counted(done.snapshots, 'snapshot')}."
        )


def _check_places(old: BeiweLake, new: BeiweLake) -> None:
    first, second = (f"{_place(lake.storage)}/" for lake in (old, new))
    same = first.startswith(second) or second.startswith(first)
    if same:
        raise ConfigurationError(
            f"--to names {new.storage.describe()}, which is the lake at {old.storage.describe()}, contains it, or "
            "lies in it. Nothing was copied. Choose a place beside it."
        )


def _place(storage: Storage) -> str:
    return str(storage.root.resolve()) if isinstance(storage, LocalStorage) else storage.describe()


def _check_new(lake: StudyLake, passphrase: str, *, same_allowed: bool) -> None:
    lake.catalog()  # raises for a wrong passphrase of today
    try:
        if Opening(lake.storage, lake.study_id, passphrase).catalog() is None:
            return
    except WrongPassphraseError:
        return
    if same_allowed:
        say("warning", "The new passphrase is the old one: anyone who knows it can read the new lake too.")
        return
    raise ConfigurationError(
        f"The new passphrase of study {lake.study_id} is its current one. Nothing of the study was copied. Set "
        f"another one in {NEW_PASSPHRASE}."
    )


def _check_continued(target: StudyLake) -> None:
    try:
        target.catalog()
    except WrongPassphraseError:
        raise WrongPassphraseError(
            f"The copy of study {target.study_id} at {target.storage.describe()} was begun with another new passphrase "
            f"than today's. Nothing was copied. Set {NEW_PASSPHRASE} to that one, or choose another "
            "place."
        ) from None


def _new_passphrase() -> str:
    secret = find_secret(NEW_PASSPHRASE, os.environ)
    passphrase = secret.value if secret else ask_twice("new passphrase of the lake") if can_ask() else ""
    if not passphrase:
        raise ConfigurationError(
            f"{NEW_PASSPHRASE} is not set. Nothing was copied. Set it to a new passphrase, for instance to the output "
            'of `python -c "import secrets; print(secrets.token_urlsafe(24))"`.'
        )
    return passphrase
