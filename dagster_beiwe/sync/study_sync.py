"""The whole of it: plan, download, split on failure, stage, commit, and report windows of a study.

    sync = StudySync(client, lake, run_id="...")
    for report in sync.run(cells):
        ...

Each window is committed as soon as its last file has arrived; in an object store, a few wait to share a record. A
request that keeps failing is split until only the unavailable hour is left; the rest is committed, and the report names
that hour.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import wait
from contextlib import closing, nullcontext, suppress
from functools import partial

from dagster_beiwe.cells import Cell
from dagster_beiwe.client import BeiweClient
from dagster_beiwe.errors import IntegrityError
from dagster_beiwe.lake import LakeWriter, StudyLake
from dagster_beiwe.meanwhile import begin
from dagster_beiwe.streams import check_streams
from dagster_beiwe.sync.compare import Compared, Comparer
from dagster_beiwe.sync.daily_counts import DailyIndex
from dagster_beiwe.sync.downloader import Downloader
from dagster_beiwe.sync.local_files import LocalFiles
from dagster_beiwe.sync.progress import Meter, Progress
from dagster_beiwe.sync.requests import FetchPolicy
from dagster_beiwe.sync.results import WindowReport, held_report
from dagster_beiwe.sync.study_run import StudyRun

_DEFAULT_POLICY = FetchPolicy()

_DOWNLOADS_DEPEND_ON = ("data_v2", "file_hashes")
"""What is asked of the server before the first download, at the same time."""


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
        chosen = begin(partial(self._client.choose_streams, self._lake.study_id, self._streams))
        probes = [begin(partial(self._client.supports, each, otherwise=False)) for each in _DOWNLOADS_DEPEND_ON]
        self._lake.log.begun()  # its key takes a tenth of a second, and so does each answer
        wait(probes)  # none of them is left if an error is raised
        streams = chosen.result()
        for probe in probes:
            probe.result()
        with (
            LakeWriter(self._lake, run_id=self._run_id, participants={cell.participant for cell in wanted}) as writer,
            closing(local) if local is not None else nullcontext(),
            Downloader(self._client, self._lake, writer, self._policy, on_bytes=meter.received) as downloader,
        ):
            if changed_only and self._daily:
                for report in _up_to_date(self._lake.at(), wanted, streams, self._daily):
                    wanted.remove(report.cell)
                    meter.committed(report)
                    yield report
            run = StudyRun(
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
            for report in run.sync(wanted):
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
