"""The audit: compare the contents of the lake with the server's by hash, part of them each day.

If a file is restated with other content of the same size, byte counts do not change, and neither the sensor nor
``complete`` sees it. The audit is a job with one step and not a run of ``raw_data``, for which Dagster would plan an
event per window, tens of thousands a month, and show all windows of a failed run as failed. Only restated windows are
recorded.
"""

# Without `from __future__ import annotations`: Dagster reads the types of contexts when it decorates.

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from itertools import groupby

import dagster as dg

from dagster_beiwe.assets.provenance import raw_provenance
from dagster_beiwe.assets.study_asset import DEFAULT_OPTIONS, AssetOptions
from dagster_beiwe.assets.window_events import errors_of, log_failures, log_oddities, window_metadata
from dagster_beiwe.cells import Cell, CellKey
from dagster_beiwe.client import BeiweClient
from dagster_beiwe.errors import CommitConflictError
from dagster_beiwe.lake import StudyLake
from dagster_beiwe.lake.collecting import collect
from dagster_beiwe.partitions.definitions import participants_name, study_windows
from dagster_beiwe.partitions.events import partition_event
from dagster_beiwe.resource import resource_of
from dagster_beiwe.runs.dagster_private import HIDDEN_TAG_PREFIX
from dagster_beiwe.runs.remembered_heads import remembered_heads
from dagster_beiwe.runs.traffic import traffic_of, traffic_tags
from dagster_beiwe.studies.server_counts import counts_for_cells
from dagster_beiwe.studies.study import Study
from dagster_beiwe.sync import Compared, DailyIndex, FetchPolicy, StudySync, WindowReport
from dagster_beiwe.sync.audit import Budget, Taken, beginning_at, due_windows
from dagster_beiwe.text import error_in_words, listed

AUDIT_TAG = f"{HIDDEN_TAG_PREFIX}beiwe_audit"
"""Tag of every run of the audit: the study's id."""

NEXT_TAG = f"{HIDDEN_TAG_PREFIX}beiwe_audit_next"
"""Tag that a run sets on itself: the window that the next run begins with."""

_RUNS_SEEN = 50
"""Earlier runs of the audit that are read: one a day, and those started by hand."""


def build_audit_job(study: Study, options: AssetOptions = DEFAULT_OPTIONS) -> dg.JobDefinition:
    """``<key>_audit``: compares the windows that are due, within the day's budget, and fetches those that differ.

    Each window is noted in the lake the moment it is compared, so a run that dies can simply be started again.
    """

    @dg.op(
        name=f"{study.key}_compare_contents",
        ins={},
        out=dg.Out(dg.Nothing),
        required_resource_keys={study.config.deployment},
        pool=options.pool,
        description=f"Compares windows of {study.title} with the server by hash, and fetches those that differ.",
    )
    def compare_contents(context: dg.OpExecutionContext) -> None:
        audit = _Audit(context, study, options)
        options.retried(audit.run, context.log)

    @dg.job(
        name=f"{study.key}_audit",
        tags={AUDIT_TAG: study.id},
        description=(
            f"Compares the contents of {study.title} in the lake with the server's by hash: each window every "
            f"{study.config.audit_days} days, new ones daily. Equal windows are noted in the lake, not in Dagster."
        ),
    )
    def audit() -> None:
        compare_contents()

    return audit


@dataclass(frozen=True)
class _Earlier:
    """What earlier runs left: what those of today took of the budget, and the window to begin with."""

    taken: Taken
    next: CellKey


def _earlier_runs(instance: dg.DagsterInstance, study: Study, *, but: str, now: datetime) -> _Earlier:
    records = instance.get_run_records(filters=dg.RunsFilter(tags={AUDIT_TAG: study.id}), limit=_RUNS_SEEN)
    others = [record for record in records if record.dagster_run.run_id != but]
    taken = Taken()
    for record in others:
        if record.create_timestamp.astimezone(timezone.utc).date() == now.date():
            taken += traffic_of(record.dagster_run.tags)
    places = (record.dagster_run.tags[NEXT_TAG] for record in others if NEXT_TAG in record.dagster_run.tags)
    return _Earlier(taken, CellKey.parse(next(places, "")))


