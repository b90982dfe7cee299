"""Store files of an old tree in the lake, checked and encrypted: what several processes do at the same time."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final, TypedDict

from dagster_beiwe.adoption.old_files import UNREADABLE, OldFiles, OpenFile, why_unreadable
from dagster_beiwe.adoption.old_tree import OldFile
from dagster_beiwe.encryption import CrypteaseCipher
from dagster_beiwe.lake.staging import (
    SMALL_BYTES,
    Compression,
    Examined,
    FileForm,
    FilePlace,
    StagedFile,
    examine,
    keep_file,
    small_size,
    stage_file,
    store_all,
)
from dagster_beiwe.lake.study_files import FilesElsewhere, StudyFiles
from dagster_beiwe.parallel import Processes

_THREADS: Final = 2
"""In each of several processes."""


@dataclass(frozen=True, kw_only=True)
class ToStore:
    """A file of the old tree, its place in the lake, and the form that it gets there; ``md5`` asks for that hash."""

    file: OldFile
    place: FilePlace
    encrypted: bool
    compression: Compression
    md5: bool


@dataclass(frozen=True, kw_only=True)
class Stored:
    """What became of a file; ``kept`` if it is byte for byte as it was. Of one that is unreadable: why."""

    staged: StagedFile | None = None
    kept: bool = False
    unreadable: str = ""


@dataclass(frozen=True)
class OldAndNew:
    """The old tree and the lake's files, opened in one process, and how many threads it has for them.

    What is encrypted under the passphrase ``kept_under`` as the lake encrypts stays as it is.
    """

    old: OldFiles
    lake: StudyFiles
    kept_under: str | None = field(repr=False)
    threads: int

    def form(self, file: ToStore) -> FileForm:
        return FileForm(cipher=self.lake.ring.cipher if file.encrypted else None, compression=file.compression)

    def fits(self, file: ToStore, opened: OpenFile) -> bool:
        """Whether a file lies there as the lake would store it."""
        return (
            self.kept_under is not None
            and opened.passphrase == self.kept_under
            and isinstance(self.form(file).cipher, CrypteaseCipher)
            and file.file.compressed == (file.compression == "zstd")
        )


def processes_to_store(
    folder: Path, passphrases: Sequence[str], lake: StudyFiles, *, kept_under: str | None, number: int
) -> Processes[OldAndNew]:
    """Processes that store files of the old tree in ``folder``; none if others can't open the lake."""
    there = FilesElsewhere.of(lake)
    if number and there:
        return Processes(partial(_opened, folder, passphrases, there, kept_under), number=number)
    threads = max(4, os.cpu_count() or 1)  # deriving the keys of locked files keeps all of them busy
    return Processes(partial(OldAndNew, OldFiles(folder, passphrases), lake, kept_under, threads), number=0)


def _opened(folder: Path, passphrases: Sequence[str], lake: FilesElsewhere, kept_under: str | None) -> OldAndNew:
    return OldAndNew(OldFiles(folder, passphrases), lake.opened(), kept_under, _THREADS)


class _Facts(TypedDict):
    name: str
    compressed: bool
    form: FileForm
    md5: bool


def store_files(trees: OldAndNew, files: Sequence[ToStore]) -> list[Stored]:
    """Check, encrypt, and store files of the old tree. Small ones are encrypted together, which is faster.

    If the lake can't be written, what was stored is removed.
    """
    done: dict[int, Stored] = {}
    examined: dict[int, Examined] = {}

    def prepare(number: int) -> None:
        found = _prepared(trees, files[number])
        if isinstance(found, Examined):
            examined[number] = found
        else:
            done[number] = found

    with ThreadPoolExecutor(trees.threads, "beiwe-adopt") as pool:
        try:
            trees.lake.storage.each(pool, prepare, range(len(files)))
            by_form: dict[FileForm, list[int]] = {}
            for number in sorted(examined):
                by_form.setdefault(trees.form(files[number]), []).append(number)
            for form, numbers in by_form.items():
                contents = [(files[number].place, examined.pop(number)) for number in numbers]
                staged = store_all(trees.lake.storage, contents, form=form, pool=pool)
                done.update((number, Stored(staged=each)) for number, each in zip(numbers, staged, strict=True))
        except BaseException:
            trees.lake.storage.delete_all([each.staged.path for each in done.values() if each.staged])
            raise
    return [done[number] for number in range(len(files))]


def _prepared(trees: OldAndNew, file: ToStore) -> Stored | Examined:
    """A small file that was checked, to be encrypted with others, or what became of one that is not small or kept."""
    old, name, form, storage = file.file, file.file.member.name, trees.form(file), trees.lake.storage
    small = old.size_bytes <= SMALL_BYTES
    try:
        opened = trees.old.open(old)
        if opened.cipher is not None and trees.fits(file, opened):
            stored = [b"".join(opened.stored())] if small else opened.stored()
            kept = keep_file(storage, file.place, stored, name=name, form=form, cipher=opened.cipher, md5=file.md5)
            return Stored(staged=kept, kept=True)
        facts: _Facts = {"name": name, "compressed": old.compressed, "form": form, "md5": file.md5}
        body = opened.plain()
        if small:
            whole = b"".join(body)
            if small_size(whole, len(whole), compressed=old.compressed, form=form) is not None:
                return examine(whole, **facts)
            body = iter([whole])
        return Stored(staged=stage_file(storage, file.place, body, **facts))
    except UNREADABLE as error:
        return Stored(unreadable=why_unreadable(error))
