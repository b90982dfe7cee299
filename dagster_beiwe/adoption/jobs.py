"""Store files of an old tree in processes, many at a time and ahead of their windows.

Small files are encrypted in step: the more, the faster. So a job holds hundreds, of several participants if need be.
Processes begin the next job while the server compares and windows are committed.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from functools import partial
from math import ceil
from typing import Final

from dagster_beiwe.adoption.old_tree import OldFile
from dagster_beiwe.adoption.storing import OldAndNew, Stored, ToStore, store_files
from dagster_beiwe.errors import LakeUnavailableError
from dagster_beiwe.lake import LakeWriter, StudyLake
from dagster_beiwe.lake.staging import SMALL_BYTES, FileForm
from dagster_beiwe.meanwhile import read_ahead
from dagster_beiwe.parallel import Processes
from dagster_beiwe.parts import even_parts
from dagster_beiwe.sync.downloader import SHA1_KEPT_SINCE

_JOB_BYTES: Final = 96 * 1024 * 1024
"""What a process holds of small files, compressed, and encrypts together."""
_JOB_FILES: Final = 400
"""Nor more files than this: an interrupt waits for them, and locked ones each need a key of their own."""
_LARGE_FILES: Final = 4
"""Of large files, of which little is held, up to this many times as many bytes."""
_USUAL_COMPRESSION: Final = 3


class Jobs:
    """Stores the files of one sync. Close it before the writer.

    ``ahead`` lists files of windows that the lake lacks, in the order of the sync. Processes store them before they are
    asked for; without processes, each file is stored when it is asked for.
    """

    def __init__(self, lake: StudyLake, processes: Processes[OldAndNew], *, ahead: Sequence[OldFile]) -> None:
        self._lake, self._processes = lake, processes
        # Processes imply a local disk, where the writer's guard keeps collections and withdrawals out.
        self._ahead = ahead if processes.number else ()
        self._awaited = {file.path for file in self._ahead}
        """Those whose job is not done."""
        self._stored: dict[str, Stored] = {}
        self._begun: Generator[tuple[list[ToStore], list[Stored]], None, None] | None = None

    def store(self, files: Sequence[OldFile], writer: LakeWriter) -> Generator[tuple[OldFile, Stored], None, None]:
        """Store files, unless that was done ahead, and tell what became of each."""
        if self._begun is None:
            self._begun = self._carry_out(self._jobs_ahead(writer), partial(self._try, writer))
        others = []
        for file in files:
            if found := self._stored_ahead(file):
                yield file, found
            else:
                others.append(file)
        jobs = ([self._to_store(file, writer) for file in part] for part in self._parts(others))
        with closing(self._carry_out(jobs, partial(self._run, writer))) as results:
            for job, done in results:
                yield from ((each.file, found) for each, found in zip(job, done, strict=True))

    def close(self) -> None:
        """Wait for the jobs that have begun. What they stored is the writer's to remove."""
        if self._begun is not None:
            self._begun.close()

    def _stored_ahead(self, file: OldFile) -> Stored | None:
        """What became of a file that is stored ahead; None if it was not. Jobs are in the order of the turns."""
        assert self._begun is not None, "whoever stores has begun them"
        while file.path in self._awaited and (result := next(self._begun, None)):
            paths = [each.file.path for each in result[0]]
            self._awaited.difference_update(paths)
            self._stored.update(zip(paths, result[1], strict=False))
        return self._stored.pop(file.path, None)

    def _jobs_ahead(self, writer: LakeWriter) -> Iterator[list[ToStore]]:
        """Leaves out participants who are refused. Their own turn tells why."""
        for part in self._parts(self._ahead):
            admitted = {who for who in {file.member.participant for file in part} if writer.admits(who)}
            refused = [file.path for file in part if file.member.participant not in admitted]
            self._awaited.difference_update(refused)
            if job := [self._to_store(file, writer) for file in part if file.member.participant in admitted]:
                yield job

    def _carry_out(
        self, jobs: Iterator[list[ToStore]], run: Callable[[list[ToStore]], list[Stored]]
    ) -> Generator[tuple[list[ToStore], list[Stored]], None, None]:
        return read_ahead(jobs, run, most=self._processes.at_once)

    def _run(self, writer: LakeWriter, job: Sequence[ToStore]) -> list[Stored]:
        with writer.storing() as stored:
            found = self._processes.run(store_files, job)
            stored.extend(each.staged for each in found if each.staged)
        return found

    def _try(self, writer: LakeWriter, job: Sequence[ToStore]) -> list[Stored]:
        """Nothing if the lake can't be written. It may be one participant's folder, so each file's turn tries again."""
        try:
            return self._run(writer, job)
        except LakeUnavailableError:
            return []

    def _parts(self, files: Sequence[OldFile]) -> Iterator[list[OldFile]]:
        """Files in order, in as many parts as processes have something to do with."""
        sizes = [held_bytes(file, self._form(file)) for file in files]
        rounds = ceil(sum(sizes) / _JOB_BYTES / self._processes.at_once)
        return even_parts(files, sizes, count=rounds * self._processes.at_once)

    def _to_store(self, file: OldFile, writer: LakeWriter) -> ToStore:
        form = self._form(file)
        return ToStore(
            file=file,
            place=writer.place(file.member, form),
            encrypted=form.cipher is not None,
            compression=form.compression,
            md5=file.member.time < SHA1_KEPT_SINCE,
        )

    def _form(self, file: OldFile) -> FileForm:
        return self._lake.form(file.member.stream)


def held_bytes(file: OldFile, form: FileForm) -> int:
    """What is held of a small file, or a share of a large one; at least what one of ``_JOB_FILES`` files may take."""
    compresses = not (file.compressed or file.is_recording)
    held = file.size_bytes
    if form.compression == "none":
        held *= _USUAL_COMPRESSION if file.compressed else 1
    elif compresses:
        held //= _USUAL_COMPRESSION
    return max(min(held, SMALL_BYTES), file.size_bytes // _LARGE_FILES, _JOB_BYTES // _JOB_FILES)