class _Audit:
    """One run. Another ``run`` continues with the windows that are still due and the rest of the budget."""

    def __init__(self, context: dg.OpExecutionContext, study: Study, options: AssetOptions) -> None:
        self._context, self._study = context, study
        self._provenance = raw_provenance(context.instance, study, "raw_data", options, run_id=context.run_id)
        self._now = datetime.now(timezone.utc)
        self._earlier = _earlier_runs(context.instance, study, but=context.run_id, now=self._now)
        self._taken = Taken()
        self._next: Cell | None = None
        self._equal: list[Cell] = []
        self._restated: list[Cell] = []
        self._failed: dict[str, str] = {}
        self._transient = False

    def run(self) -> None:
        self._failed.clear()
        self._transient = False
        resource = resource_of(self._context, self._study)
        lake = resource.study_lake(self._study)
        lake.log.check(remembered_heads(self._context.instance, self._study))
        with resource.get_client() as client:
            budget = Budget(self._study.config.audit, client.traffic, taken=self._earlier.taken + self._taken)
            try:
                self._compare(client, lake, budget)
            finally:
                self._taken += Taken.of(client.traffic)
                self._note()
        self._collect(lake)
        if self._failed:
            raise self._failure()

    def _collect(self, lake: StudyLake) -> None:
        """Remove files that no kept version names from the lake, once a day."""
        catalog = lake.catalog()
        if catalog is None:
            return
        try:
            collected = collect(catalog, keep_days=lake.keep_superseded_days, run_id=self._context.run_id)
        except CommitConflictError:  # on a local disk, while a run writes: the next audit does it
            return
        if collected.files:
            self._context.log.info(
                "Collected %d superseded versions: %d files, %d bytes.",
                collected.versions,
                collected.files,
                collected.size_bytes,
            )

    def _compare(self, client: BeiweClient, lake: StudyLake, budget: Budget) -> None:
        cells = self._due(client, lake)
        done = 0
        sync = self._sync(client, lake)
        with closing(sync.compare(self._hand_out(cells), go_on=budget.is_left)) as found:
            for _, own in groupby(found, key=lambda each: each.cell.participant):
                results = list(own)
                done += len(results)
                for each in results:
                    self._take(each)
                wanted = [each.cell for each in results if each.outcome in ("different", "unsupported")]
                if left := self._fetch(client, lake, wanted, budget):
                    self._next = left
                    break
            else:
                self._next = cells[done] if done < len(cells) else None
        self._context.log.info(
            "%d windows are equal, %d were restated, %d failed. %d of %d due windows were compared.",
            len(self._equal),
            len(self._restated),
            len(self._failed),
            done,
            len(cells),
        )

    def _due(self, client: BeiweClient, lake: StudyLake) -> list[Cell]:
        """Due windows of participants on the server, beginning where the last run ended."""
        windows = study_windows(self._study, now=self._now)
        policy = self._study.config.audit
        if not client.supports("file_hashes", otherwise=False):
            policy = replace(policy, recent_days=0)  # downloading the newest windows each day is too much
        on_server = set(client.participants(self._study.id))
        order = self._context.instance.get_dynamic_partitions(participants_name(self._study.id))
        cells = []
        lake = lake.at()
        for participant in filter(on_server.intersection(lake.participants(skip_damaged=True)).__contains__, order):
            due = due_windows(participant, windows, lake.index(participant), policy=policy, now=self._now)
            cells += [Cell(participant, window) for window in due]
        return beginning_at(cells, self._earlier.next, order=order)

    def _hand_out(self, cells: Sequence[Cell]) -> Iterator[Cell]:
        """The cells. If one makes the run fail, the next run begins with the one after it."""
        for cell in cells:
            self._next = cell
            yield cell
        self._next = None

    def _take(self, found: Compared) -> None:
        if found.outcome == "equal":
            self._equal.append(found.cell)
        elif found.outcome == "failed":
            self._context.log.error("%s: %s: %s", found.cell.key, found.error, found.message)
            self._failed[str(found.cell.key)] = error_in_words(found.error)
            self._transient |= found.transient

    def _fetch(self, client: BeiweClient, lake: StudyLake, cells: Sequence[Cell], budget: Budget) -> Cell | None:
        """Fetch windows of a participant while the budget lasts, at least one. Returns the first that must wait."""
        if not cells:
            return None
        daily = counts_for_cells(client, self._study, self._context.instance, cells, self._context.run.tags)
        left = list(cells)
        with closing(self._sync(client, lake, daily=daily).run(cells)) as reports:
            for report in reports:
                left.remove(report.cell)
                self._record(report, lake)
                if left and not budget.is_left():
                    return left[0]
        return None

    def _record(self, report: WindowReport, lake: StudyLake) -> None:
        log_oddities(report, self._context.log)
        if not report.complete:
            log_failures(report, self._context.log)
            self._failed[str(report.cell.key)] = errors_of([report])
            self._transient |= report.transient
        elif report.changes_anything:
            self._restated.append(report.cell)
            self._context.log_event(
                partition_event(
                    self._study.asset_key("raw_data"),
                    report.cell.key,
                    metadata=window_metadata(report, lake),
                    version=report.data_version,
                    tags=self._provenance,
                )
            )
        else:
            self._equal.append(report.cell)

    def _sync(self, client: BeiweClient, lake: StudyLake, *, daily: DailyIndex | None = None) -> StudySync:
        return StudySync(
            client,
            lake,
            streams=self._study.config.streams,
            run_id=self._context.run_id,
            policy=FetchPolicy(remove_deleted_upstream=self._study.config.remove_deleted_upstream),
            daily=daily,
        )

    def _note(self) -> None:
        """Set the run's tags: what it took of the budget, and where the next run begins."""
        tags = {**traffic_tags(self._taken), NEXT_TAG: str(self._next.key) if self._next else ""}
        self._context.instance.add_run_tags(self._context.run_id, tags)

    def _failure(self) -> dg.Failure:
        errors = sorted(set(self._failed.values()))
        return dg.Failure(
            description=(
                f"{len(self._failed)} windows could not be compared or fetched ({', '.join(errors)}). They stay due; "
                f"the others are noted. See the run's log: {listed(sorted(self._failed))}"
            ),
            metadata={"failed": len(self._failed)},
            allow_retries=self._transient,
        )
