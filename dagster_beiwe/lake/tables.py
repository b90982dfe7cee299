"""Tables at rest: DataFrames as encrypted Parquet, each with a seal. Knows nothing of Dagster.

A table ``beiwe/sleep/daily_gps``, partition ``abcd1234|2024-03-04``, is two files below ``<lake>/.tables/``::

    beiwe/sleep/daily_gps/abcd1234/2024-03-04.parquet.lock    the table, under the cipher that locks the study
    beiwe/sleep/daily_gps/abcd1234/2024-03-04.json            its seal: sizes, hashes and a keyed MAC

The seal is the commit, as a manifest is for raw data: a table that was changed, damaged or put in another's place is
refused. While a table is replaced its seal names the old and the new version, so that a crash leaves either. Rows exist
in memory and under the cipher only, never in plain text on a disk; nothing is ever pickled.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import BinaryIO, Final

import pandas as pd

from dagster_beiwe.encryption import Bytes, CipherKeys, CrypteaseCipher, Encryptor, KeyRing
from dagster_beiwe.errors import IntegrityError, PassphraseMissingError, TableMissingError
from dagster_beiwe.lake.keys import Authenticator, open_authenticator
from dagster_beiwe.lake.parquet import arrow_table, read_parquet, write_parquet
from dagster_beiwe.lake.seals import (
    FOLDER,
    KEY_PLACE,
    LAKE,
    NOBODY,
    PURPOSE,
    Seal,
    TableVersion,
    owner_of,
    read_seal,
    table_path,
    unsealed,
)
from dagster_beiwe.lake.storage import Storage
from dagster_beiwe.lake.study import StudyLake
from dagster_beiwe.private_files import PART_SUFFIX

_FORMAT: Final = 1


@dataclass(frozen=True, kw_only=True)
class _Origin:
    """What stays as it is when a table is locked anew."""

    rows: int
    written_at: str
    run_id: str


class TableStore:
    """Tables of one owner, who is a study, or the lake for tables that belong to no study.

    Use ``of_study`` or ``of_lake``. Asset keys are sequences of names; a partition key is any text: no two of them
    share a file, and none leads out of its asset's folder.
    """

    def __init__(
        self, storage: Storage, *, owner: str, ring: KeyRing, authenticate: Callable[[bool], Authenticator]
    ) -> None:
        self._storage, self._owner, self._ring, self._authenticate = storage, owner, ring, authenticate

    @classmethod
    def of_study(cls, lake: StudyLake) -> TableStore:
        """Tables of a study: locked and sealed as its raw data is."""
        return cls(
            lake.storage,
            owner=lake.study_id,
            ring=lake.ring,
            authenticate=lambda create: lake.authenticate(create=create),
        )

    @classmethod
    def of_lake(cls, storage: Storage, *, passphrase: str) -> TableStore:
        """Tables of no study, encrypted with the lake's passphrase."""
        return cls(
            storage,
            owner=LAKE,
            ring=KeyRing(CrypteaseCipher(passphrase), CipherKeys(passphrase=passphrase)),
            authenticate=lambda create: open_authenticator(storage, KEY_PLACE, passphrase, create=create),
        )

    @classmethod
    def of_nobody(cls, storage: Storage) -> TableStore:
        """Tables without anything about participants: unencrypted, and their seals find accidents but not attacks."""
        return cls(storage, owner=NOBODY, ring=KeyRing(None, CipherKeys()), authenticate=lambda _: Authenticator(None))

    def __repr__(self) -> str:
        return f"<TableStore of {self._owner} at {self._storage.describe()}>"

    @property
    def can_decrypt(self) -> bool:
        """Whether what is written here can be read here."""
        return self._ring.cipher is None or self._ring.can_decrypt(self._ring.cipher.name)

    def write(
        self, asset_key: Sequence[str], frame: pd.DataFrame, *, partition: str | None = None, run_id: str = ""
    ) -> TableVersion:
        """Store a table in place of its former version, in one step.

        Raises ``ConfigurationError`` for what Parquet can't hold, ``WrongPassphraseError`` before anything is written,
        and ``IntegrityError`` if what lies in its place was changed or is another table.
        """
        table = arrow_table(frame)
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        origin = _Origin(rows=table.num_rows, written_at=now, run_id=run_id)
        return self._replace(asset_key, partition, origin, lambda sink: write_parquet(table, sink))

    def adopt(
        self, asset_key: Sequence[str], version: TableVersion, data: bytes, *, partition: str | None = None
    ) -> TableVersion:
        """Store what another store's ``load`` gave, byte for byte and with its history, locked as tables are here."""
        origin = _Origin(rows=version.rows, written_at=version.written_at, run_id=version.run_id)
        return self._replace(asset_key, partition, origin, lambda sink: sink.write(data))

    def _replace(
        self, asset_key: Sequence[str], partition: str | None, origin: _Origin, fill: Callable[[_LockedFile], object]
    ) -> TableVersion:
        authenticator = self._authenticate(True)
        stem = table_path(asset_key, partition)
        folder, _, name = stem.rpartition("/")
        part = f"{folder}/.{name}{PART_SUFFIX}"
        with self._storage.lock(folder):
            self._storage.delete(part)  # of a run that died; the lock is held, so no living run is at it
            before = self._current(authenticator, asset_key, partition)
            version = self._stage(part, name, origin, fill)
            self._seal(authenticator, asset_key, partition, (version, before))
            self._storage.move(part, f"{folder}/{version.file}")
            self._storage.sync_folder(folder)
            self._seal(authenticator, asset_key, partition, (version,))
            for suffix in (".parquet", ".parquet.lock"):
                if f"{name}{suffix}" != version.file:
                    self._storage.delete(f"{stem}{suffix}")
        return version

    def read(
        self, asset_key: Sequence[str], *, partition: str | None = None, columns: Sequence[str] | None = None
    ) -> pd.DataFrame:
        """A table with the types it was written with; ``columns`` selects some, in that order.

        Raises ``TableMissingError`` if it was never written, ``IntegrityError`` if it is not what was written,
        ``WrongPassphraseError``, and ``ConfigurationError`` for columns that it does not have.
        """
        return read_parquet(self.load(asset_key, partition=partition)[1], columns=columns, name="/".join(asset_key))

    def load(self, asset_key: Sequence[str], *, partition: str | None = None) -> tuple[TableVersion, bytes]:
        """A table's plain Parquet file, proven, and what was written about it. Raises as ``read`` does."""
        version, stored = self.stored(asset_key, partition=partition)
        return version, self._ring.decrypt(stored, version.encryption, sha256=version.sha256, name=version.file)

    def stored(self, asset_key: Sequence[str], *, partition: str | None = None) -> tuple[TableVersion, bytes]:
        """What ``load`` gives, but as it is stored: whoever cannot decrypt it can prove it, too."""
        path, seal = self._committed(asset_key, partition)
        try:
            return self._load(path, seal)
        except IntegrityError:  # another run may just have replaced it
            path, newer = self._committed(asset_key, partition)
            if newer == seal:
                raise
            return self._load(path, newer)

    def exists(self, asset_key: Sequence[str], *, partition: str | None = None) -> bool:
        """Whether something was written; it is not opened."""
        return self._storage.exists(f"{table_path(asset_key, partition)}.json")

    def damaged(self) -> Iterator[str]:
        """Where this owner's tables are not what was written, without suffix; one removed with its seal is not missed.

        Nothing is unlocked. Raises ``WrongPassphraseError``.
        """
        authenticator = self._authenticate(False)
        for path in self._storage.walk(FOLDER):
            if path.endswith(".json") and owner_of(data := read_seal(self._storage, path)) == self._owner:
                while not self._is_whole(authenticator, path):
                    before, data = data, read_seal(self._storage, path)
                    if data == before:  # else another run has just replaced it
                        yield path.removesuffix(".json")
                        break

    def _is_whole(self, authenticator: Authenticator, path: str) -> bool:
        """Whether a seal can be trusted, and what it says lies beside it."""
        stem = path.removesuffix(".json")
        folder = stem.rpartition("/")[0]
        try:
            seal = unsealed(authenticator, read_seal(self._storage, path), path)
            versions = [version for version in seal.versions if version]
            return table_path(seal.asset_key, seal.partition) == stem and any(
                self._stored(f"{folder}/{version.file}", version) is not None for version in versions
            )
        except IntegrityError:
            return False

    def _committed(self, asset_key: Sequence[str], partition: str | None) -> tuple[str, Seal]:
        seal = self._read_seal(self._authenticate(False), asset_key, partition)
        if seal is None:
            raise TableMissingError(
                f"Expected the table {_describe(asset_key, partition)} in the lake at {self._storage.describe()}, got "
                "none; nothing was read. Materialise it first."
            )
        return table_path(asset_key, partition).rpartition("/")[0], seal

    def _load(self, folder: str, seal: Seal) -> tuple[TableVersion, bytes]:
        """The stored file of whichever version lies there."""
        for version in seal.versions:
            if version is not None and (stored := self._stored(f"{folder}/{version.file}", version)) is not None:
                return version, stored
        if None in seal.versions:
            raise TableMissingError(
                f"Expected the table {_describe(seal.asset_key, seal.partition)}, got only the beginning of its first "
                "commit; nothing was read. The run that wrote it died: materialise it again."
            )
        raise IntegrityError(
            f"Expected the table {_describe(seal.asset_key, seal.partition)} as it was written, got other bytes or "
            "none; nothing was read. It was changed, damaged or removed: restore it from a backup, or materialise it "
            "again."
        )

    def _stored(self, path: str, version: TableVersion) -> bytes | None:
        try:
            with self._storage.open(path) as file:
                data = file.read(version.stored_size_bytes + 1)
        except FileNotFoundError:
            return None
        return data if hashlib.sha256(data).hexdigest() == version.stored_sha256 else None

    def _current(
        self, authenticator: Authenticator, asset_key: Sequence[str], partition: str | None
    ) -> TableVersion | None:
        """The version that lies in a table's place before it is replaced."""
        seal = self._read_seal(authenticator, asset_key, partition, strict=False)
        folder = table_path(asset_key, partition).rpartition("/")[0]
        for version in seal.versions if seal else ():
            if version is not None and self._stored(f"{folder}/{version.file}", version) is not None:
                return version
        return None

    def _read_seal(
        self, authenticator: Authenticator, asset_key: Sequence[str], partition: str | None, *, strict: bool = True
    ) -> Seal | None:
        path = f"{table_path(asset_key, partition)}.json"
        try:
            data = self._storage.read(path)
        except FileNotFoundError:
            return None
        owner = owner_of(data)
        if owner != self._owner:
            if not strict:  # it belonged to another before: what is written now takes its place
                return None
            raise IntegrityError(
                f"Expected the table {_describe(asset_key, partition)} to be sealed by {self._owner}, got one sealed "
                f"by {owner}; nothing was read. The asset's study (its metadata) or the passphrases were changed after "
                "it was written: change that back, or materialise it again."
            )
        seal = unsealed(authenticator, data, path)
        if (seal.asset_key, seal.partition) != (tuple(asset_key), partition):
            raise IntegrityError(
                f"Expected the table {_describe(asset_key, partition)} at {path!r}, got "
                f"{_describe(seal.asset_key, seal.partition)}; it was not touched. Tables were swapped (restore them "
                "from a backup), or the two assets have names that differ in case only (rename one)."
            )
        return seal

    def _seal(
        self,
        authenticator: Authenticator,
        asset_key: Sequence[str],
        partition: str | None,
        versions: Sequence[TableVersion | None],
    ) -> None:
        document = {
            "format": _FORMAT,
            "owner": self._owner,
            "asset_key": list(asset_key),
            "partition": partition,
            "versions": [version and asdict(version) for version in versions],
        }
        self._storage.write(f"{table_path(asset_key, partition)}.json", authenticator.seal(PURPOSE, document))

    def _stage(self, part: str, name: str, origin: _Origin, fill: Callable[[_LockedFile], object]) -> TableVersion:
        with self._storage.explained("written", part), self._storage.create(part) as file:
            sink = _LockedFile(file, None if self._ring.cipher is None else self._ring.cipher.encryptor())
            fill(sink)
            sink.finish()
        return TableVersion(
            file=f"{name}.parquet" if self._ring.cipher is None else f"{name}.parquet.lock",
            encryption="none" if self._ring.cipher is None else self._ring.cipher.name,
            size_bytes=sink.size_bytes,
            sha256=sink.sha256.hexdigest(),
            stored_size_bytes=sink.stored_size_bytes,
            stored_sha256=sink.stored_sha256.hexdigest(),
            **asdict(origin),
        )


