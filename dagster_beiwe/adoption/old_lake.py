"""A tree that is a lake: the log of the study's part of another lake continues the one there.

So what was seen of the old log, by Dagster above all, stays valid for the new one. The files can be adopted without
that: the server proves each. A log is not continued if it cannot be proven, or if only a part of its lake is adopted.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

from dagster_beiwe.environment import BEIWE_OLD_PASSPHRASE
from dagster_beiwe.errors import IntegrityError, WrongPassphraseError
from dagster_beiwe.lake.catalog.catalog import Catalog
from dagster_beiwe.lake.catalog.opening import Opening, Seen
from dagster_beiwe.lake.lake import open_storage
from dagster_beiwe.lake.storage.base import Storage

logger = logging.getLogger("dagster_beiwe")


def continue_log(
    folder: Path, log: Opening, passphrases: Sequence[str | None], remembered: Iterable[Seen], *, partly: bool
) -> None:
    """Let a study's ``log``, once it is begun, continue the one in ``folder``, if that is a lake or the study's part.

    ``passphrases`` may open the old log; None among them is for a log without authentication, which anybody could have
    put there. ``partly`` says that not all of its participants are adopted. A warning says why a log is not continued.
    """
    root = folder.resolve()
    storage = open_storage(root.parent if root.name == log.folder else root)
    try:
        former = _open(storage, log.folder, passphrases)
        if former is None:
            return
        if not partly:
            log.continues(former, remembered)
            return
        reason = "Only some participants were chosen. Adopt all of them to continue it."
    except (IntegrityError, WrongPassphraseError) as error:
        reason = str(error)
    logger.warning(
        "The files in %s can be adopted, but the new log does not continue the log of study %s there. If Dagster has "
        "seen that one, nothing is adopted. The reason: %s",
        folder,
        log.folder,
        reason,
    )


def _open(storage: Storage, study: str, passphrases: Sequence[str | None]) -> Catalog | None:
    """The log of a study, None if there is none. Raises ``WrongPassphraseError`` and ``IntegrityError``."""
    for passphrase in passphrases:
        try:
            return Opening(storage, study, passphrase).catalog()
        except WrongPassphraseError:
            continue
    raise WrongPassphraseError(
        "No passphrase that is known opens it, or it was written without one. Set "
        f"{BEIWE_OLD_PASSPHRASE} to the study's passphrase in that lake."
    )
