"""Copy raw files from one lake into another, encrypted as the other encrypts, and prove each copy."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import accumulate, groupby
from typing import Final, NamedTuple

import msgspec

from dagster_beiwe.encryption import UNENCRYPTED
from dagster_beiwe.lake.manifest import FileRecord
from dagster_beiwe.lake.staging import SMALL_BYTES, Compression, ContentHashes, Examined, FileForm, StagedFile
from dagster_beiwe.lake.study import StudyLake
from dagster_beiwe.lake.writer import LakeWriter
from dagster_beiwe.member_names import MemberName

STORED: Final = ("path", "stored_size_bytes", "stored_sha256", "encryption", "compression")
"""The fields of a file's record that say how it is stored."""
_CHUNK_BYTES: Final = 256 * 1024
BATCH_BYTES: Final = 64 * 1024 * 1024


class Copied(NamedTuple):
    """A file's record in the old lake and in the new one, where it is staged."""

    record: FileRecord
    copy: FileRecord
    file: StagedFile


@dataclass(frozen=True)
class FileCopier:
    """Copies files of ``source`` into ``target``. They keep their ``compression`` unless another one is given, and stay
    plain if they were, unless ``encrypt_all``. A batch of small files has at most half more than ``batch_bytes``."""

    source: StudyLake
    target: StudyLake
    writer: LakeWriter
    pool: ThreadPoolExecutor
    compression: Compression | None
    encrypt_all: bool
    batch_bytes: int = BATCH_BYTES

    def copy(self, participant: str, records: Sequence[FileRecord]) -> Iterator[Copied]:
        """Copy files, and read the copies back.

        Small files whose compression does not change are encrypted in batches, which is several times faster.
        """
        together: dict[FileForm, list[FileRecord]] = {}
        single: list[FileRecord] = []
        for record in records:
            form = self._form(record)
            small = record.size_bytes <= SMALL_BYTES and form.compression == record.compression
            (together.setdefault(form, []) if small else single).append(record)
        for form, own in together.items():
            for batch in even_batches(own, size_bytes=self.batch_bytes):
                yield from self._batch(participant, batch, form)
        yield from self.pool.map(partial(self._file, participant), single)

    def _batch(self, participant: str, records: Sequence[FileRecord], form: FileForm) -> Iterator[Copied]:
        read = [*self.pool.map(partial(self._read, participant), records)]
        files = [(_member(participant, record), file) for record, (file, _) in zip(records, read, strict=True)]
        staged = self.writer.stage_all(files, pool=self.pool, form=form)
        copies = zip(records, staged, [sha256 for _, sha256 in read], strict=True)
        yield from self.pool.map(lambda each: self._proven(participant, *each), copies)

    def _read(self, participant: str, record: FileRecord) -> tuple[Examined, str]:
        """A small file that was proven, and the hash of its decrypted bytes."""
        content = self.source.read_decrypted(participant, record)
        return Examined(plain=_hashes(record), content=bytearray(content)), hashlib.sha256(content).hexdigest()

    def _file(self, participant: str, record: FileRecord) -> Copied:
        with self.source.open(participant, record) as plain:
            body = iter(lambda: plain.read(_CHUNK_BYTES), b"")
            file = self.writer.stage(_member(participant, record), body, compressed=False, form=self._form(record))
        return self._proven(participant, record, file)

    def _proven(self, participant: str, record: FileRecord, file: StagedFile, decrypted_sha256: str = "") -> Copied:
        """A copy, once it was read back; the hash is that of the decrypted bytes, if they are proven already."""
        path = file.path.removeprefix(f"{self.target.folder(participant)}/")
        copy = msgspec.structs.replace(as_stored(record, file), path=path)
        if self.target.ring.can_decrypt(file.encryption):
            self.target.prove(participant, copy, decrypted_sha256=decrypted_sha256)
        return Copied(record, copy, file)

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


def even_batches(records: Sequence[FileRecord], *, size_bytes: int) -> Iterator[Sequence[FileRecord]]:
    """Consecutive records in batches of about so many stored bytes: a small rest would be encrypted slowly."""
    if not records:
        return
    ends = [*accumulate(record.stored_size_bytes for record in records)]
    total = max(1, ends[-1])
    count = max(1, round(total / size_bytes))
    for _, batch in groupby(zip(ends, records, strict=True), key=lambda each: max(0, each[0] * count - 1) // total):
        yield [record for _, record in batch]


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
