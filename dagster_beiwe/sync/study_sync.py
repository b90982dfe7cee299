"""The whole of it: plan, download, split on failure, stage, commit, and report windows of a study.

    sync = StudySync(client, lake, run_id="...")
    for report in sync.run(cells):
        ...

Each window is committed as soon as its last file has arrived. A request that keeps failing is split until only the
unavailable hour is left; the rest is committed, and the report names that hour.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from itertools import chain

from dagster_beiwe.cells import Cell
from dagster_beiwe.client import BeiweClient
from dagster_beiwe.errors import CommitConflictError, IntegrityError, NotFoundError
from dagster_beiwe.lake import CommitRequest, FetchedFile, FileRecord, LakeWriter, StudyLake
from dagster_beiwe.lake.writer import Plan, Submitted
from dagster_beiwe.retries import WINDOW_COMMIT_ATTEMPTS
from dagster_beiwe.streams import check_streams
from dagster_beiwe.sync.compare import Compared, Comparer, are_compared
from dagster_beiwe.sync.daily_counts import DailyIndex
from dagster_beiwe.sync.deletions import Ledger, requests_for_days, requests_for_rest_of_days
from dagster_beiwe.sync.downloader import Downloader
from dagster_beiwe.sync.local_files import LocalFiles, hours_beside, not_sent, requests_for_files, unproven
from dagster_beiwe.sync.progress import Meter, Progress
from dagster_beiwe.sync.requests import FetchPolicy, consecutive, guess_hours, next_cells, requests_for
from dagster_beiwe.sync.results import DownloadResult, WindowReport, committed_report, held_report, refused_report
from dagster_beiwe.sync.splitting import SplittingDownloader
from dagster_beiwe.windows import Window, order_of_key

_DEFAULT_POLICY = FetchPolicy()


class StudySync:
    """Synchronizes windows of one study; for one thread.

    Empty ``streams`` mean all that the server has. Streams that the server lacks are left out and logged once. With
    ``daily``, the server's counts per day, requests can be planned and files that were deleted upstream be noticed.
    """

    def __init__(
        self,
        client: BeiweClient,
        lake: StudyLake,
        *,
        streams: Sequence[str] = (),
        run_id: str,
        policy: FetchPolicy = _DEFAULT_POLICY,
        daily: DailyIndex | None = None,
    ) -> None:
        self._client, self._lake, self._run_id, self._policy = client, lake, run_id, policy
        self._streams = check_streams(streams)
        self._daily = daily

    def run(
        self,
        cells: Iterable[Cell],
        *,
        changed_only: bool = False,
        on_progress: Callable[[Progress], None] | None = None,
        local: LocalFiles | None = None,
    ) -> Generator[WindowReport, None, None]:
        """Synchronize the cells, and yield the report of each as soon as it is committed.

        ``local`` files that the server has with the same content are not downloaded; that needs daily counts, and a
        server that compares hashes.

        With ``changed_only``, windows that are up to date (complete, with the counts that they were committed with) are
        reported first and not requested. Without daily counts, all are requested.

        A participant whom the server never had gives reports with a failure, and nothing is committed. If the server
        no longer has a participant, the files in the lake are marked as deleted upstream. Raises errors that stop
        everything: the server is out of reach or refuses the keys, or the lake cannot be written. What was reported
        before stays committed. An interrupt abandons what has begun. Close the iterator if you leave it early.
        """
        wanted = sorted(set(cells))
        meter = Meter(len(wanted), self._policy.progress_seconds, on_progress)
        with (
            LakeWriter(self._lake, run_id=self._run_id, participants={cell.participant for cell in wanted}) as writer,
            Downloader(self._client, self._lake, writer, self._policy, on_bytes=meter.received) as downloader,
        ):
            streams = self._client.choose_streams(self._lake.study_id, self._streams)
            if changed_only and self._daily:
                for report in _up_to_date(self._lake.at(), wanted, streams, self._daily):
                    wanted.remove(report.cell)
                    meter.committed(report)
                    yield report
            run = _Run(
                client=self._client,
                lake=self._lake,
                run_id=self._run_id,
                policy=self._policy,
                daily=self._daily,
                writer=writer,
                downloader=downloader,
                streams=streams,
                local=local,
            )
            for group in consecutive(wanted):
                for report in run.sync(group):
                    meter.committed(report)
                    yield report
        meter.report()

    def compare(
        self, cells: Iterable[Cell], *, go_on: Callable[[], bool] = lambda: True
    ) -> Generator[Compared, None, None]:
        """Compare the contents of committed windows with the server's, by hash; equal files are not sent.

        The lake notes when they were compared; nothing is committed. Give windows that differ, or that the server
        cannot compare, to ``run``. One request covers consecutive windows of a participant. ``go_on`` is called before
        each; if it returns False, the comparison ends. Raises as ``run`` does.
        """
        with LakeWriter(self._lake, run_id=self._run_id) as writer:
            comparer = Comparer(self._client, self._lake, writer, self._streams, self._policy, go_on=go_on)
            yield from comparer.compare(cells)


def _up_to_date(
    lake: StudyLake, cells: Sequence[Cell], streams: Sequence[str], daily: DailyIndex
) -> Iterator[WindowReport]:
    """Complete windows with the same counts on the server as when they were committed."""
    for cell in tuple(cells):
        version = lake.index(cell.participant).get(cell.window.key)
        secret = lake.counts_secret(cell.participant)
        if not (
            version
            and version.complete
            and daily.agrees(version.counts, cell.participant, cell.window, streams, secret)
        ):
            continue
        manifest = None
        with suppress(IntegrityError):  # it is reported when the window's turn comes
            manifest = lake.manifest(cell.participant, cell.window)
        if manifest:
            yield held_report(cell, manifest, record=version.at)


@dataclass(kw_only=True)
class _Run:
    """One run of a ``StudySync``, with what it writes and downloads by."""

    client: BeiweClient
    lake: StudyLake
    run_id: str
    policy: FetchPolicy
    daily: DailyIndex | None
    writer: LakeWriter
    downloader: Downloader
    streams: tuple[str, ...]
    local: LocalFiles | None

    def sync(self, cells: Sequence[Cell]) -> Iterator[WindowReport]:
        """Consecutive windows of one participant, in requests of a suitable size."""
        lake = self.writer.plan(cells[0].participant, []).lake
        lake.check_windows(cells[0].participant, [cell.window for cell in cells])
        guess = self.policy.first_request_hours
        while cells:
            group = next_cells(cells, self._estimate, guess, self.policy)
            cells = cells[len(group) :]
            size_bytes = 0
            left = list(group)
            try:
                for report in self._sync_together(group):
                    size_bytes += report.size_bytes
                    left.remove(report.cell)
                    yield report
            except NotFoundError as error:
                cells = [*left, *cells]
                if self._leave_out_refused_streams(cells[0].participant):
                    continue
                yield from self._not_found(cells, error)
                return
            hours = sum(cell.window.hours for cell in group)
            guess = guess_hours(hours=hours, size_bytes=size_bytes, previous_guess=guess, policy=self.policy)

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
            for cell in cells:
                yield replace(refused_report(cell, self.streams, error), participant_unknown=not listed)
            return
        plan = self.writer.plan(participant, [cell.window for cell in cells])
        submitted = []
        for cell in cells:
            manifest = plan.manifests[cell.window.key]
            known = [record for record in manifest.files if record.stream in self.streams] if manifest else []
            result = DownloadResult(deleted_upstream={record.key for record in known})
            submitted.append((cell, result, self._commit(cell, plan, result)))
        self.writer.flush()
        for cell, result, commit in submitted:
            yield replace(committed_report(cell, commit, result), participant_deleted_upstream=True)

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

    def _sync_together(self, cells: Sequence[Cell]) -> Iterator[WindowReport]:
        """Windows that share requests and, if commits share records, a record."""
        plan = self.writer.plan(cells[0].participant, [cell.window for cell in cells])
        if plan.damaged:
            for key, error in plan.damaged.items():
                yield from (refused_report(cell, self.streams, error) for cell in cells if cell.window.key == key)
            for rest in consecutive(cell for cell in cells if cell.window.key in plan.manifests):
                yield from self._sync_together(rest)
            return
        requests_before = self.client.traffic.requests_sent
        result = self._download(cells, plan)
        requests = self.client.traffic.requests_sent - requests_before
        waiting: list[tuple[Cell, Submitted]] = []
        for number, cell in enumerate(cells):
            waiting.append((cell, self._commit(cell, plan, result)))
            if number == len(cells) - 1:
                self.writer.flush()
            while waiting and waiting[0][1].outcome:
                report = self._outcome(*waiting.pop(0), result)
                first = report.cell == cells[0]
                yield replace(report, requests=requests, downloaded_bytes=result.downloaded_bytes) if first else report

    def _outcome(self, cell: Cell, commit: Submitted, result: DownloadResult) -> WindowReport:
        try:
            return committed_report(cell, commit, result)
        except CommitConflictError:
            return self._sync_again(cell)

    def _sync_again(self, cell: Cell) -> WindowReport:
        """Plan and download one window again after another run has committed it."""
        for attempt in range(WINDOW_COMMIT_ATTEMPTS):
            plan = self.writer.plan(cell.participant, [cell.window])
            if plan.damaged:
                return refused_report(cell, self.streams, plan.damaged[cell.window.key])
            result = self._download([cell], plan)
            commit = self._commit(cell, plan, result)
            self.writer.flush()
            try:
                report = committed_report(cell, commit, result)
            except CommitConflictError:
                if attempt == WINDOW_COMMIT_ATTEMPTS - 1:
                    raise
            else:
                return replace(report, downloaded_bytes=result.downloaded_bytes)
        raise AssertionError("unreachable")

    def _download(self, cells: Sequence[Cell], plan: Plan) -> DownloadResult:
        held = [record for manifest in plan.manifests.values() if manifest for record in manifest.files]
        # Servers before 2026-01-08 cannot leave out held files by their hash: they send, and so list, everything.
        lists_all = bool(held) and not self.client.supports("file_hashes", otherwise=False)
        local: Mapping[str, FetchedFile] = {}
        if self.local is not None:
            local = self.local.stage(cells, self.writer, {record.key for record in held})
        begun = DownloadResult(fetched_files=dict(local))
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