class _LockedFile(io.RawIOBase):
    """Where Parquet is written to: counts, hashes, locks, and passes on."""

    def __init__(self, file: BinaryIO, encryptor: Encryptor | None) -> None:
        super().__init__()
        self._file, self._encryptor = file, encryptor
        self.size_bytes = self.stored_size_bytes = 0
        self.sha256, self.stored_sha256 = hashlib.sha256(), hashlib.sha256()

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.size_bytes

    def write(self, data: Bytes) -> int:  # type: ignore[override]
        self.size_bytes += len(data)
        self.sha256.update(data)
        self._store(self._encryptor.update(data) if self._encryptor else bytes(data))
        return len(data)

    def finish(self) -> None:
        if self._encryptor:
            self._store(self._encryptor.finish())

    def _store(self, data: bytes) -> None:
        self.stored_size_bytes += len(data)
        self.stored_sha256.update(data)
        self._file.write(data)


def _describe(asset_key: Sequence[str], partition: str | None) -> str:
    return "/".join(asset_key) + (f" [{partition}]" if partition is not None else "")


def require_passphrase(asset_key: Sequence[str], passphrase: str | None, *, variable: str) -> str:
    """The passphrase for a table of no study; raises ``PassphraseMissingError`` where there is none."""
    if passphrase:
        return passphrase
    raise PassphraseMissingError(
        f"Expected a passphrase to lock the table {'/'.join(asset_key)} with, got none; nothing was stored. Set "
        f"{variable}, or say which study it belongs to: give the asset `metadata=study.to_metadata()`."
    )
