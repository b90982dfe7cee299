"""A tree that is a lake: the log of the study's part of another lake continues the one there.

So what was seen of the old log, by Dagster above all, stays valid for the new one.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from dagster_beiwe.environment import BEIWE_OLD_PASSPHRASE
from dagster_beiwe.errors import WrongPassphraseError
from dagster_beiwe.lake.catalog.opening import Opening
from dagster_beiwe.lake.lake import open_storage


def continue_log(folder: Path, log: Opening, passphrases: Iterable[str]) -> None:
    """Let a study's ``log``, once it is begun, continue the one in ``folder``, if that is a lake or the study's part.

    Raises ``WrongPassphraseError`` if none of the ``passphrases`` opens the old log, and ``IntegrityError`` if that is
    damaged.
    """
    root = folder.resolve()
    storage = open_storage(root.parent if root.name == log.folder else root)
    for passphrase in (*passphrases, None):
        try:
            former = Opening(storage, log.folder, passphrase).catalog()
        except WrongPassphraseError:
            continue
        if former is not None:
            log.continues(former)
        return
    raise WrongPassphraseError(
        f"{folder} is a lake, and no passphrase that is known opens the log of study {log.folder} there. Nothing was "
        f"adopted. Set {BEIWE_OLD_PASSPHRASE} to the study's passphrase in that lake."
    )
