"""Windows that wait for those of other participants, so that they cost few records."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any
from zoneinfo import ZoneInfo

import core_helpers as core
import pytest
from object_helpers import MORNING, PEOPLE, S3, STUDY, cells_of, client_of, contents, leftovers, study_lake, sync, truth

from dagster_beiwe.errors import AccessDeniedError, WithdrawnError
from dagster_beiwe.lake import LakeWriter, StudyLake
from dagster_beiwe.lake.catalog.withdrawal import withdraw
from dagster_beiwe.lake.layout import Subject
from dagster_beiwe.lake.storage.object_store import ObjectStorage
from dagster_beiwe.lake.writer import Submitted
from dagster_beiwe.maintenance.purge import purge_participant
from dagster_beiwe.maintenance.verify import verify_study
from dagster_beiwe.simulator import SimulatedServer, World
from dagster_beiwe.simulator.answers import Answer
from dagster_beiwe.simulator.forms import Request
from dagster_beiwe.simulator.misbehavior import Delivery
from dagster_beiwe.sync import DailyIndex, FetchPolicy, StudySync, WindowReport, study_run
from dagster_beiwe.sync.study_run import StudyRun

ONE, OTHER = PEOPLE
ALL_WAIT = FetchPolicy(uncommitted_seconds=math.inf)


def before_first_download(server: SimulatedServer, participant: str, act: Callable[[], object]) -> None:
    """Something that happens elsewhere when a participant's turn begins."""
    respond, left = server.respond, [act]

    def respond_later(request: Request) -> tuple[Answer, Delivery]:
        asks = request.route.startswith("/get-data/") and any(participant in value for _, value in request.form)
        if asks and left:
            left.pop()()
        return respond(request)

    server.respond = respond_later  # type: ignore[method-assign]


@pytest.mark.parametrize(("seconds", "records"), [(math.inf, 1), (0, 2)], ids=["little work", "much work"])
def test_participants_share_a_record(
    s3: S3, url: str, world: World, server: SimulatedServer, *, seconds: float, records: int
) -> None:
    """Unless much work would be at stake: then they are committed at once."""
    study_lake(url).log.begun()
    s3.requests.clear()
    sync(server, study_lake(url), policy=FetchPolicy(uncommitted_seconds=seconds))
    created = {path for method, path in s3.requests if method == "PUT" and re.search(r"/log/\d+/(?!000)", path)}
    assert len(created) == records
    assert contents(study_lake(url)) == truth(world)


def test_what_waits_is_committed_before_an_error_ends_the_run(url: str, world: World, server: SimulatedServer) -> None:
    """And reported: one participant is whole when the server refuses the other."""
    lake, reports = study_lake(url), list[WindowReport]()
    refused = server.misbehave("status", route="/get-data*", participant=OTHER, status=403)
    with client_of(server.url, server.access_key, server.secret_key) as client, refused:
        run = StudySync(client, lake, run_id="r", policy=ALL_WAIT).run(cells_of(ONE, OTHER))
        with pytest.raises(AccessDeniedError):
            reports.extend(run)
    assert [report.cell.participant for report in reports] == [ONE, ONE]
    assert contents(lake) == truth(world, ONE)


