"""Compare the contents of committed windows with the server's, by hash, without downloading equal files.

Byte counts do not change if a file is restated with other content of the same size. Servers since 2026-01-08 leave
files out of an archive that the request lists with the same hash, so an archive without files means that everything is
equal. Survey answers and recordings never change under their key, so servers compare only their keys.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from itertools import groupby
from typing import Literal

from dagster_beiwe.archive import REGISTRY, read_archive
from dagster_beiwe.cells import Cell
from dagster_beiwe.client import BeiweClient
from dagster_beiwe.errors import BeiweError, ConnectionFailedError, IntegrityError, NotFoundError
from dagster_beiwe.lake import FileRecord, LakeWriter, Manifest, StudyLake
from dagster_beiwe.member_names import MemberName
from dagster_beiwe.retries import COMPARISON_CONNECTION_FAILURES, COMPARISON_FAILURES_IN_A_ROW
from dagster_beiwe.sync.downloader import SPLITTABLE, expected_name, registry_in
from dagster_beiwe.sync.registry import RegistryEntry, pair, registry_of, registry_size
from dagster_beiwe.sync.requests import DownloadRequest, FetchPolicy, consecutive
from dagster_beiwe.sync.results import DownloadResult
from dagster_beiwe.windows import Window

Outcome = Literal["equal", "different", "unsupported", "incomplete", "failed"]

_ENOUGH_BYTES = 32 * 1024 * 1024
"""A longer archive is not read to its end: windows that differ are downloaded anyway."""


@dataclass(frozen=True, kw_only=True)
class Compared:
    """What the comparison of a window found.

    ``different``: the server has other content. ``unsupported``: the server is older than 2026-01-08 and cannot
    compare. Give both to ``StudySync.run``. ``incomplete``: a part of the window, or all of it, was never fetched.
    ``failed``: it could not be compared because of ``error`` (the class name) and ``message``; ``transient`` as in
    ``BeiweError``.
    """

    cell: Cell
    outcome: Outcome
    error: str = ""
    message: str = ""
    transient: bool = False


class _EnoughError(Exception):
    """The caller does not want another request."""


class _CutOffError(Exception):
    """An archive broke off after the server had begun to send something."""


class Comparer:
    """Compares windows of one study, and notes in the lake when they were compared."""

    def __init__(
        self,
        client: BeiweClient,
        lake: StudyLake,
        writer: LakeWriter,
        streams: tuple[str, ...],
        policy: FetchPolicy,
        *,
        go_on: Callable[[], bool],
    ) -> None:
        self._client, self._lake, self._writer, self._streams, self._policy = client, lake, writer, streams, policy
        self._go_on = go_on
        self._by_hash = client.supports("file_hashes", otherwise=False)
        self._failures_in_a_row = 0
        self._records: dict[str, int] = {}
        """The record that committed each window of the current participant."""

    def compare(self, cells: Iterable[Cell]) -> Iterator[Compared]:
        """The outcome of each cell, participant by participant, in the order in which they first occur."""
        if self._by_hash:
            self._streams = self._client.choose_streams(self._lake.study_id, self._streams)
        with suppress(_EnoughError):
            for _, own in groupby(cells, key=lambda cell: cell.participant):
                for group in consecutive(own):
                    yield from self._consecutive(group)

    def _consecutive(self, cells: Sequence[Cell]) -> Iterator[Compared]:
        """Consecutive windows, in requests that list as many files as a request may."""
        group: dict[Cell, Manifest] = {}
        size = 0
        lake = self._lake.at()
        self._records = {key: version.at for key, version in lake.index(cells[0].participant).items()}
        for cell in cells:
            manifest, unfit = _manifest(lake, cell)
            if manifest is None:
                yield from self._group(group)
                yield unfit
                group, size = {}, 0
                continue
            added = registry_size(registry_of(manifest.files, self._request([cell])))
            if size + added > self._policy.registry_bytes:
                yield from self._group(group)
                group, size = {}, 0
            group[cell], size = manifest, size + added
        yield from self._group(group)

    def _group(self, group: Mapping[Cell, Manifest]) -> Iterator[Compared]:
        """Request what differs in consecutive windows; if that fails, in fewer."""
        cells, at = list(group), datetime.now(timezone.utc)
        if cells and not self._go_on():
            raise _EnoughError
        if not cells or not self._by_hash:
            yield from (Compared(cell=cell, outcome="unsupported") for cell in cells)
            return
        try:
            different = self._different(cells, [record for manifest in group.values() for record in manifest.files])
        except (*SPLITTABLE, _CutOffError) as error:
            yield from self._smaller(group, error)
            return
        except NotFoundError as error:
            yield from self._not_found(group, error)
            return
        self._failures_in_a_row = 0
        equal = [(cell.window.key, self._records[cell.window.key]) for cell in cells if cell not in different]
        self._writer.note_compared(cells[0].participant, equal, at=at)
        for cell in cells:
            yield Compared(cell=cell, outcome="different" if cell in different else "equal")

    def _smaller(self, group: Mapping[Cell, Manifest], error: Exception) -> Iterator[Compared]:
        """Compare fewer windows after a failure. Raises the error if the server is out of reach."""
        self._failures_in_a_row += 1
        if isinstance(error, ConnectionFailedError) and self._failures_in_a_row >= COMPARISON_CONNECTION_FAILURES:
            raise error
        cells = list(group)
        if len(cells) > 1 and self._failures_in_a_row < COMPARISON_FAILURES_IN_A_ROW:
            for half in (cells[: len(cells) // 2], cells[len(cells) // 2 :]):
                yield from self._group({cell: group[cell] for cell in half})
        else:
            yield from (_failed(cell, error) for cell in cells)

    def _not_found(self, group: Mapping[Cell, Manifest], error: NotFoundError) -> Iterator[Compared]:
        """Windows for which the server responds with 404: compare them without streams that it no longer has."""
        participant = next(iter(group)).participant
        if self._client.refused_streams(self._lake.study_id, participant, self._streams):
            self._streams = self._client.choose_streams(self._lake.study_id, self._streams)
            yield from self._group(group)
        else:
            yield from (_failed(cell, error) for cell in group)

    def _different(self, cells: Sequence[Cell], held: Sequence[FileRecord]) -> set[Cell]:
        """The windows of which the server sends something, although the request lists what is held."""
        came: set[Cell] = set()
        for request in self._requests(self._request(cells), held):
            times = self._times(request, registry_of(held, request))
            if times is None:
                return set(cells)
            came |= {cell for cell in cells if any(time in cell.window for time in times)}
        return came

    def _requests(self, request: DownloadRequest, held: Sequence[FileRecord]) -> Iterator[DownloadRequest]:
        """The request, or parts of it if it covers more files than a request may list."""
        halves = request.halves()
        if halves and registry_size(registry_of(held, request)) > self._policy.registry_bytes:
            for half in halves:
                yield from self._requests(half, held)
        else:
            yield request

    def _times(self, request: DownloadRequest, registry: Mapping[str, str]) -> list[datetime] | None:
        """The times of the files that are sent, which are not stored; None if they are too large to read."""
        names: list[MemberName] = []
        entries: list[RegistryEntry] = []
        with self._client.get_data(
            self._lake.study_id,
            participants=[request.participant],
            streams=request.streams,
            window=request.window,
            registry=registry,
        ) as download:
            try:
                for member in read_archive(download):
                    if member.name == REGISTRY:
                        entries = registry_in(member, len(names))
                    else:
                        names.append(expected_name(member, request))
                    if download.received_bytes > _ENOUGH_BYTES:
                        return None
                pair(self._lake.study_id, names, entries)
            except SPLITTABLE:
                cut_off = True
            else:
                cut_off = False
        if cut_off:
            raise _CutOffError
        return [name.time for name in names]

    def _request(self, cells: Sequence[Cell]) -> DownloadRequest:
        return DownloadRequest(cells[0].participant, Window(cells[0].window.start, cells[-1].window.end), self._streams)


def _manifest(lake: StudyLake, cell: Cell) -> tuple[Manifest | None, Compared]:
    """The manifest of a complete window; None, with the outcome, for any other."""
    unfit = Compared(cell=cell, outcome="incomplete")
    try:
        manifest = lake.manifest(cell.participant, cell.window)
    except IntegrityError as error:
        manifest, unfit = None, _failed(cell, error)
    return manifest if manifest and manifest.complete else None, unfit


def _failed(cell: Cell, error: Exception) -> Compared:
    """The outcome of a window that cannot be compared. If the server had begun to send something, it differs."""
    if isinstance(error, _CutOffError):
        return Compared(cell=cell, outcome="different")
    transient = isinstance(error, BeiweError) and error.transient
    return Compared(cell=cell, outcome="failed", error=type(error).__name__, message=str(error), transient=transient)


def are_compared(
    cell: Cell, before: Manifest | None, result: DownloadResult, *, streams: Collection[str], by_hash: bool
) -> bool:
    """Whether the contents of all files of a window are known to be the server's after a download.

    A file that was sent counts if the server gave any hash of it, or if its content is what the lake held. A file that
    was not sent counts if the server leaves out files by their hash (``by_hash``).
    """
    held = before.by_key() if before else {}
    if any(request.window.intersection(cell.window) for request in result.failures):
        return False
    for fetched_file in result.fetched_files.values():
        if fetched_file.member.time in cell.window and not fetched_file.compared:
            known = held.get(fetched_file.key)
            if known is None or known.sha256 != fetched_file.staged.sha256:
                return False
    left_out = [key for key, record in held.items() if record.present and record.stream in streams]
    left_out = [key for key in left_out if key not in result.fetched_files and key not in result.deleted_upstream]
    return not left_out or (by_hash and result.not_sent.isdisjoint(left_out))
