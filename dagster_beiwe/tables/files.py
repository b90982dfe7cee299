"""Tables at rest, as files: encrypted Parquet, committed in a log. Knows neither DataFrames nor Dagster.

Partition ``abcd1234|2024-03-04`` of a study's table ``beiwe/sleep/daily_gps`` is stored in the study's folder::

    .tables/beiwe/sleep/daily_gps/abcd1234/2024-03-04~57-3f9a02c1.parquet         one version of the table
    .tables/beiwe/sleep/daily_gps/abcd1234/2024-03-04~57-91be77d0.json.zst        its manifest
    .tables/beiwe/sleep/daily_gps/abcd1234/2024-03-04~token-0                     whose table it is

A record of the study's log names the manifest, and the manifest names its file: a table that was changed, damaged,
rolled back or swapped is refused. Tables that belong to no study have logs of their own. Rows exist in memory and
encrypted only, never in plain text on a disk; nothing is ever pickled. ``keys`` tells how a file is encrypted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from dagster_beiwe.encryption import CipherKeys, CrypteaseCipher, KeyRing, recorded_name
from dagster_beiwe.errors import CommitConflictError, IntegrityError, TableMissingError
from dagster_beiwe.lake.catalog.batch import MOST_CHANGES, Batch
from dagster_beiwe.lake.catalog.catalog import Catalog
from dagster_beiwe.lake.catalog.manifests import absent, read_manifest
from dagster_beiwe.lake.catalog.opening import Opening
from dagster_beiwe.lake.catalog.state import State
from dagster_beiwe.lake.catalog.versions import Version
from dagster_beiwe.lake.collecting import open_for_writing
from dagster_beiwe.lake.layout import (
    NO_STUDY,
    NOBODY,
    TABLE_SUFFIX,
    LogLayout,
    Subject,
    asset_path,
)
from dagster_beiwe.lake.manifest import TableManifest, decode_table, encode
from dagster_beiwe.lake.storage.base import Storage
from dagster_beiwe.lake.study import KEEP_SUPERSEDED_DAYS, StudyLake
from dagster_beiwe.retries import TABLE_COMMIT_ATTEMPTS
from dagster_beiwe.tables.keys import FileKey
from dagster_beiwe.tables.sinks import ParquetSink
from dagster_beiwe.tables.stored import StoredTable

if TYPE_CHECKING:
    from typing_extensions import Self


@dataclass(frozen=True, kw_only=True)
class TableContent:
    """A table to commit: ``fill`` writes its Parquet file to a file object, encrypted with a key (None: unencrypted).

    ``size_bytes`` and ``sha256`` are of the content, as in manifests. ``key`` is given if the file exists already.
    """

    fill: Callable[[BinaryIO, FileKey | None], object]
    rows: int
    size_bytes: int
    sha256: str
    written_at: str
    run_id: str
    key: FileKey | None = None


class TableFiles:
    """Tables of one log: those of a study, or tables that belong to no study. Usable from several threads.

    Use ``of_study``, ``of_lake`` or ``of_nobody``. Asset keys are sequences of names. A partition key is any text: no
    two of them share a file, and none leads out of its asset's folder.
    """

    def __init__(self, log: Opening, ring: KeyRing, *, keep_superseded_days: float) -> None:
        self.storage, self.layout, self.ring = log.storage, LogLayout(log.folder), ring
        self.log, self._keep_days = log, keep_superseded_days

    @classmethod
    def of_study(cls, lake: StudyLake) -> Self:
        """Tables of a study: encrypted and authenticated like its raw data, in the state that the lake is in."""
        return cls(lake.log, lake.ring, keep_superseded_days=lake.keep_superseded_days)

    @classmethod
    def of_lake(
        cls,
        storage: Storage,
        *,
        passphrase: str,
        witness: Storage | None = None,
        keep_superseded_days: float = KEEP_SUPERSEDED_DAYS,
    ) -> Self:
        """Tables of no study, encrypted with the lake's passphrase."""
        ring = KeyRing(CrypteaseCipher(passphrase), CipherKeys(passphrase=passphrase))
        log = Opening(storage, NO_STUDY, passphrase, witness=witness)
        return cls(log, ring, keep_superseded_days=keep_superseded_days)

    @classmethod
    def of_nobody(
        cls, storage: Storage, *, witness: Storage | None = None, keep_superseded_days: float = KEEP_SUPERSEDED_DAYS
    ) -> Self:
        """Tables about no participant: unencrypted, and their log detects accidents but not attacks."""
        log = Opening(storage, NOBODY, None, witness=witness)
        return cls(log, KeyRing(None, CipherKeys()), keep_superseded_days=keep_superseded_days)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} in {self.layout.folder} at {self.storage.describe()}>"

    @property
    def where(self) -> str:
        """The place of these tables, as messages name it."""
        study = "" if self.layout.folder in (NO_STUDY, NOBODY) else f"study {self.layout.folder} in "
        text = f"{study}the lake at {self.storage.describe()}"
        return text[0].upper() + text[1:]

    @property
    def state(self) -> State:
        """The state that tables are read in: the newest, unless pinned."""
        return self.log.state()

    def catalog(self) -> Catalog | None:
        """The log of the tables; None if it was never begun."""
        return self.log.catalog()

    def at(self, state: State | None = None) -> Self:
        """The tables in one state, by default that of now, whatever is written later."""
        pinned = copy(self)
        pinned.log = self.log.at(state)
        return pinned

    def tables(self) -> Iterator[tuple[Subject, Version]]:
        """All tables, each with its newest version. Raises ``IntegrityError`` if a table's token is lost."""
        catalog, state = self.catalog(), self.state
        if catalog is None:
            return
        catalog.identities.resolve(state)
        for asset in sorted(filter(None, state.sections)):
            yield from self._of_asset(catalog, state, asset)

    def partitions(self, asset_key: Sequence[str]) -> frozenset[str | None]:
        """The partitions of an asset that were written; None stands for a table without partitions.

        Raises ``IntegrityError`` if the token of one of its tables is lost.
        """
        catalog, state, asset = self.catalog(), self.state, asset_path(asset_key)
        if catalog is None:
            return frozenset()
        catalog.identities.resolve(state, asset)
        return frozenset(subject.name for subject, _ in self._of_asset(catalog, state, asset))

    def exists(self, asset_key: Sequence[str], *, partition: str | None = None) -> bool:
        """Whether the table was written; it is not opened."""
        return self.newest(_subject(asset_key, partition)) is not None

    def newest(self, subject: Subject) -> Version | None:
        """The newest version of a table; None if it was never written."""
        catalog, state = self.catalog(), self.state
        token = catalog.identities.token(subject, state) if catalog and subject.asset in state.sections else None
        return state.current(token, subject.asset).get("") if token else None

    def opened(self, asset_key: Sequence[str], *, partition: str | None = None) -> StoredTable:
        """A table in its newest version. Raises ``TableMissingError`` if it was never written, ``IntegrityError`` if
        its manifest was changed, and ``WrongPassphraseError``."""
        subject = _subject(asset_key, partition)
        version = self.newest(subject)
        if version is None:
            if (catalog := self.catalog()) is not None:
                catalog.identities.resolve(self.state, subject.asset)  # else its token may be lost
            raise TableMissingError(
                f"{self.where} holds no {subject}. Nothing was read. Materialize it first, or again if its "
                "metadata named another study since."
            )
        return self.version(subject, version)

    def version(self, subject: Subject, version: Version) -> StoredTable:
        """A version of a table. Raises ``IntegrityError`` if its manifest was changed."""
        manifest, catalog = self.manifest(subject, version), self._opened()
        return StoredTable(
            subject=subject,
            manifest=manifest,
            path=self._path(subject, manifest),
            storage=self.storage,
            ring=self.ring,
            absent=lambda: absent(catalog, subject, "", version),
        )

    def manifest(self, subject: Subject, version: Version) -> TableManifest:
        """The manifest of a version of a table. Raises ``IntegrityError`` if it was changed."""
        data = read_manifest(self._opened(), subject, "", version)
        manifest = decode_table(data, name=f"{subject}, version {version.at}")
        paths = [self._path(subject, manifest), *([manifest.modular.bound_to] if manifest.modular else [])]
        beginning = self.layout.home(subject).prefix
        if _subject(manifest.asset_key, manifest.partition) != subject or not all(
            path.startswith(beginning) for path in paths
        ):
            raise IntegrityError(
                f"The manifest of {subject} names another table. It was not used. The log was written by another "
                "program: restore it from a backup."
            )
        return manifest

    def commit(
        self, asset_key: Sequence[str], tables: Mapping[str | None, TableContent], *, run_id: str
    ) -> dict[str | None, TableManifest]:
        """Store tables of an asset by partition, replacing their former versions: several in one record.

        If another run commits the same table meanwhile, this version is committed after it. Raises
        ``CommitConflictError`` if that happens again and again, or while the table is being withdrawn.
        """
        committed: dict[str | None, TableManifest] = {}
        reason: str | None = None
        with open_for_writing(self.log, keep_days=self._keep_days, run_id=run_id) as catalog:
            for _ in range(TABLE_COMMIT_ATTEMPTS):
                waiting = [each for each in tables if each not in committed]
                for start in range(0, len(waiting), MOST_CHANGES):
                    group = {each: tables[each] for each in waiting[start : start + MOST_CHANGES]}
                    done, refused = self._commit(catalog, asset_key, group, run_id=run_id)
                    committed, reason = committed | done, refused or reason
                if len(committed) == len(tables):
                    return committed
        raise CommitConflictError(
            f"{len(tables) - len(committed)} of {len(tables)} tables of {'/'.join(asset_key)} were not stored: "
            f"{reason}, {TABLE_COMMIT_ATTEMPTS} times. Let the other run end, then run the asset again."
        )

    def _commit(
        self, catalog: Catalog, asset_key: Sequence[str], tables: Mapping[str | None, TableContent], *, run_id: str
    ) -> tuple[dict[str | None, TableManifest], str | None]:
        """Commit tables in one record. Returns those that count, and why others are refused."""
        subjects = {partition: _subject(asset_key, partition) for partition in tables}
        with Batch(catalog, run_id=run_id, subjects=subjects.values()) as batch:
            staged = {each: self._stage(batch, asset_key, each, content) for each, content in tables.items()}
            changes = []
            for each, manifest in staged.items():
                files = [self._path(subjects[each], manifest)]
                changes.append(batch.change(subjects[each], "", encode(manifest), files=files))
            outcomes = batch.commit(changes)
            reasons = {each: outcomes[batch.place(subject)].refused for each, subject in subjects.items()}
        done = {each: manifest for each, manifest in staged.items() if reasons[each] is None}
        return done, next(filter(None, reasons.values()), None)

    def _stage(
        self, batch: Batch, asset_key: Sequence[str], partition: str | None, content: TableContent
    ) -> TableManifest:
        """Write a table's file under a unique name."""
        cipher = self.ring.cipher
        path = batch.own_name(self.layout.home(_subject(asset_key, partition)).manifests, TABLE_SUFFIX)
        key = None if cipher is None else content.key or FileKey.new(path)
        with self.storage.explained("written", path), self.storage.create(path) as file:
            sink = ParquetSink(file)
            content.fill(sink, key)  # type: ignore[arg-type]  # as much of a file as its writers need
        batch.note(path)
        return TableManifest(
            asset_key=tuple(asset_key),
            partition=partition,
            file=path.rpartition("/")[2],
            encryption=recorded_name(cipher),
            rows=content.rows,
            size_bytes=content.size_bytes,
            sha256=content.sha256,
            stored_size_bytes=sink.size_bytes,
            stored_sha256=sink.sha256.hexdigest(),
            written_at=content.written_at,
            run_id=content.run_id,
            modular=key.for_manifest(cipher, sink.footer()) if cipher and key else None,
        )

    def _of_asset(self, catalog: Catalog, state: State, asset: str) -> Iterator[tuple[Subject, Version]]:
        tokens = {token: state.current(token, asset).get("") for token in state.section(asset)}
        for subject in catalog.identities.subjects(asset, [token for token, each in tokens.items() if each], state):
            version = tokens[catalog.identities.token(subject, state) or ""]
            assert version is not None
            yield subject, version

    def _path(self, subject: Subject, manifest: TableManifest) -> str:
        return f"{self.layout.home(subject).folder}/{manifest.file}"

    def _opened(self) -> Catalog:
        catalog = self.catalog()
        assert catalog is not None, "a version comes from a log"
        return catalog


def _subject(asset_key: Iterable[str], partition: str | None) -> Subject:
    return Subject(partition, asset_path(tuple(asset_key)))
