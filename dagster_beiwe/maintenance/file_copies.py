"""Copy raw files from one lake into another, encrypted as the other encrypts, and prove each copy."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final, NamedTuple

import msgspec

from dagster_beiwe.encryption import UNENCRYPTED
from dagster_beiwe.lake.manifest import FileRecord
from dagster_beiwe.lake.staging import (
    SMALL_BYTES,
    Compression,
    ContentHashes,
    Examined,
    FileForm,
    FilePlace,
    StagedFile,
    stage_file,
    store_all,
)
from dagster_beiwe.lake.stored import missing_file, open_stored, prove_stored, read_decrypted
from dagster_beiwe.lake.study import StudyLake
from dagster_beiwe.lake.study_files import FilesElsewhere, StudyFiles
from dagster_beiwe.lake.writer import LakeWriter
from dagster_beiwe.member_names import MemberName
from dagster_beiwe.parallel import Processes
from dagster_beiwe.parts import even_parts

STORED: Final = ("path", "stored_size_bytes", "stored_sha256", "encryption", "compression")
"""The fields of a file's record that say how it is stored."""
BATCH_BYTES: Final = 64 * 1024 * 1024
_BATCH_FILES: Final = 1000
"""Nor more files than this: an interrupt waits for them."""
_CHUNK_BYTES: Final = 256 * 1024
_THREADS: Final = 3
"""They read and write files of one batch at the same time."""


class ToCopy(NamedTuple):
    """A file's record in the old lake, its path there, and its place in the new one."""

    record: FileRecord
    path: str
    place: FilePlace


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Files of one participant that are copied one after the other, or ``together``, and the form of their copies."""

    files: Sequence[ToCopy]
    together: bool
    encrypted: bool
    compression: Compression


class Copied(NamedTuple):
    """A file's record in the old lake and in the new one, where it is staged."""

    record: FileRecord
    copy: FileRecord
    file: StagedFile


class BothLakes(NamedTuple):
    """The files of the old and of the new lake."""

    source: StudyFiles
    target: StudyFiles


def processes_to_copy(source: StudyFiles, target: StudyFiles, *, number: int) -> Processes[BothLakes]:
    """Processes that copy files; none if others can't open both lakes."""
    there, new = FilesElsewhere.of(source), FilesElsewhere.of(target)
    if number and there and new:
        return Processes(partial(_opened, there, new), number=number)
    return Processes(partial(BothLakes, source, target), number=0)


def _opened(source: FilesElsewhere, target: FilesElsewhere) -> BothLakes:
    return BothLakes(source.opened(), target.opened())


@dataclass(frozen=True)
class FileCopier:
    """Copies files of ``source`` into ``target``.

    They keep their ``compression`` unless another one is given, and stay plain if they were, unless ``encrypt_all``. A
    batch has at most about half more than ``batch_bytes``.
    """

    source: StudyLake
    target: StudyLake
    writer: LakeWriter
    processes: Processes[BothLakes]
    compression: Compression | None
    encrypt_all: bool
    batch_bytes: int = BATCH_BYTES

    def share_of_batch(self, records: Iterable[FileRecord]) -> float:
        """How much of a batch files fill; they may fill several."""
        return sum(_weight(record, self.batch_bytes) for record in records) / self.batch_bytes

    def batches(self, participant: str, records: Sequence[FileRecord]) -> Iterator[Batch]:
        """What to copy, based on the writer's last plan.

        Small files whose compression does not change are encrypted together, which is several times faster.
        """
        by_form: dict[tuple[FileForm, bool], list[FileRecord]] = {}
        for record in records:
            form = self._form(record)
            together = record.size_bytes <= SMALL_BYTES and form.compression == record.compression
            by_form.setdefault((form, together), []).append(record)
        for (form, together), own in by_form.items():
            for batch in even_batches(own, size_bytes=self.batch_bytes):
                files = [self._to_copy(participant, record, form) for record in batch]
                yield Batch(
                    files=files,
                    together=together,
                    encrypted=form.cipher is not None,
                    compression=form.compression,
                )

    def copy(self, participant: str, batch: Batch) -> list[Copied]:
        """Copy a batch, and read the copies back. May be called from several threads."""
        with self.writer.storing() as stored:
            stored.extend(self.processes.run(copy_files, batch))
        folder = f"{self.target.folder(participant)}/"
        return [
            Copied(record, msgspec.structs.replace(as_stored(record, file), path=file.path.removeprefix(folder)), file)
            for (record, _, _), file in zip(batch.files, stored, strict=True)
        ]

    def _to_copy(self, participant: str, record: FileRecord, form: FileForm) -> ToCopy:
        place = self.writer.place(_member(participant, record), form)
        return ToCopy(record, self.source.folder(participant, record.path), place)

    def _form(self, record: FileRecord) -> FileForm:
        encrypted = self.encrypt_all or record.encryption != UNENCRYPTED
        kept: Compression = "zstd" if record.compression == "zstd" else "none"
        cipher = self.target.form(record.stream).cipher if encrypted else None
        return FileForm(cipher=cipher, compression=self.compression or kept)

    def is_copy(self, there: FileRecord | None, record: FileRecord) -> bool:
        """Whether a record of the new lake is the copy of one of the old lake, in the form that a copy gets now."""
        form = self._form(record)
        return there is not None and (there.sha256, there.encryption, there.compression) == (
            record.sha256,
            form.encryption,
            form.compression,
        )


