"""Copy a lake under another passphrase, another cipher or other compression.

Each file is decrypted and proven against its manifest, encrypted, and read back from the new lake before its window is
committed there; plain bytes are in memory only, a batch of small files or a chunk at a time. The old lake is only read.
What the new lake already holds is not copied again, so a call continues the one that was killed before it, and a later
call copies what the old lake received since.

The new log names the lineage and the head of the old one. It has the states that snapshots keep, in their order, each
under its snapshot's name and day, and then the newest state; other past states stay in the old lake. Manifests keep
their history. Whoever was withdrawn is in none of it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, TypeVar

from dagster_beiwe.encryption import recorded_name
from dagster_beiwe.environment import BEIWE_LAKE_PASSPHRASE
from dagster_beiwe.errors import CommitConflictError, IntegrityError, PassphraseMissingError, PastStateError
from dagster_beiwe.lake.catalog.catalog import Catalog
from dagster_beiwe.lake.catalog.opening import Opening, Seen
from dagster_beiwe.lake.catalog.past import add_snapshot, take_out
from dagster_beiwe.lake.catalog.records import Place
from dagster_beiwe.lake.layout import NO_STUDY, LogLayout, Subject
from dagster_beiwe.lake.staging import Compression
from dagster_beiwe.lake.storage.base import Storage
from dagster_beiwe.lake.study import StudyLake
from dagster_beiwe.lake.writer import LakeWriter
from dagster_beiwe.maintenance.file_copies import FileCopier, processes_to_copy
from dagster_beiwe.maintenance.verify import Verification, verify_study
from dagster_beiwe.maintenance.window_copies import WindowCopier, in_use
from dagster_beiwe.parallel import processes_for
from dagster_beiwe.progress import Progress
from dagster_beiwe.tables.store import TableStore
from dagster_beiwe.text import counted

Source = TypeVar("Source", StudyLake, TableStore)

_RUN_ID: Final = "rekey"
"""The run of a copy's records; records of other runs show that the new lake is in use."""
_KEPT_OF_SNAPSHOTS: Final = ("name", "taken_at", "content", "participants", "files", "size_bytes")


@dataclass
class RekeyResult:
    """What the new lake holds, and how much of it this call has copied. Bytes are plain bytes.

    ``damaged_tables`` were not copied: they differ from what was committed.
    """

    participants: int = 0
    windows: int = 0
    windows_copied: int = 0
    files_copied: int = 0
    bytes_copied: int = 0
    tables: int = 0
    tables_copied: int = 0
    snapshots: int = 0
    damaged_tables: list[str] = field(default_factory=list)


def rekey_study(
    source: StudyLake,
    target: StudyLake,
    *,
    compression: Compression | None = None,
    encrypt_all: bool = False,
    remembered: Iterable[Seen] = (),
    progress: Progress | None = None,
    processes: bool = False,
) -> RekeyResult:
    """Copy a study's raw data, tables and snapshots into the lake ``target``, encrypted as that one encrypts.

    Files keep their ``compression`` unless another one is given, and stay plain if they were, unless ``encrypt_all``.
    With ``processes``, one on each core works if there is much to copy on local disks. The program's main module must
    then be importable. ``progress`` counts windows. ``remembered`` are heads of its log that Dagster has seen.
    Raises ``IntegrityError`` for a study that differs from what was committed or seen, ``CommitConflictError`` while a
    run writes to it or if the new lake has commits of its own, ``WrongPassphraseError`` for either lake, and
    ``EncryptionError`` for files that can't be decrypted here.
    """
    result, progress = RekeyResult(), progress or Progress()
    if not source.exists:
        return result
    source, held = _proven(source)
    catalog = _begin(source.log, target.log, remembered)
    number = processes_for(held.files, held.size_bytes) if processes else 0
    with (
        LakeWriter(target, run_id=_RUN_ID) as writer,
        processes_to_copy(source.files, target.files, number=number) as at_work,
    ):
        copier = WindowCopier(FileCopier(source, target, writer, at_work, compression, encrypt_all), progress)
        kept = sorted(source.state.snapshots.values(), key=lambda each: each.at.number)
        states = {each: source.at(each.name) for each in kept if each.name not in catalog.state.snapshots}
        progress.expect(_windows([*states.values(), source]))
        for snapshot, state in states.items():
            with _of_snapshot(snapshot.name):
                _copy_state(copier, state, target, result)
            facts = {name: getattr(snapshot, name) for name in _KEPT_OF_SNAPSHOTS}
            add_snapshot(catalog, at=catalog.refresh().head, run_id=_RUN_ID, **facts)
        _copy_state(copier, source, target, result)
    result.windows_copied, result.files_copied = copier.windows_copied, copier.files_copied
    result.bytes_copied = copier.bytes_copied
    result.participants = len(source.participants())
    result.windows = sum(len(source.windows(each)) for each in source.participants())
    result.tables = len(list(TableStore.of_study(source).tables()))
    result.snapshots = len(source.state.snapshots)
    _check_copy(source, target)
    return result


