"""Bring windows of a study's lake in step with the server: plan, fetch, commit.

    sync = StudySync(client, lake, run_id="...")
    for report in sync.run(cells):
        ...

Each window is committed the moment its last file is there. A part that keeps failing is halved until the bad hour is
alone; the good rest is committed, the bad hour is reported and stays open.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timezone

from dagster_beiwe.cells import Cell
from dagster_beiwe.client import BeiweClient
from dagster_beiwe.errors import CommitConflictError, IntegrityError, NotFoundError
from dagster_beiwe.lake import Changes, CommitRequest, FileRecord, LakeWriter, Manifest, StudyLake
from dagster_beiwe.lake.manifest import total_bytes
from dagster_beiwe.lake.writer import Plan, Submitted
from dagster_beiwe.streams import check_streams
from dagster_beiwe.sync.compare import Compared, Comparer, are_compared
from dagster_beiwe.sync.daily_counts import DailyIndex
from dagster_beiwe.sync.deletions import Ledger, requests_for_days, requests_for_rest_of_days
from dagster_beiwe.sync.downloader import Downloader
from dagster_beiwe.sync.progress import Meter
from dagster_beiwe.sync.reports import committed_report, failures_in, refused_report, report_of
from dagster_beiwe.sync.requests import guess_hours, next_cells, requests_for, stretches
from dagster_beiwe.sync.results import FetchPolicy, Progress, WindowReport
from dagster_beiwe.sync.splitting import DownloadResult, SplittingDownloader
from dagster_beiwe.windows import Window, order_of_key

_CONFLICT_ATTEMPTS = 3
_DEFAULT_POLICY = FetchPolicy()


class StudySync:
    """Synchronises windows of one study; for one thread.

    ``streams`` empty means all that the server has; what it lacks of others is left out, and said in the log once.
    ``daily`` is what the server counts per day, if that is known: it lets requests be planned, and files that were
    deleted upstream be noticed.
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
        moved_only: bool = False,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> Generator[WindowReport, None, None]:
        """Synchronise the cells; yields each one's report the moment it is committed.

        With ``moved_only``, complete windows whose daily counts are those that they were committed with are reported
        first, as they are, and not asked for. Without daily counts all are asked for.

        A participant that the server never had gives reports with a failure and commits nothing; of one who was deleted
        upstream, the files in the lake are marked so. Raises the error
        that stops everything: the server is out of reach or refuses the keys, or the lake can't be written. What was
        reported before is committed and stays. An interrupt leaves undone what was begun; close the iterator if you
        leave it early.
        """
        wanted = sorted(set(cells))
        meter = Meter(len(wanted), self._policy.progress_seconds, on_progress)
        with (
            LakeWriter(self._lake, run_id=self._run_id, participants={cell.participant for cell in wanted}) as writer,
            Downloader(self._client, self._lake, writer, self._policy, on_bytes=meter.received) as downloader,
        ):
            self._streams = self._client.choose_streams(self._lake.study_id, self._streams)
            if moved_only:
                for report in self._unmoved(wanted):
                    wanted.remove(report.cell)
                    meter.committed(report)
                    yield report
            for stretch in stretches(wanted):
                for report in self._stretch(stretch, downloader, writer):
                    meter.committed(report)
                    yield report
        meter.report()

    def compare(
        self, cells: Iterable[Cell], *, go_on: Callable[[], bool] = lambda: True
    ) -> Generator[Compared, None, None]:
        """Compare the contents of committed windows with the server's, by hash: what is equal does not travel.

        When they were compared is noted in the lake, and nothing is committed. Windows that differ, or of which the
        server does not tell, are to be given to ``run``. One request covers consecutive windows of a participant.
        ``go_on`` is asked before each; where it says no, the comparison ends. Raises as ``run``.
        """
        with LakeWriter(self._lake, run_id=self._run_id) as writer:
            comparer = Comparer(self._client, self._lake, writer, self._streams, self._policy, go_on=go_on)
            yield from comparer.compare(cells)

    def _unmoved(self, cells: Sequence[Cell]) -> Iterator[WindowReport]:
        """Complete windows of which the server counts what it counted when they were committed."""
        if self._daily is None:
            return
        lake = self._lake.at()
        for cell in tuple(cells):
            version = lake.index(cell.participant).get(cell.window.key)
            secret = lake.counts_secret(cell.participant)
            if not (
                version
                and version.complete
                and self._daily.agrees(version.counts, cell.participant, cell.window, self._streams, secret)
            ):
                continue
            manifest = None
            with suppress(IntegrityError):  # that is told when the window's turn comes
                manifest = lake.manifest(cell.participant, cell.window)
            if manifest:
                present = [record for record in manifest.files if record.present]
                unchanged = Changes(unchanged=len(present), unchanged_bytes=total_bytes(present))
                yield report_of(cell, manifest, unchanged, DownloadResult(), record=version.at)

    def _stretch(self, cells: Sequence[Cell], downloader: Downloader, writer: LakeWriter) -> Iterator[WindowReport]:
        """Consecutive windows of one participant, in requests of a suitable size."""
        lake = writer.plan(cells[0].participant, []).lake
        lake.check_windows(cells[0].participant, [cell.window for cell in cells])
        guess = self._policy.first_request_hours
        while cells:
            group = next_cells(cells, self._estimate, guess, self._policy)
            cells = cells[len(group) :]
            size_bytes = 0
            left = list(group)
            try:
                for report in self._group(group, downloader, writer):
                    size_bytes += report.size_bytes
                    left.remove(report.cell)
                    yield report
            except NotFoundError as error:
                cells = [*left, *cells]
                if self._leave_out_refused_streams(cells[0].participant):
                    continue
                yield from self._not_found(cells, error, writer)
                return
            hours = sum(cell.window.hours for cell in group)
            guess = guess_hours(hours=hours, size_bytes=size_bytes, previous_guess=guess, policy=self._policy)

    def _leave_out_refused_streams(self, participant: str) -> bool:
        """Whether a 404 was about streams. The server may have lost them since it told which it has."""
        refused = self._client.refused_streams(self._lake.study_id, participant, self._streams)
        if refused:
            self._streams = self._client.choose_streams(self._lake.study_id, self._streams)
        return bool(refused)

    def _not_found(self, cells: Sequence[Cell], error: NotFoundError, writer: LakeWriter) -> Iterator[WindowReport]:
        """Windows of a participant for whom the server answers 404: deleted with the participant, or refused."""
        participant = cells[0].participant
        listed = self._is_on_the_server(participant)
        if listed or not self._lake.windows(participant):
            for cell in cells:
                yield replace(refused_report(cell, self._streams, error), participant_unknown=not listed)
            return
        plan = writer.plan(participant, [cell.window for cell in cells])
        submitted = []
        for cell in cells:
            manifest = plan.manifests[cell.window.key]
            known = [record for record in manifest.files if record.stream in self._streams] if manifest else []
            result = DownloadResult(deleted_upstream={record.key for record in known})
            submitted.append((cell, result, self._commit(cell, plan, result, writer)))
        writer.flush()
        for cell, result, commit in submitted:
            yield replace(committed_report(cell, commit, result), participant_deleted_upstream=True)

    def _is_on_the_server(self, participant: str) -> bool:
        """Whether the server lists a participant or counts anything of one.

        Raises ``NotFoundError`` if it is the study that the server does not have.
        """
        study_id = self._lake.study_id
        if participant in self._client.participants(study_id):
            return True
        # What is known of the counts may be those of a few days only.
        return self._daily is not None and (
            self._daily.counts_anything(participant)
            or any(day.bytes_by_stream for day in self._client.summary_statistics(study_id, participants=[participant]))
        )

    def _group(self, cells: Sequence[Cell], downloader: Downloader, writer: LakeWriter) -> Iterator[WindowReport]:
        """Windows that share requests. Where commits share a record, so do those of these windows."""
        plan = writer.plan(cells[0].participant, [cell.window for cell in cells])
        if plan.damaged:
            for key, error in plan.damaged.items():
                yield from (refused_report(cell, self._streams, error) for cell in cells if cell.window.key == key)
            for rest in stretches([cell for cell in cells if cell.window.key in plan.manifests]):
                yield from self._group(rest, downloader, writer)
            return
        requests_before = self._client.traffic.requests_sent
        result = self._download(cells, plan, downloader)
        requests = self._client.traffic.requests_sent - requests_before
        waiting: list[tuple[Cell, Submitted]] = []
        for number, cell in enumerate(cells):
            waiting.append((cell, self._commit(cell, plan, result, writer)))
            if number == len(cells) - 1:
                writer.flush()
            while waiting and waiting[0][1].outcome:
                report = self._outcome(*waiting.pop(0), result, downloader, writer)
                first = report.cell == cells[0]
                yield replace(report, requests=requests, downloaded_bytes=result.downloaded_bytes) if first else report

    def _outcome(
        self, cell: Cell, commit: Submitted, result: DownloadResult, downloader: Downloader, writer: LakeWriter
    ) -> WindowReport:
        try:
            return committed_report(cell, commit, result)
        except CommitConflictError:
            return self._again(cell, downloader, writer)

    def _download(self, cells: Sequence[Cell], plan: Plan, downloader: Downloader) -> DownloadResult:
        held = [record for manifest in plan.manifests.values() if manifest for record in manifest.files]
        # Servers of before 2026-01-08 can't leave out what is held by its hash: they send, and so list, everything.
        lists_everything = bool(held) and not self._client.supports("file_hashes", otherwise=False)
        splitter = SplittingDownloader(downloader, self._policy, held, relist=lists_everything)
        for request in requests_for(cells, self._streams, self._estimate, self._policy):
            splitter.bring(request)
        result = splitter.result
        if self._daily is not None:
            around = {record.key: record for record in (*_neighbours(cells, plan.lake), *held)}
            ledger = Ledger(self._daily, cells[0].participant, around)
            for key in ledger.contradicted(result.mislisted, result.fetched_files):
                splitter.refuse(key)
            if held:
                self._look_for_deletions(cells, held, ledger, result, downloader, listed=lists_everything)
            result.counted_in = ledger.counted(result.fetched_files, result.deleted_upstream)
        elif result.not_sent and not self._client.supports("summary_statistics", otherwise=True):
            # Servers without counts end the archive where an object is lost: what one leaves out is deleted.
            result.mark_deleted(result.not_sent)
        return result

    def _look_for_deletions(
        self,
        cells: Sequence[Cell],
        held: Sequence[FileRecord],
        ledger: Ledger,
        result: DownloadResult,
        downloader: Downloader,
        *,
        listed: bool,
    ) -> None:
        """List whole days anew where held files seem to be gone, and decide which were deleted upstream.

        Where nothing is ``listed`` yet, an answer does not tell a file that is unchanged from one that is gone: those
        days are looked at of which the lake holds more than the server counts.
        """
        participant, span = ledger.participant, Window(cells[0].window.start, cells[-1].window.end)
        if listed:
            not_sent = [record for record in held if record.present and record.key in result.not_sent]
            requests = requests_for_rest_of_days(ledger.daily, participant, span, not_sent)
        else:
            here = [
                (day, name) for day, name in ledger.surplus(result.fetched_files, self._streams) if day.hours_in(span)
            ]
            requests = requests_for_days(participant, here, request_bytes=self._policy.request_bytes)
        lister = SplittingDownloader(downloader, self._policy, held, result=result, relist=True)
        for request in requests:
            lister.bring(request)
        result.mark_deleted(ledger.deleted(result.not_sent, result.fetched_files))
        lister.leave_out(span)

    def _again(self, cell: Cell, downloader: Downloader, writer: LakeWriter) -> WindowReport:
        """Plan and fetch one window again after another run has committed it."""
        for attempt in range(_CONFLICT_ATTEMPTS):
            plan = writer.plan(cell.participant, [cell.window])
            if plan.damaged:
                return refused_report(cell, self._streams, plan.damaged[cell.window.key])
            result = self._download([cell], plan, downloader)
            commit = self._commit(cell, plan, result, writer)
            writer.flush()
            try:
                report = committed_report(cell, commit, result)
            except CommitConflictError:
                if attempt == _CONFLICT_ATTEMPTS - 1:
                    raise
            else:
                return replace(report, downloaded_bytes=result.downloaded_bytes)
        raise AssertionError("unreachable")

    def _commit(self, cell: Cell, plan: Plan, result: DownloadResult, writer: LakeWriter) -> Submitted:
        fetched_files = [
            fetched_file for fetched_file in result.fetched_files.values() if fetched_file.member.time in cell.window
        ]
        manifest = plan.manifests[cell.window.key]
        commit_request = CommitRequest(
            study_id=self._lake.study_id,
            participant=cell.participant,
            window=cell.window,
            streams=self._streams,
            run_id=self._run_id,
            now=datetime.now(timezone.utc),
            failures=failures_in(result, cell.window),
            deleted_upstream=frozenset(result.deleted_upstream),
            remove_deleted_upstream=self._policy.remove_deleted_upstream and self._daily is not None,
            not_sent=frozenset(result.not_sent),
            counted_in=result.counted_in,
            counts_fingerprint=self._counts_fingerprint(cell, writer),
            compared_at=result.begun_at if self._are_compared(cell, manifest, result) else None,
        )
        return writer.commit(plan, commit_request, fetched_files)

    def _counts_fingerprint(self, cell: Cell, writer: LakeWriter) -> str:
        """The fingerprint of what the server counts of a window, empty if that is not known."""
        if self._daily is None:
            return ""
        return self._daily.digest(cell.participant, cell.window, self._streams, writer.counts_secret(cell.participant))

    def _are_compared(self, cell: Cell, manifest: Manifest | None, result: DownloadResult) -> bool:
        by_hash = self._client.supports("file_hashes", otherwise=False)
        return are_compared(cell, manifest, result, streams=self._streams, by_hash=by_hash)

    def _estimate(self, participant: str, window: Window) -> int | None:
        return None if self._daily is None else self._daily.expected_bytes(participant, window)


def _neighbours(cells: Sequence[Cell], lake: StudyLake) -> Iterator[FileRecord]:
    """What is held in the windows before and after: a local day may lie in two windows of UTC."""
    keys = sorted(lake.windows(cells[0].participant), key=order_of_key)
    first, last = (order_of_key(cell.window.key) for cell in (cells[0], cells[-1]))
    before = [key for key in keys if order_of_key(key) < first][-1:]
    after = [key for key in keys if order_of_key(key) > last][:1]
    for key in (*before, *after):
        manifest = None
        with suppress(IntegrityError):  # less is held then than counted, from which nothing follows
            manifest = lake.manifest(cells[0].participant, key)
        for record in manifest.files if manifest else ():
            # A file once dated in the future may belong to one of these windows by now.
            if not cells[0].window.start <= record.moment < cells[-1].window.end:
                yield record
