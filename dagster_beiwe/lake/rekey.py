# ruff: noqa: F821
"""Lock a study anew: copy it into a second lake under another passphrase, another cipher or other compression.

Each file is unlocked and proven against its manifest, locked anew, and read back from the new lake before its window is
committed there; plain bytes exist in memory only, a piece at a time. The old lake is only read. What is already in
the new lake is not copied again, so a call that was killed is continued by the next one, and a later call copies what
the old lake got since. Until the end, each lake is readable with its own passphrase.

Manifests keep what they tell of restated, vanished and missing files; commits are counted from 1 again, because the
chain of their MACs begins anew with the key.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace

from dagster_beiwe.errors import CommitConflictError, IntegrityError, PassphraseMissingError, TableMissingError
from dagster_beiwe.lake.manifest import FileRecord, Manifest
from dagster_beiwe.lake.seals import LAKE, NOBODY
from dagster_beiwe.lake.staging import Compression, FileForm, StagedFile
from dagster_beiwe.lake.storage import Storage
from dagster_beiwe.lake.study import StudyLake
from dagster_beiwe.lake.table_list import TableEntry, list_tables
from dagster_beiwe.lake.tables import TableStore
from dagster_beiwe.lake.verify import verify_study
from dagster_beiwe.lake.writer import LakeWriter
from dagster_beiwe.names import MemberName

_PIECE_BYTES = 256 * 1024
_FILES_AT_ONCE = 4
_TRIES = 3


@dataclass
class Rekeyed:
    """What the new lake holds, and how much of it this call has copied. Bytes are plain ones.

    ``damaged_tables`` could not be copied: they are not what was written.
    """

    participants: int = 0
    windows: int = 0
    windows_copied: int = 0
    files_copied: int = 0
    bytes_copied: int = 0
    tables: int = 0
    tables_copied: int = 0
    damaged_tables: list[str] = field(default_factory=list)


def rekey_study(
    source: StudyLake,
    target: StudyLake,
    *,
    run_id: str,
    compression: Compression | None = None,
    lock_all: bool = False,
    on_window: Callable[[Rekeyed], None] | None = None,
) -> Rekeyed:
    """Copy a study's raw data and tables into the lake ``target``, locked as that one locks.

    Files keep their ``compression`` unless another one is given, and stay plain if they were, unless ``lock_all``.
    Raises ``IntegrityError`` for a study that is not as it was committed, ``CommitConflictError`` while a run writes to
    it or if the new lake has commits of its own that are newer, ``WrongPassphraseError`` for either lake, and
    ``EncryptionError`` for files that can't be unlocked here.
    """
    _check_source(source)
    result = Rekeyed()
    with target.writer(run_id=run_id) as writer, ThreadPoolExecutor(_FILES_AT_ONCE, "beiwe-rekey") as pool:
        copy = _Copy(source, target, writer, pool, compression=compression, lock_all=lock_all)
        try:
            for participant in source.participants():
                result.participants += 1
                for window in source.windows(participant):
                    copy.window(participant, window, result)
                    if on_window:
                        on_window(result)
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    # Files that can be decrypted here were read back; of others only the stored bytes can be proven.
    found = verify_study(target, share=0.0 if target.ring.can_decrypt(target.form("").encryption) else 1.0)
    if not found.intact:
        raise IntegrityError(
            f"Expected the copy of study {source.study_id} at {target.storage.describe()} to be as it was written, got "
            f"{len(found.findings)} findings, the first: {found.findings[0]}; it must not be used. The old lake is as "
            "it was. Check the disk, remove the copy, and begin again."
        )
    tables = _tables(source.storage, source.study_id)
    _copy_tables(TableStore.of_study(source), TableStore.of_study(target), tables, result)
    _check_idle(source)
    return result


def rekey_tables_of_lake(source: Storage, target: Storage, *, passphrase: str | None, new_passphrase: str) -> Rekeyed:
    """Copy the tables that belong to no study: those under the lake's own passphrase, and those that nothing locks.

    Raises ``PassphraseMissingError`` if some are locked and no passphrase is given.
    """
    result = Rekeyed()
    plain, new_plain = TableStore.of_nobody(source), TableStore.of_nobody(target)
    _copy_tables(plain, new_plain, _tables(source, NOBODY), result)
    locked = list(_tables(source, LAKE))
    if locked and passphrase is None:
        raise PassphraseMissingError(
            f"Expected the lake's passphrase for its {len(locked)} tables of no study, got none; they were not copied, "
            "everything else was. Set BEIWE_LAKE_PASSPHRASE and call again, or materialise them again."
        )
    if passphrase is not None:
        store = TableStore.of_lake(source, passphrase=passphrase)
        new_store = TableStore.of_lake(target, passphrase=new_passphrase)
        _copy_tables(store, new_store, locked, result)
    return result


def _tables(storage: Storage, owner: str) -> Iterator[TableEntry]:
    return (entry for entry in list_tables(storage) if entry.owner == owner)


def _copy_tables(source: TableStore, target: TableStore, tables: Iterable[TableEntry], result: Rekeyed) -> None:
    """Copy tables, one at a time."""
    for table in tables:
        try:
            version, data = source.load(table.asset_key, partition=table.partition)
        except TableMissingError:  # the beginning of a first commit: there never was a table
            continue
        except IntegrityError:
            result.damaged_tables.append(table.stem)
            continue
        result.tables += 1
        if target.exists(table.asset_key, partition=table.partition):
            with suppress(IntegrityError, TableMissingError):  # a call that died left it: it is copied again
                there, _ = target.stored(table.asset_key, partition=table.partition)
                if there.sha256 == version.sha256:
                    continue
                if there.written_at > version.written_at:
                    raise _used(f"table {'/'.join(table.asset_key)}", "written")
        target.adopt(table.asset_key, version, data, partition=table.partition)
        read = target.load if target.can_decrypt else target.stored
        read(table.asset_key, partition=table.partition)
        result.tables_copied += 1


class _Copy:
    """Copies windows from one lake to another."""

    def __init__(
        self,
        source: StudyLake,
        target: StudyLake,
        writer: LakeWriter,
        pool: ThreadPoolExecutor,
        *,
        compression: Compression | None,
        lock_all: bool,
    ) -> None:
        self._source, self._target, self._writer, self._pool = source, target, writer, pool
        self._compression, self._lock_all = compression, lock_all

    def window(self, participant: str, window: str, result: Rekeyed) -> None:
        """Bring one window up to date. Looks again if a run committed to it while it was read."""
        for last in (False,) * (_TRIES - 1) + (True,):
            manifest = self._source.manifest(participant, window)
            if manifest is None:  # taken out meanwhile
                return
            try:
                self._window(manifest, result)
            except IntegrityError:
                now = self._source.manifest(participant, window)
                if last or (now is not None and now.mac == manifest.mac):
                    raise
            else:
                result.windows += 1
                return

    def _window(self, manifest: Manifest, result: Rekeyed) -> None:
        there = self._target.manifest(manifest.participant, manifest.window)
        kept = {record.key: record for record in there.files} if there else {}
        lacking = [record for record in manifest.files if not self._is_copy(kept.get(record.key), record)]
        records = {record.key: _moved(record, kept[record.key]) for record in manifest.files if record.key in kept}
        if there and not lacking and _facts(there) == _facts(manifest):
            return
        if there and _facts(there) != _facts(manifest) and there.committed_at > manifest.committed_at:
            raise _used(f"window {manifest.window} of participant {manifest.participant}", "committed")
        staged: dict[str, StagedFile] = {}
        copied = self._pool.map(lambda record: self._file(manifest.participant, record), lacking)
        for record, file in copied:
            records[record.key], staged[record.path] = record, file
        files = tuple(records[record.key] for record in manifest.files)
        entry = self._source.index(manifest.participant).get(manifest.window)
        self._writer.adopt(replace(manifest, files=files), staged, compared_at=entry.compared_at if entry else None)
        result.windows_copied += 1
        result.files_copied += len(lacking)
        result.bytes_copied += sum(record.size_bytes for record in lacking)

    def _file(self, participant: str, record: FileRecord) -> tuple[FileRecord, StagedFile]:
        """Lock one file anew under a temporary name, and read it back."""
        form = self._form(record)
        with self._source.open(participant, record) as plain:
            body = iter(lambda: plain.read(_PIECE_BYTES), b"")
            file = self._writer.stage(_member(participant, record), body, arrives_compressed=False, form=form)
        copy = replace(
            record,
            path=record.member + form.suffix,
            stored_size_bytes=file.stored_size_bytes,
            stored_sha256=file.stored_sha256,
            encryption=file.encryption,
            compression=file.compression,
        )
        if self._target.ring.can_decrypt(form.encryption):
            part = file.part.removeprefix(f"{self._target.folder(participant)}/")
            with self._target.open(participant, replace(copy, path=part)) as back:
                while back.read(_PIECE_BYTES):
                    pass
        return copy, file

    def _form(self, record: FileRecord) -> FileForm:
        locked = self._lock_all or record.encryption != "none"
        kept: Compression = "zstd" if record.compression == "zstd" else "none"
        cipher = self._target.form(record.stream).cipher if locked else None
        return FileForm(cipher=cipher, compression=self._compression or kept)

    def _is_copy(self, there: FileRecord | None, record: FileRecord) -> bool:
        form = self._form(record)
        return there is not None and (there.sha256, there.encryption, there.compression, there.path) == (
            record.sha256,
            form.encryption,
            form.compression,
            record.member + form.suffix,
        )


def _check_source(lake: StudyLake) -> None:
    """A copy would be sealed anew, and so hide that the old one was changed: it is looked at first."""
    _check_idle(lake)
    found = verify_study(lake, share=0.0)
    if not found.intact:
        raise IntegrityError(
            f"Expected study {lake.study_id} at {lake.storage.describe()} as it was committed, got "
            f"{len(found.findings)} findings, the first: {found.findings[0]}; nothing was copied. Restore it from a "
            "backup, or run `dagster-beiwe verify --repair` and the partitions that it names."
        )


def _check_idle(lake: StudyLake) -> None:
    if any(lake.storage.is_held(run_path(lake, token)) for token in running(lake)):
        raise CommitConflictError(
            f"Expected study {lake.study_id} at {lake.storage.describe()} without a run that writes to it, got one; "
            "what it commits would be missed. Stop the schedules and sensors, let the run end, and call again: what "
            "was copied is not copied twice."
        )


def _member(participant: str, record: FileRecord) -> MemberName:
    return MemberName(
        participant=participant,
        stream=record.stream,
        survey_id=record.survey_id,
        name=record.member.rpartition("/")[2],
        time=record.moment,
    )


def _moved(record: FileRecord, there: FileRecord) -> FileRecord:
    """The old lake's record with the place and form that the file has in the new one."""
    return replace(
        record,
        path=there.path,
        stored_size_bytes=there.stored_size_bytes,
        stored_sha256=there.stored_sha256,
        encryption=there.encryption,
        compression=there.compression,
    )


def _facts(manifest: Manifest) -> Manifest:
    """What of a manifest is the same in every lake, however it is stored."""
    blank = {"path": "", "stored_size_bytes": 0, "stored_sha256": "", "encryption": "", "compression": ""}
    files = tuple(replace(record, **blank) for record in manifest.files)  # type: ignore[arg-type]
    return replace(manifest, files=files, generation=0, previous_mac="", mac="")


def _used(what: str, done: str) -> CommitConflictError:
    return CommitConflictError(
        f"Expected a lake that holds nothing but copies, got a newer {what}, which was {done} there; it was left as it "
        "is. The new lake is in use already: copy into an empty place, or go on with the new one."
    )