@contextmanager
def _of_snapshot(name: str) -> Iterator[None]:
    try:
        yield
    except CommitConflictError:
        raise
    except (IntegrityError, PastStateError) as error:
        kind = PastStateError if isinstance(error, PastStateError) else IntegrityError
        raise kind(
            f"The state that snapshot {name!r} keeps cannot be copied. {error} If no backup has what it lacks, remove "
            "the snapshot from the old lake (`dagster-beiwe snapshot remove`) and run the command again: it copies "
            "only what is missing."
        ) from None


def _copy_state(copier: WindowCopier, source: StudyLake, target: StudyLake, result: RekeyResult) -> None:
    """Make the new lake's newest state that of the old one which ``source`` is opened at."""
    copier.copy(source)
    damaged = _copy_tables(TableStore.of_study(source), TableStore.of_study(target), result)
    _take_out_others(source, target, damaged)


def _take_out_others(source: StudyLake, target: StudyLake, damaged: Collection[Subject]) -> None:
    """Take out what this state of the old lake lacks: it came later, was taken out there, or is a ``damaged`` table."""
    catalog = target.catalog()
    assert catalog is not None, "the copy has begun the log"
    state = catalog.refresh()
    tables = {subject for subject, _ in TableStore.of_study(source).tables()}.difference(damaged)
    versions = [
        (Place(catalog.identities.token(subject, state) or "", "", subject.asset), version.at)
        for subject, version in TableStore.of_study(target).tables()
        if subject not in tables
    ]
    for participant in target.participants():
        token = catalog.identities.token(Subject(participant), state) or ""
        held, wanted = state.current(token), source.index(participant)
        versions += [(Place(token, key), version.at) for key, version in held.items() if key not in wanted]
    take_out(catalog, versions, run_id=_RUN_ID)


def rekey_tables_of_lake(
    source: Storage, target: Storage, *, passphrase: str | None, new_passphrase: str
) -> RekeyResult:
    """Copy the tables that belong to no study: those under the lake's own passphrase, and unencrypted ones.

    Raises ``PassphraseMissingError`` if some are encrypted and no passphrase is given; else as ``rekey_study`` does.
    """
    result = RekeyResult()
    _rekey_tables(TableStore.of_nobody(source), TableStore.of_nobody(target), result)
    if passphrase is not None:
        new = TableStore.of_lake(target, passphrase=new_passphrase)
        _rekey_tables(TableStore.of_lake(source, passphrase=passphrase), new, result)
    elif source.exists(LogLayout(NO_STUDY).record(0)):
        raise PassphraseMissingError(
            "No passphrase for the encrypted tables of no study. They were not copied; everything else was. Set "
            f"{BEIWE_LAKE_PASSPHRASE} and run the command again, or materialize those tables again."
        )
    return result


def _rekey_tables(source: TableStore, target: TableStore, result: RekeyResult) -> None:
    if source.catalog() is not None:
        source, _ = _proven(source)
        _begin(source.log, target.log)
        _copy_tables(source, target, result)
        result.tables += len(list(source.tables()))
        _check_copy(source, target)


