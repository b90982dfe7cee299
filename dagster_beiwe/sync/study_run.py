"""The windows of one run in turn: each participant's are planned, downloaded, committed, and reported."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from itertools import chain
from time import monotonic

from dagster_beiwe.cells import Cell
from dagster_beiwe.client import BeiweClient
from dagster_beiwe.errors import (
    BeiweError,
    CommitConflictError,
    IntegrityError,
    NotFoundError,
    WithdrawnError,
)
from dagster_beiwe.lake import CommitRequest, FetchedFile, FileRecord, LakeWriter, StudyLake
from dagster_beiwe.lake.manifest import total_bytes
from dagster_beiwe.lake.writer import Plan, Submitted
from dagster_beiwe.retries import WINDOW_COMMIT_ATTEMPTS
from dagster_beiwe.sync.compare import are_compared
from dagster_beiwe.sync.daily_counts import DailyIndex
from dagster_beiwe.sync.deletions import Ledger, requests_for_days, requests_for_rest_of_days
from dagster_beiwe.sync.downloader import Downloader
from dagster_beiwe.sync.local_files import LocalFiles, hours_beside, not_sent, requests_for_files, unproven
from dagster_beiwe.sync.requests import FetchPolicy, consecutive, guess_hours, next_cells, requests_for
from dagster_beiwe.sync.results import DownloadResult, WindowReport, committed_report, refused_report
from dagster_beiwe.sync.splitting import SplittingDownloader
from dagster_beiwe.windows import Window, order_of_key


@dataclass(frozen=True)
class _Waiting:
    """A window that has no report yet; that of the first one of a download also tells of its traffic."""

    cell: Cell
    commit: Submitted
    result: DownloadResult
    is_first: bool


@dataclass(kw_only=True)
class StudyRun:
    """One run of a ``StudySync``, with what it writes and downloads by.

    Windows that are ``waiting`` are not committed yet, and have no report; work on the first began at
    ``uncommitted_since``.
    """

    client: BeiweClient
    lake: StudyLake
    run_id: str
    policy: FetchPolicy
    daily: DailyIndex | None
    writer: LakeWriter
    downloader: Downloader
    streams: tuple[str, ...]
    local: LocalFiles | None
    waiting: list[_Waiting] = field(default_factory=list)
    uncommitted_since: float = 0.0

    def sync(self, cells: Sequence[Cell]) -> Iterator[WindowReport]:
        """Any windows, those of one participant after those of another."""
        try:
            for group in consecutive(cells):
                yield from self._sync_consecutive(group)
            yield from self._flush()
        except BeiweError:  # what was fetched before is not lost, and nothing more is fetched
            with suppress(BeiweError):
                yield from self._flush(again=False)
            raise

    def _sync_consecutive(self, cells: Sequence[Cell]) -> Iterator[WindowReport]:
        """Consecutive windows of one participant, in requests of a suitable size.

        Also yields the reports of windows of others that are committed meanwhile.
        """
        participant = cells[0].participant
        guess = self.policy.first_request_hours
        while cells:
            if any(window.cell.participant == participant for window in self.waiting):
                yield from self._flush()  # a new plan is based on it
            if not self.waiting:
                self.uncommitted_since = monotonic()
            group = next_cells(cells, self._estimate, guess, self.policy)
            try:
                plan = self.writer.plan(participant, [cell.window for cell in group])
                plan.lake.check_windows(participant, [cell.window for cell in cells])
                result = None if plan.damaged else self._download(group, plan)
            except WithdrawnError as error:
                yield from self._refused(cells, error)
                return
            except NotFoundError as error:
                if self._leave_out_refused_streams(participant):
                    continue
                yield from self._not_found(cells, error)
                return
            cells = cells[len(group) :]
            if result is None:
                yield from self._sync_around_damaged(group, plan.damaged)
                continue
            size_bytes = yield from self._commit_together(group, plan, result)
            hours = sum(cell.window.hours for cell in group)
            guess = guess_hours(hours=hours, size_bytes=size_bytes, previous_guess=guess, policy=self.policy)

    def _sync_around_damaged(
        self, cells: Sequence[Cell], damaged: Mapping[str, IntegrityError]
    ) -> Iterator[WindowReport]:
        """Windows some of which cannot be written: their committed manifests are damaged."""
        for cell in cells:
            if error := damaged.get(cell.window.key):
                yield from self._refused([cell], error)
        for rest in consecutive([cell for cell in cells if cell.window.key not in damaged]):
            yield from self._sync_consecutive(rest)

    def _refused(self, cells: Iterable[Cell], error: BeiweError) -> Iterator[WindowReport]:
        return (refused_report(cell, self.streams, error) for cell in cells)

    def _leave_out_refused_streams(self, participant: str) -> bool:
        """Whether a 404 was about streams. The server may have lost them since it listed its streams."""
        refused = self.client.refused_streams(self.lake.study_id, participant, self.streams)
        if refused:
            self.streams = self.client.choose_streams(self.lake.study_id, self.streams)
        return bool(refused)

    def _not_found(self, cells: Sequence[Cell], error: NotFoundError) -> Iterator[WindowReport]:
        """Windows of a participant for whom the server responds with 404: deleted with the participant, or refused."""
        participant = cells[0].participant
        listed = self._is_on_the_server(participant)
        if listed or not self.lake.windows(participant):
            for report in self._refused(cells, error):
                yield replace(report, participant_unknown=not listed)
            return
        for cell in cells:
            yield replace(self._mark_deleted(cell), participant_deleted_upstream=True)

    def _mark_deleted(self, cell: Cell) -> WindowReport:
        """Commit that the server has nothing of a window any more."""
        try:
            plan = self.writer.plan(cell.participant, [cell.window])
            if error := plan.damaged.get(cell.window.key):
                return refused_report(cell, self.streams, error)
            manifest = plan.manifests[cell.window.key]
            known = [record for record in manifest.files if record.stream in self.streams] if manifest else []
            result = DownloadResult(deleted_upstream={record.key for record in known})
            commit = self._commit(cell, plan, result)
            self.writer.flush()
            return committed_report(cell, commit, result)
        except CommitConflictError as error:
            return refused_report(cell, self.streams, error)

    def _is_on_the_server(self, participant: str) -> bool:
        """Whether the server lists a participant or counts anything of one.

        Raises ``NotFoundError`` if the server does not have the study.
        """
        study_id = self.lake.study_id
        if participant in self.client.participants(study_id):
            return True
        # The known counts may be those of a few days only.
        return self.daily is not None and (
            self.daily.counts_anything(participant)
            or any(day.bytes_by_stream for day in self.client.summary_statistics(study_id, participants=[participant]))
        )

    def _commit_together(
        self, cells: Sequence[Cell], plan: Plan, result: DownloadResult
    ) -> Generator[WindowReport, None, int]:
        """Commit windows that were downloaded together; where a record costs requests, they wait to share one.

        Returns the bytes that they hold.
        """
        size_bytes = 0
        for cell in cells:
            try:
                commit = self._commit(cell, plan, result)
            except WithdrawnError as error:
                yield from self._refused([cell], error)
                continue
            size_bytes += total_bytes(file for file in commit.manifest.files if file.present)
            self.waiting.append(_Waiting(cell, commit, result, is_first=cell == cells[0]))
            yield from self._committed()
        if monotonic() - self.uncommitted_since > self.policy.uncommitted_seconds:
            yield from self._flush()
        return size_bytes

    def _flush(self, *, again: bool = True) -> Iterator[WindowReport]:
        self.writer.flush()
        yield from self._committed(again=again)

    def _committed(self, *, again: bool = True) -> Iterator[WindowReport]:
        """The reports of windows whose commit waits for no others any more."""
        while self.waiting and self.waiting[0].commit.outcome:
            window = self.waiting.pop(0)
            report = self._outcome(window, again=again)
            yield report.with_traffic(window.result) if window.is_first else report

    def _outcome(self, window: _Waiting, *, again: bool) -> WindowReport:
        """The report of a window; if another run has committed it meanwhile, once it was synced ``again``."""
        try:
            return committed_report(window.cell, window.commit, window.result)
        except CommitConflictError as error:
            if again and not isinstance(error, WithdrawnError):
                return self._sync_again(window.cell)
            return refused_report(window.cell, self.streams, error)

    def _sync_again(self, cell: Cell) -> WindowReport:
        """Plan and download one window again after another run has committed it."""
        attempts = 0
        while True:
            try:
                plan = self.writer.plan(cell.participant, [cell.window])
                if damage := plan.damaged.get(cell.window.key):
                    return refused_report(cell, self.streams, damage)
                result = self._download([cell], plan)
                commit = self._commit(cell, plan, result)
                self.writer.flush()
                return committed_report(cell, commit, result).with_traffic(result)
            except NotFoundError as error:  # while it may be another participant's turn
                if not self._leave_out_refused_streams(cell.participant):
                    (report,) = self._not_found([cell], error)
                    return report
            except CommitConflictError as error:
                attempts += 1
                if attempts == WINDOW_COMMIT_ATTEMPTS:
                    return refused_report(cell, self.streams, error)

    def _download(self, cells: Sequence[Cell], plan: Plan) -> DownloadResult:
        held = [record for manifest in plan.manifests.values() if manifest for record in manifest.files]
        # Servers before 2026-01-08 cannot leave out held files by their hash: they send, and so list, everything.
        lists_all = bool(held) and not self.client.supports("file_hashes", otherwise=False)
        local: Mapping[str, FetchedFile] = {}
        if self.local is not None:
            local = self.local.stage(cells, self.writer, {record.key for record in held})
        begun, requests_before = DownloadResult(fetched_files=dict(local)), self.client.traffic.requests_sent
        splitter = SplittingDownloader(self.downloader, self.policy, held, result=begun, list_all=lists_all)
        for request in requests_for(cells, self.streams, self._estimate, self.policy):
            splitter.download(request)
        result = splitter.result
        if self.daily is not None:
            around = {record.key: record for record in (*_neighbors(cells, plan.lake), *held)}
            ledger = Ledger(self.daily, cells[0].participant, around)
            if local:
                self._list_unproven(cells, local, ledger, result)
            for key in ledger.contradicted(result.mislisted, result.fetched_files):
                splitter.refuse(key)
            if held:
                span = Window(cells[0].window.start, cells[-1].window.end)
                self._find_deletions(span, held, ledger, result, lists_all=lists_all)
            result.counted_in = ledger.counted(result.fetched_files, result.deleted_upstream)
        elif result.not_sent and not self.client.supports("summary_statistics", otherwise=True):
            # Servers without counts end the archive where an object is lost, so what they leave out is deleted.
            result.mark_deleted(result.not_sent)
        if self.local is not None:
            self.local.note(cells, local, result)
        result.requests = self.client.traffic.requests_sent - requests_before
        return result

    def _list_unproven(
        self, cells: Sequence[Cell], local: Mapping[str, FetchedFile], ledger: Ledger, result: DownloadResult
    ) -> None:
        """List the hours of local files that were not sent, and that the counts do not account for."""
        assert self.local is not None, "there are local files"
        participant, kept = cells[0].participant, not_sent(local, result.fetched_files)
        around = hours_beside(Window(cells[0].window.start, cells[-1].window.end))
        beside = chain.from_iterable(self.local.sizes(participant, hours) for hours in around)
        apart = [result.fetched_files.pop(key) for key in unproven(kept, ledger, result.fetched_files, beside)]
        lister = SplittingDownloader(self.downloader, self.policy, (), result=result, list_all=True)
        for request in requests_for_files(participant, apart, request_bytes=self.policy.request_bytes):
            lister.download(request)
        for file in apart:
            self.downloader.discard(file)

    def _find_deletions(
        self, span: Window, held: Sequence[FileRecord], ledger: Ledger, result: DownloadResult, *, lists_all: bool
    ) -> None:
        """List whole days again if held files of them seem to be deleted, and decide which were deleted upstream.

        If the download did not list everything (``lists_all``), it does not tell an unchanged file from a deleted one:
        then days are listed of which the lake holds more than the server counts.
        """
        if lists_all:
            not_sent = [record for record in held if record.present and record.key in result.not_sent]
            requests = requests_for_rest_of_days(ledger.daily, ledger.participant, span, not_sent)
        else:
            surplus = ledger.surplus(result.fetched_files, self.streams)
            inside = [(day, stream) for day, stream in surplus if day.hours_in(span)]
            requests = requests_for_days(ledger.participant, inside, request_bytes=self.policy.request_bytes)
        lister = SplittingDownloader(self.downloader, self.policy, held, result=result, list_all=True)
        for request in requests:
            lister.download(request)
        result.mark_deleted(ledger.deleted(result.not_sent, result.fetched_files))
        lister.drop_outside(span)

    def _commit(self, cell: Cell, plan: Plan, result: DownloadResult) -> Submitted:
        manifest = plan.manifests[cell.window.key]
        by_hash = self.client.supports("file_hashes", otherwise=False)
        compared = are_compared(cell, manifest, result, streams=self.streams, by_hash=by_hash)
        commit_request = CommitRequest(
            study_id=self.lake.study_id,
            participant=cell.participant,
            window=cell.window,
            streams=self.streams,
            run_id=self.run_id,
            now=datetime.now(timezone.utc),
            failures=result.failures_in(cell.window),
            deleted_upstream=frozenset(result.deleted_upstream),
            remove_deleted_upstream=self.policy.remove_deleted_upstream and self.daily is not None,
            not_sent=frozenset(result.not_sent),
            counted_in=result.counted_in,
            counts_fingerprint=self._counts_fingerprint(cell),
            compared_at=result.begun_at if compared else None,
        )
        files = [file for file in result.fetched_files.values() if file.member.time in cell.window]
        return self.writer.commit(plan, commit_request, files)

    def _counts_fingerprint(self, cell: Cell) -> str:
        """The fingerprint of the server's counts of a window; empty if they are unknown."""
        if self.daily is None:
            return ""
        secret = self.writer.counts_secret(cell.participant)
        return self.daily.fingerprint(cell.participant, cell.window, self.streams, secret)

    def _estimate(self, participant: str, window: Window) -> int | None:
        return None if self.daily is None else self.daily.expected_bytes(participant, window)


def _neighbors(cells: Sequence[Cell], lake: StudyLake) -> Iterator[FileRecord]:
    """What is held in the windows before and after, because a local day may lie in two UTC windows."""
    keys = sorted(lake.windows(cells[0].participant), key=order_of_key)
    first, last = (order_of_key(cell.window.key) for cell in (cells[0], cells[-1]))
    before = [key for key in keys if order_of_key(key) < first][-1:]
    after = [key for key in keys if order_of_key(key) > last][:1]
    for key in (*before, *after):
        manifest = None
        with suppress(IntegrityError):  # then less is held than counted, from which nothing follows
            manifest = lake.manifest(cells[0].participant, key)
        for record in manifest.files if manifest else ():
            # A file once dated in the future may belong to one of these windows by now.
            if not cells[0].window.start <= record.moment < cells[-1].window.end:
                yield record