def copy_files(lakes: BothLakes, batch: Batch) -> list[StagedFile]:
    """Copy the files of a batch, and read the copies back. If one fails, those of this batch are removed."""
    source, target = lakes
    form = FileForm(cipher=target.ring.cipher if batch.encrypted else None, compression=batch.compression)
    staged: dict[str, StagedFile] = {}
    proven: dict[str, str] = {}

    def copy(file: ToCopy) -> None:
        staged[file.path] = _copy(source, target, file, form)

    def prove(file: ToCopy) -> None:
        _prove(target, as_stored(file.record, staged[file.path]), decrypted_sha256=proven.get(file.path, ""))

    with ThreadPoolExecutor(_THREADS, "beiwe-copy") as pool:
        try:
            if batch.together:
                read = source.storage.each(pool, partial(_read, source), batch.files)
                contents = [(file.place, examined) for file, (examined, _) in zip(batch.files, read, strict=True)]
                stored = store_all(target.storage, contents, form=form, pool=pool)
                for file, own, (_, sha256) in zip(batch.files, stored, read, strict=True):
                    staged[file.path], proven[file.path] = own, sha256
            else:
                source.storage.each(pool, copy, batch.files)
            target.storage.each(pool, prove, batch.files)
        except BaseException:
            target.storage.delete_all([file.path for file in staged.values()])
            raise
    return [staged[file.path] for file in batch.files]


def _read(source: StudyFiles, file: ToCopy) -> tuple[Examined, str]:
    """A small file that was proven, and the hash of its decrypted bytes."""
    with _explained(source, file):
        content = read_decrypted(source.storage, file.path, file.record, source.ring)
    return Examined(plain=_hashes(file.record), content=bytearray(content)), hashlib.sha256(content).hexdigest()


def _copy(source: StudyFiles, target: StudyFiles, file: ToCopy, form: FileForm) -> StagedFile:
    with _explained(source, file), open_stored(source.storage, file.path, file.record, source.ring) as plain:
        body, name = iter(lambda: plain.read(_CHUNK_BYTES), b""), file.path.rpartition("/")[2]
        return stage_file(target.storage, file.place, body, name=name, compressed=False, form=form)


def _prove(target: StudyFiles, copy: FileRecord, *, decrypted_sha256: str) -> None:
    """Read a copy back, if that is possible here; the hash is that of decrypted bytes whose content is proven."""
    if target.ring.can_decrypt(copy.encryption):
        prove_stored(target.storage, copy.path, copy, target.ring, decrypted_sha256=decrypted_sha256)


@contextmanager
def _explained(source: StudyFiles, file: ToCopy) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise missing_file(source.storage, file.path) from None


def even_batches(records: Sequence[FileRecord], *, size_bytes: int) -> Iterator[list[FileRecord]]:
    """Consecutive records in batches of about so many stored bytes: a small rest would be encrypted slowly."""
    weights = [_weight(record, size_bytes) for record in records]
    return even_parts(records, weights, count=max(1, round(sum(weights) / size_bytes)))


def _weight(record: FileRecord, batch_bytes: int) -> int:
    """How many bytes of a batch a file takes up: a batch has no more than ``_BATCH_FILES``."""
    return max(record.stored_size_bytes, batch_bytes // _BATCH_FILES)


def _member(participant: str, record: FileRecord) -> MemberName:
    return MemberName(
        participant=participant,
        stream=record.stream,
        survey_id=record.survey_id,
        name=record.member.rpartition("/")[2],
        time=record.moment,
    )


def _hashes(record: FileRecord) -> ContentHashes:
    return ContentHashes(size_bytes=record.size_bytes, md5=record.md5, sha1=record.sha1, sha256=record.sha256)


def as_stored(record: FileRecord, there: FileRecord | StagedFile) -> FileRecord:
    """The old lake's record with the place and form that the file has in the new one."""
    return msgspec.structs.replace(record, **{name: getattr(there, name) for name in STORED})
