"""Store files of an old tree in processes, many at a time and ahead of their windows.

Small files are encrypted in step: the more, the faster. So a job holds hundreds, of several participants if need be.
Processes begin the next job while the server compares and windows are committed.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from functools import partial
from math import ceil
from typing import Final

from dagster_beiwe.adoption.old_tree import OldFile
from dagster_beiwe.adoption.storing import OldAndNew, Stored, ToStore, store_files
from dagster_beiwe.lake import LakeWriter, StudyLake
from dagster_beiwe.lake.staging import SMALL_BYTES, FileForm
from dagster_beiwe.meanwhile import read_ahead
from dagster_beiwe.parallel import Processes
from dagster_beiwe.parts import even_parts
from dagster_beiwe.streams import stream_named
from dagster_beiwe.sync.downloader import SHA1_KEPT_SINCE

_JOB_BYTES: Final = 96 * 1024 * 1024
"""What a process holds of small files, compressed, and encrypts together."""
_JOB_FILES: Final = 400
"""Nor more files than this: an interrupt waits for them, and locked ones each need a key of their own."""
_LARGE_FILES: Final = 4
"""Nor more than so many times as many bytes of large files, of which little is held."""
_USUAL_COMPRESSION: Final = 3

_Done = tuple[Sequence[ToStore], Sequence[Stored]]
"""What a job was given, and what became of it."""


class Jobs:
    """Stores the files of one sync. Close it before the writer.

    ``ahead`` lists files of windows that the lake lacks, in the order of the sync. Processes store them before they are
    asked for; without processes, each file is stored when it is asked for.
    """

    def __init__(self, lake: StudyLake, processes: Processes[OldAndNew], *, ahead: Sequence[OldFile]) -> None:
        self._lake, self._processes = lake, processes
        # Processes imply a local disk, where the writer's guard keeps collections and withdrawals out.
        self._ahead = ahead if processes.number else ()
        self._awaited: set[str] = set()
        self._stored: dict[str, Stored] = {}
        self._jobs_ahead: Generator[_Done, None, None] | None = None

    def store(self, files: Sequence[OldFile], writer: LakeWriter) -> Generator[tuple[OldFile, Stored], None, None]:
        """What became of each file."""
        if self._jobs_ahead is None:
            self._jobs_ahead = self._begin(writer)
        others = [file for file in files if file.path not in self._awaited]
        for file in files:
            if file.path in self._awaited:
                yield file, self._take(file.path)
        with closing(self._carry_out(others, writer)) as jobs:
            for job in jobs:
                yield from _by_file(job)

    def _begin(self, writer: LakeWriter) -> Generator[_Done, None, None]:
        admitted = {who for who in {file.member.participant for file in self._ahead} if writer.admits(who)}
        ahead = [file for file in self._ahead if file.member.participant in admitted]
        self._awaited = {file.path for file in ahead}
        return self._carry_out(ahead, writer)

    def _take(self, path: str) -> Stored:
        """What became of a file that is stored ahead. Jobs are in the order in which files are asked for."""
        assert self._jobs_ahead is not None, "the first call has begun them"
        while path not in self._stored:
            self._stored.update((file.path, found) for file, found in _by_file(next(self._jobs_ahead)))
        self._awaited.remove(path)
        return self._stored.pop(path)

    def close(self) -> None:
        """Wait for the jobs that have begun. What they stored is the writer's to remove."""
        if self._jobs_ahead is not None:
            self._jobs_ahead.close()

    def _carry_out(self, files: Sequence[OldFile], writer: LakeWriter) -> Generator[_Done, None, None]:
        return read_ahead(self._jobs(files, writer), partial(self._run, writer), most=self._processes.at_once)

    def _run(self, writer: LakeWriter, job: Sequence[ToStore]) -> list[Stored]:
        with writer.storing() as stored:
            found = self._processes.run(store_files, job)
            stored.extend(each.staged for each in found if each.staged)
        return found

    def _jobs(self, files: Sequence[OldFile], writer: LakeWriter) -> Iterator[list[ToStore]]:
        """Files in order, in as many parts as processes have something to do with."""
        forms = {stream: self._lake.form(stream) for stream in {file.member.stream for file in files}}
        sizes = [held_bytes(file, forms[file.member.stream]) for file in files]
        rounds = ceil(sum(sizes) / _JOB_BYTES / self._processes.at_once)
        for part in even_parts(files, sizes, count=rounds * self._processes.at_once):
            yield [
                ToStore(
                    file=file,
                    place=writer.place(file.member, form),
                    encrypted=form.cipher is not None,
                    compression=form.compression,
                    md5=file.member.time < SHA1_KEPT_SINCE,
                )
                for file in part
                for form in [forms[file.member.stream]]
            ]


def _by_file(job: _Done) -> Iterator[tuple[OldFile, Stored]]:
    return ((each.file, found) for each, found in zip(*job, strict=True))


def held_bytes(file: OldFile, form: FileForm) -> int:
    """About how much of a job a file takes up: what is held of a small one, a share of a large one, or one of many."""
    compresses = not (file.compressed or stream_named(file.member.stream).audio)
    held = file.size_bytes
    if form.compression == "none":
        held *= _USUAL_COMPRESSION if file.compressed else 1
    elif compresses:
        held //= _USUAL_COMPRESSION
    return max(min(held, SMALL_BYTES), file.size_bytes // _LARGE_FILES, _JOB_BYTES // _JOB_FILES)