def test_who_is_gone_meanwhile_is_not_taken_for_the_next(
    url: str, world: World, server: SimulatedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another run commits what waits, with newer data, and then the server does not find the participant any more."""
    lake, clock = study_lake(url), [0.0]
    monkeypatch.setattr(study_run, "monotonic", lambda: clock[0])

    def meanwhile() -> None:
        world.add_rows(ONE, "gps", MORNING)
        sync(server, study_lake(url), ONE)
        server.misbehave("status", route="/get-data*", participant=ONE, status=404)
        clock[0] = 100.0

    before_first_download(server, OTHER, meanwhile)
    reports = sync(server, lake)
    assert [report.cell for report in reports] == cells_of(ONE, OTHER)
    assert [(report.complete, report.participant_unknown) for report in reports] == [(False, False)] * 2 + [
        (True, False)
    ] * 2
    assert contents(study_lake(url)) == truth(world)


def purge(url: str) -> None:
    purge_participant(study_lake(url), ONE, run_id="purge")


def withdrawn(reports: Sequence[WindowReport]) -> list[bool]:
    """Which windows were refused, for good, because their participant was withdrawn; the others are complete."""
    for report in reports:
        assert report.complete != report.participant_withdrawn, report.failures
        assert not report.transient
    return [report.participant_withdrawn for report in reports]


def test_who_is_withdrawn_while_others_are_fetched_is_not_fetched_again(
    url: str, world: World, server: SimulatedServer
) -> None:
    """The run was done with the participant: it does not undo the withdrawal."""
    sync(server, study_lake(url), ONE)
    world.add_rows(ONE, "gps", MORNING)
    before_first_download(server, OTHER, lambda: purge(url))
    reports = sync(server, study_lake(url), policy=ALL_WAIT)
    assert withdrawn(reports) == [True, False, False, False]  # the second had nothing to commit
    assert contents(study_lake(url)) == truth(world, OTHER)


@pytest.mark.parametrize("look_after_seconds", [0.0, 60.0])
def test_who_is_withdrawn_between_two_requests_is_not_fetched_on(
    url: str, world: World, server: SimulatedServer, look_after_seconds: float
) -> None:
    """Whether the run sees it when it looks at the log, or only when it commits; others are fetched."""
    lake, reports = study_lake(url), list[WindowReport]()
    catalog = lake.log.begun()
    catalog.terms = replace(catalog.terms, look_after_seconds=look_after_seconds)
    with client_of(server.url, server.access_key, server.secret_key) as client:
        daily = DailyIndex.of(ZoneInfo("America/New_York"), client.summary_statistics(STUDY))
        policy = FetchPolicy(uncommitted_seconds=0, request_bytes=1)
        for report in StudySync(client, lake, run_id="r", policy=policy, daily=daily).run(cells_of(ONE, OTHER)):
            reports.append(report)
            if len(reports) == 1:
                purge(url)
                server.forget_requests()
    assert withdrawn(reports) == [False, True, False, False]
    assert not any(ONE in value for request in server.requests for _, value in request.form)
    assert contents(study_lake(url)) == truth(world, OTHER)


def test_who_is_withdrawn_while_a_window_is_synced_again_is_not_fetched_once_more(
    url: str, world: World, server: SimulatedServer
) -> None:
    """Another run has committed the window; while it is fetched again, the participant is withdrawn."""

    def meanwhile() -> None:
        world.add_rows(ONE, "gps", MORNING)
        sync(server, study_lake(url), ONE)
        before_first_download(server, ONE, lambda: purge(url))

    before_first_download(server, OTHER, meanwhile)
    assert withdrawn(sync(server, study_lake(url), policy=ALL_WAIT)) == [True, True, False, False]
    assert contents(study_lake(url)) == truth(world, OTHER)


def test_who_is_withdrawn_after_the_server_has_deleted_them_does_not_end_the_run(
    url: str, world: World, server: SimulatedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In this order a participant is removed."""
    sync(server, study_lake(url))
    server.misbehave("status", route="/get-data*", participant=ONE, status=404)

    commit, left = LakeWriter.commit, [purge]

    def commit_later(*arguments: Any) -> Submitted:
        if left:
            left.pop()(url)
        return commit(*arguments)

    monkeypatch.setattr(StudyRun, "_is_on_the_server", lambda run, participant: False)
    monkeypatch.setattr(LakeWriter, "commit", commit_later)
    assert withdrawn(sync(server, study_lake(url))) == [True, True, False, False]
    assert contents(study_lake(url)) == truth(world, OTHER)


def test_an_error_that_ends_the_run_is_raised_whatever_becomes_of_what_waits(url: str, server: SimulatedServer) -> None:
    """Another run has committed it, and nothing is fetched again for that."""
    before_first_download(server, OTHER, lambda: sync(server, study_lake(url), ONE))
    refused = server.misbehave("status", route="/get-data*", participant=OTHER, status=403)
    reports = list[WindowReport]()
    with client_of(server.url, server.access_key, server.secret_key) as client, refused:
        run = StudySync(client, study_lake(url), run_id="r", policy=ALL_WAIT).run(cells_of(ONE, OTHER))
        with pytest.raises(AccessDeniedError):
            reports.extend(run)
    assert [(report.cell.participant, report.complete) for report in reports] == [(ONE, False)] * 2


def test_nothing_that_waits_is_committed_of_somebody_who_is_withdrawn(url: str) -> None:
    """Neither under the old token nor under one that the participant gets next."""
    lake, elsewhere = (StudyLake(ObjectStorage(url), core.STUDY, passphrase=None, cipher=None) for _ in range(2))
    core.commit(lake, {1: b"old"}, participant=ONE)
    with LakeWriter(lake, run_id="r", participants=PEOPLE) as writer:
        commits = []
        for person in PEOPLE:
            plan = writer.plan(person, [core.week()])
            file = core.stage(writer, lake, b"new", hours=2, participant=person)
            commits.append(writer.commit(plan, core.commit_request(participant=person), [file]))
            if person == ONE:
                withdraw(elsewhere.log.begun(), [Subject(ONE)], run_id="withdrawal")
                lake.log.begun().refresh()
        with pytest.raises(WithdrawnError):
            core.stage(writer, lake, b"new", hours=3, participant=ONE)
        writer.flush()
        with pytest.raises(WithdrawnError):
            commits[0].record()
        assert commits[1].record()
    assert lake.participants() == [OTHER]
    assert verify_study(lake).intact
    assert leftovers(lake) == []