def _copy_tables(source: TableStore, target: TableStore, result: RekeyResult) -> list[Subject]:
    """Bring tables up to date, one at a time. Returns those that are damaged, and so were not copied."""
    damaged = []
    encryption = recorded_name(target.ring.cipher)
    for subject, version in source.tables():
        try:
            table = source.version(subject, version)
            table.stored()
        except IntegrityError:
            if (place := source.layout.home(subject).manifests) not in result.damaged_tables:
                result.damaged_tables.append(place)
            damaged.append(subject)
            continue
        newest = target.newest(subject)
        there = target.manifest(subject, newest) if newest else None
        facts = (table.manifest.sha256, table.manifest.written_at, encryption)
        if there and (there.sha256, there.written_at, there.encryption) == facts:
            continue
        target.adopt(table, run_id=_RUN_ID)
        newest = target.newest(subject)
        assert newest is not None, "it was just committed"
        copied = target.version(subject, newest)
        copied.stored()
        if target.ring.can_decrypt(copied.manifest.encryption):
            copied.parquet().close()
        result.tables_copied += 1
    return damaged


def _windows(states: Iterable[StudyLake]) -> int:
    """How many windows some states have, in all of their versions."""
    return len(
        {
            (participant, key, version)
            for state in states
            for participant in state.participants()
            for key, version in state.index(participant).items()
        }
    )


def _proven(source: Source) -> tuple[Source, Verification]:
    """The source as it is now, while nobody writes to it, and as it was committed: a copy would hide changes.

    Damaged tables are left out and named; damaged past versions and copies of records are not copied anyway.
    """
    with source.storage.guard(LogLayout(source.log.folder).inside, exclusive=True):
        source = source.at()
    kinds = ("copy changed", "past version damaged")
    verified = verify_study(source, share=0.0)
    found = [each for each in verified.findings if each.kind not in kinds and not (each.place and each.place.asset)]
    if found:
        raise IntegrityError(
            f"{_place(source)} differs from what was committed: {counted(len(found), 'finding')}, the first: "
            f"{found[0]}. Nothing was copied. Restore it from a backup, or run `dagster-beiwe verify --repair`, and "
            "materialize the partitions that it names."
        )
    return source, verified


def _check_copy(source: Source, target: Source) -> None:
    """Raise ``IntegrityError`` for a damaged copy, and ``CommitConflictError`` if a run has written to the source."""
    # Files that can be decrypted here were read back; of others only the stored bytes can be proven.
    cipher = target.ring.cipher
    readable = cipher is None or target.ring.can_decrypt(cipher.name)
    found = verify_study(target, share=0.0 if readable else 1.0).findings
    if found:
        raise IntegrityError(
            f"The copy of {_place(target)} differs from what was written: {counted(len(found), 'finding')}, the first: "
            f"{found[0]}. The old lake was not changed. Do not use the copy: check the disk, remove the copy, and run "
            "the command again."
        )
    catalog = source.catalog()
    if catalog is not None and catalog.refresh().number != source.state.number:
        raise CommitConflictError(
            f"A run has written to {_place(source)} since the copy was begun. The copy lacks that. Stop the "
            "schedules and sensors, let the run end, and run the command again: it copies only what is missing."
        )


def _place(source: StudyLake | TableStore) -> str:
    return f"{source.log.folder!r} in the lake at {source.storage.describe()}"


def _begin(source: Opening, target: Opening, remembered: Iterable[Seen] = ()) -> Catalog:
    """The log of the copy. Raises ``CommitConflictError`` if it has records that are no copies, and ``IntegrityError``
    if the source lacks what is ``remembered`` of it."""
    former = source.catalog()
    assert former is not None, "what is copied has a log"
    target.continues(former, remembered)
    catalog = target.begun()
    if catalog.begin.former_lineage != former.begin.lineage:
        raise in_use("it holds a log that is no copy of this one")
    if number := next((each.record.number for each in catalog.history() if each.record.run not in ("", _RUN_ID)), 0):
        raise in_use(f"record {number} of its log is no copy")
    return catalog
