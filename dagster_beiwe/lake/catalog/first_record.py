"""Find a log's first record and its key, before anything else of the log is read."""

from __future__ import annotations

from dagster_beiwe.errors import IntegrityError, WrongPassphraseError
from dagster_beiwe.lake.catalog.authentication import Authenticator, digest
from dagster_beiwe.lake.catalog.key_file import open_log
from dagster_beiwe.lake.catalog.log import missing
from dagster_beiwe.lake.catalog.records import Begin, Head
from dagster_beiwe.lake.catalog.store import read
from dagster_beiwe.lake.catalog.witness import Witness
from dagster_beiwe.lake.layout import LogLayout
from dagster_beiwe.lake.storage.base import Store


def find_first(store: Store, layout: LogLayout, witness: Witness | None) -> bytes | None:
    """The bytes of the first record, None where no log was begun.

    Raises ``IntegrityError`` if it is missing though the witness has seen it, or other records or data are there.
    """
    path = layout.record(0)
    first = read(store, path)
    if first is None:
        seen = witness.newest() if witness else None
        if seen is None and not _holds_data(store, layout):
            return None
        if (first := read(store, path)) is None:  # or another run has begun the log since
            raise missing(path) if seen is None else _removed(layout.log, seen)
    return first


def open_first(
    data: bytes, passphrase: str | None, layout: LogLayout, *, place: str, witness: Witness | None
) -> tuple[Authenticator, Begin]:
    """The key of the log; see ``open_log`` for the errors. A witness tells a wrong passphrase from a changed record."""
    path = layout.record(0)
    try:
        return open_log(data, layout.folder, passphrase, name=path, place=place)
    except WrongPassphraseError:
        if witness and not witness.agrees(Head(0, digest(data))):
            raise IntegrityError(
                f"{path!r} is not the first record that the log's witness has seen. Nothing was read or written. It "
                "was changed or replaced: restore it from a backup, or from the witness with `dagster-beiwe verify "
                "--repair`."
            ) from None
        raise


def _holds_data(store: Store, layout: LogLayout) -> bool:
    """Whether there are records or manifests, so that the first record must be there."""
    if any(store.list(f"{layout.log}/{name}") for name in store.list(layout.log)):
        return True
    return any(store.list(layout.documents_of(name)) for name in store.list(layout.folder))


def _removed(log: str, seen: Head) -> IntegrityError:
    return IntegrityError(
        f"There is no log at {log!r}, though its witness has seen {seen.number + 1} records of it. Nothing was read or "
        "written. The study was removed: restore it from a backup."
    )
