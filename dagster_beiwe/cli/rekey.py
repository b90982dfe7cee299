"""``dagster-beiwe rekey``: copy the lake into another place, locked under a new passphrase."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from typing import TYPE_CHECKING, Any

from dagster_beiwe.cli.context import (
    AGE_IDENTITY_VARIABLE,
    add_study_option,
    ask_twice,
    can_ask,
    lake_at,
    open_lake,
    studies_in_lake,
)
from dagster_beiwe.encryption import AgeCipher, CrypteaseCipher, read_identity
from dagster_beiwe.errors import ConfigurationError, WrongPassphraseError
from dagster_beiwe.lake import BeiweLake, StudyLake
from dagster_beiwe.lake.catalog.opening import Opening
from dagster_beiwe.lake.storage.base import Storage
from dagster_beiwe.lake.storage.local import LocalStorage
from dagster_beiwe.text import human_size, one_line

if TYPE_CHECKING:
    from dagster_beiwe.maintenance.rekey import RekeyResult

logger = logging.getLogger("dagster_beiwe")

NEW_PASSPHRASE = "BEIWE_LAKE_PASSPHRASE_NEW"  # noqa: S105 - a name, not a passphrase

_NEXT = """The old lake is as it was. Now
  1. set BEIWE_LAKE to the new place, and BEIWE_LAKE_PASSPHRASE (or the studies' entries in the keyring) to the new
     passphrase, where Dagster runs and for this command; if you have a witness, set BEIWE_WITNESS to an empty place,
     because the old one remembers the old log;
  2. run `dagster-beiwe verify`; if runs went on between two calls of this command, run each study's check `intact`
     once with `accept_older: true`, because the new log knows the old one as it was at the first call;
  3. keep the new passphrase where the lake is not, and destroy the old lake and its backups: whoever knows the old
     passphrase can read them."""


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "rekey",
        help="copy the lake to another place under a new passphrase",
        description=f"Copy the lake to another place, locked under a new passphrase. It comes from {NEW_PASSPHRASE}, "
        "or is asked for. Call it again to go on, or to copy what came since.",
    )
    add_study_option(parser, required=False)
    parser.add_argument("--to", required=True, help="folder or URL of the new lake; what is there already is kept")
    parser.add_argument("--compression", choices=("zstd", "none"), help="store files so (default: as they are)")
    parser.add_argument("--recipient", action="append", default=[], metavar="age1...",
                        help="encrypt files with age, for this public key; may be repeated")  # fmt: skip
    parser.add_argument("--encrypt-all", action="store_true", help="encrypt files that are stored plain as well")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from dagster_beiwe.maintenance.rekey import rekey_study, rekey_tables_of_lake

    old, new = open_lake(), lake_at(options.to)
    _check_places(old, new)
    passphrase = _new_passphrase()
    identity = read_identity(AGE_IDENTITY_VARIABLE)
    cipher = AgeCipher(recipients=options.recipient) if options.recipient else CrypteaseCipher(passphrase)
    form: dict[str, Any] = {"compression": options.compression, "encrypt_all": options.encrypt_all}
    damaged = []
    for study, lake in studies_in_lake(old, options.study):
        _check_new(lake, passphrase, same_allowed=any(form.values()))
        target = new.study(study.id, passphrase=passphrase, cipher=cipher, identity=identity)
        done = rekey_study(lake, target, on_window=_log_progress, **form)
        damaged += done.damaged_tables
        print(
            f"{one_line(study.name)} ({study.id}): {done.participants} participants, {done.windows} windows "
            f"({done.windows_copied} copied: {done.files_copied} files, {human_size(done.bytes_copied)}), "
            f"{done.tables} tables ({done.tables_copied} copied), {done.snapshots} snapshots."
        )
    if options.study is None:
        known = os.environ.get("BEIWE_LAKE_PASSPHRASE") or None
        shared = rekey_tables_of_lake(old.storage, new.storage, passphrase=known, new_passphrase=passphrase)
        damaged += shared.damaged_tables
        print(f"Tables of no study: {shared.tables} ({shared.tables_copied} copied).")
    if damaged:
        print("Not copied, because they are not what was written. Materialise them again: " + ", ".join(damaged))
    print(_NEXT)
    return 1 if damaged else 0


def _log_progress(done: RekeyResult) -> None:
    logger.info("%d windows done, %s copied", done.windows, human_size(done.bytes_copied))


def _check_places(old: BeiweLake, new: BeiweLake) -> None:
    first, second = (f"{_place(lake.storage)}/" for lake in (old, new))
    same = first.startswith(second) or second.startswith(first)
    if same:
        raise ConfigurationError(
            f"Expected another place than the lake's for --to, got {new.storage.describe()}, which is the lake at "
            f"{old.storage.describe()}, holds it or lies in it; nothing was copied. Choose one beside it."
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
        print("The new passphrase is the old one: whoever knows that can read the new lake too.", file=sys.stderr)
        return
    raise ConfigurationError(
        f"Expected a new passphrase, got that which locks study {lake.study_id} now; nothing was copied of it. Set "
        f"another one in {NEW_PASSPHRASE}."
    )


def _new_passphrase() -> str:
    passphrase = os.environ.get(NEW_PASSPHRASE) or (ask_twice("new passphrase of the lake") if can_ask() else "")
    if not passphrase:
        raise ConfigurationError(
            f"Expected the new passphrase in {NEW_PASSPHRASE}, got none; nothing was copied. Set it, for instance to "
            'what `python -c "import secrets; print(secrets.token_urlsafe(24))"` gives.'
        )
    return passphrase
