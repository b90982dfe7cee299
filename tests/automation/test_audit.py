"""The audit: which windows it compares, what it records, and what it takes."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from itertools import product
from typing import Any

import dagster as dg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from labs import PARTICIPANTS, WEEKS, Lab, day_of_week, moment, values, version, world_of

from dagster_beiwe import StudyConfig
from dagster_beiwe.automation.audit import NEXT_TAG
from dagster_beiwe.cells import CellKey
from dagster_beiwe.errors import ConfigurationError
from dagster_beiwe.lake.catalog import collector
from dagster_beiwe.lake.writer import LakeWriter
from dagster_beiwe.runs.traffic import traffic_of
from dagster_beiwe.sync import Cell
from dagster_beiwe.sync.audit import AuditPolicy, beginning_at, due_windows
from dagster_beiwe.windows import windows_between

ANNA, BERT, CLEO = PARTICIPANTS
DAY = timedelta(days=1)
FIRST_DAY = datetime(2026, 1, 5, 6, tzinfo=timezone.utc)
WINDOWS = list(windows_between("weekly", FIRST_DAY, FIRST_DAY + 84 * DAY))


def restate(lab: Lab, participant: str, week: int, *, day: int = 2) -> None:
    """Other content of the same size."""
    hour = moment(day_of_week(week, day))
    content = lab.world.file(participant, "gps", hour).read()
    lab.world.set_content(participant, "gps", hour, content[:-1] + (b"8" if content[-1:] == b"7" else b"7"))


def compared(lab: Lab) -> dict[str, datetime | None]:
    held = {f"{one}|{week}": version.compared for one in PARTICIPANTS for week, version in lab.lake.index(one).items()}
    return {key: datetime.fromtimestamp(at, timezone.utc) if at else None for key, at in held.items()}


def forget(lab: Lab, *keys: str, days: int = 100) -> None:
    """As if windows (all, if none is named) had been compared long ago."""
    note(lab, *keys, at=datetime.now(timezone.utc) - days * DAY)


def note(lab: Lab, *keys: str, at: datetime) -> None:
    with LakeWriter(lab.lake, run_id="long ago") as writer:
        for one in PARTICIPANTS:
            held = lab.lake.index(one).items()
            windows = [(key, each.at) for key, each in held if not keys or f"{one}|{key}" in keys]
            writer.note_compared(one, windows, at=at)


def recorded(result: dg.ExecuteInProcessResult) -> list[str]:
    events = [event for event in result.all_events if event.is_step_materialization]
    return sorted(str(event.partition) for event in events)


def tags(lab: Lab, result: dg.ExecuteInProcessResult) -> dict[str, str]:
    run = lab.instance.get_run_by_id(result.run_id)
    assert run
    return dict(run.tags)


def downloads(lab: Lab) -> int:
    return sum(1 for request in lab.server.requests if "get-data/" in request.route and request.form)


# What `complete` knows


def test_complete_says_what_it_knows_of_contents(lab: Lab) -> None:
    """Sizes that agree are no proof: it tells when contents were compared, and of how many windows they never were."""
    lab.backfill()
    passed = lab.check("complete")
    assert passed.passed
    assert re.fullmatch(
        r"Sizes agree on every day\. Contents compared up to [-0-9: ]{16} UTC\.", passed.description or ""
    )
    assert values(passed)["windows never compared"] == 0
    forget(lab, f"{BERT}|{WEEKS[0]}", days=40)
    month_ago = (datetime.now(timezone.utc) - 40 * DAY).date().isoformat()
    assert f"Contents compared up to {month_ago} " in (lab.check("complete").description or "")
    for one, text in (
        (ANNA, "; 4 windows were never compared."),
        (BERT, "; 8 windows"),
        (CLEO, "Contents were never comp"),
    ):
        note(lab, *(f"{one}|{week}" for week in WEEKS), at=datetime.fromtimestamp(0, timezone.utc))
        assert text in (lab.check("complete").description or "")
    lab.world.add_rows(ANNA, "gps", moment(day_of_week(1)))
    assert (lab.check("complete").description or "").startswith("1 day of a stream is incomplete. Contents were never")


# What is due


@settings(deadline=None, max_examples=10)
@given(
    days=st.integers(1, 40),
    people=st.lists(st.text("abcdef123456789", min_size=8, max_size=8), min_size=1, max_size=5, unique=True),
    late=st.integers(0, 5),
)
def test_every_window_is_compared_often_enough(days: int, people: list[str], late: int) -> None:
    """At least every so many days, new ones daily, whenever a day's audit begins."""
    policy = AuditPolicy(days=days)
    at = {(one, window.key): FIRST_DAY for one in people for window in WINDOWS}
    for day in range(1, 2 * days + 2):
        now = FIRST_DAY + 84 * DAY + day * DAY + timedelta(hours=(day * late) % 6)
        for one in people:
            index = {window.key: version(compared=int(at[one, window.key].timestamp())) for window in WINDOWS}
            for window in due_windows(one, WINDOWS, index, policy=policy, now=now):
                at[one, window.key] = now
        for one, window in product(people, WINDOWS):
            recent = window.end > now - policy.recent_days * DAY
            if recent or day > days:
                assert now - at[one, window.key] <= (DAY if recent else days * DAY) + timedelta(hours=6)


def test_old_windows_are_due_on_days_of_their_own() -> None:
    """Whoever has a turn has it for all windows at once; no day has twice the work of another."""
    people = [f"person{number}" for number in range(3_000)]
    index = {window.key: version(compared=int((FIRST_DAY + 500 * DAY).timestamp())) for window in WINDOWS}
    now = FIRST_DAY + 501 * DAY
    due = [len(due_windows(one, WINDOWS, index, policy=AuditPolicy(), now=now)) for one in people]
    assert set(due) == {0, len(WINDOWS)}
    assert 50 < sum(map(bool, due)) < 200


def test_what_was_never_compared_is_due_at_once_and_what_was_never_fetched_is_not() -> None:
    """Unless the audit is off."""
    index = {WINDOWS[0].key: version()}
    now = FIRST_DAY + 500 * DAY
    assert due_windows(ANNA, WINDOWS, index, policy=AuditPolicy(), now=now) == WINDOWS[:1]
    assert due_windows(ANNA, WINDOWS, index, policy=AuditPolicy(days=0), now=now) == []


@given(taken=st.integers(1, 7), failing=st.sets(st.integers(0, 11)))
def test_windows_that_fail_do_not_keep_others_from_their_turn(taken: int, failing: set[int]) -> None:
    """With too little budget, everything was tried before anything is tried twice."""
    cells = [Cell(one, window) for one in PARTICIPANTS for window in WINDOWS[:4]]
    due, tried, place = list(cells), list[Cell](), CellKey("", "")
    for _ in range(-(-len(cells) // taken)):
        order = beginning_at(due, place, order=PARTICIPANTS)
        tried += order[:taken]
        rest = order[taken:]
        place = CellKey(rest[0].participant, rest[0].window.key) if rest else CellKey("", "")
        due = [cell for cell in due if cell not in order[:taken] or cells.index(cell) in failing]
    assert set(tried) == set(cells)


# A run


def test_the_audit_finds_records_and_fetches_what_has_the_same_size(lab: Lab) -> None:
    """One window of twelve: it alone is recorded, and what is downstream of it becomes stale."""
    lab.backfill()
    version = lab.lake.manifest(BERT, WEEKS[0]).data_version  # type: ignore[union-attr]
    restate(lab, BERT, 0)
    assert lab.follow() == []
    assert lab.check("complete").passed
    forget(lab)
    result = lab.audit()
    assert result.success
    assert recorded(result) == [f"{BERT}|{WEEKS[0]}"]
    event = lab.instance.get_latest_materialization_event(lab.key("raw_data"))
    assert event
    assert event.asset_materialization
    assert (event.asset_materialization.tags or {})["dagster/data_version"] != version
    assert "1 changed (" in str(event.asset_materialization.metadata["changes"].value)
    assert lab.table("restatements")["participant"].tolist() == [BERT]
    assert recorded(lab.audit()) == []
    assert lab.follow() == []


def test_an_audit_that_finds_nothing_records_nothing(lab: Lab) -> None:
    """One request for each participant, and no event about any partition, planned or done."""
    lab.backfill()
    forget(lab)
    began = datetime.now(timezone.utc).replace(microsecond=0)
    lab.server.forget_requests()
    result = lab.audit()
    assert result.success
    assert downloads(lab) == len(PARTICIPANTS)
    assert [event for event in result.all_events if "ASSET" in str(event.event_type_value)] == []
    assert all(at and at >= began for at in compared(lab).values())
    lab.server.forget_requests()
    assert lab.audit().success
    assert downloads(lab) == 0


def test_an_audit_collects_what_is_superseded(open_lab: Callable[..., Lab], monkeypatch: pytest.MonkeyPatch) -> None:
    """Once a day, however old the last version is that is kept; what is current stays."""
    lab = open_lab(keep_superseded_days=0)
    lab.backfill()
    restate(lab, BERT, 0)
    forget(lab, f"{BERT}|{WEEKS[0]}")
    assert lab.audit().success
    assert len(lab.lake.versions(BERT)[WEEKS[0]]) == 2
    monkeypatch.setattr(collector, "_HOUR", 0.0)
    assert lab.audit().success
    assert len(lab.lake.versions(BERT)[WEEKS[0]]) == 1
    assert lab.check("intact", verify_share=1.0).passed


def test_a_budget_ends_an_audit_and_the_next_day_goes_on(open_lab: Callable[..., Lab]) -> None:
    """A run takes what the day has left; the one after it begins with whom this one did not come to."""
    lab = open_lab(audit_requests=7)
    lab.backfill()
    forget(lab)
    first = lab.audit()
    taken = tags(lab, first)
    assert 7 <= traffic_of(taken).requests <= 8
    assert traffic_of(taken).size_bytes > 1000
    assert re.fullmatch(r"[78] requests, \d+\.\d kB", taken["traffic"])
    done = {key for key, at in compared(lab).items() if at and datetime.now(timezone.utc) - at < DAY}
    assert 0 < len(done) < 12
    assert taken[NEXT_TAG] == min(set(compared(lab)) - done)
    lab.server.forget_requests()
    second = lab.audit()  # on the same day: nothing is left
    assert downloads(lab) == 0
    assert tags(lab, second)[NEXT_TAG] == taken[NEXT_TAG]


def test_a_server_that_fails_leaves_windows_due(lab: Lab) -> None:
    """The run says which, and fails; nothing in the lake changes, and nobody's partition is shown as failed."""
    lab.backfill()
    forget(lab)
    before = {one: list(lab.lake.manifests(one)) for one in PARTICIPANTS}
    with lab.server.misbehave("status", status=500, route="/get-data/*", participant=BERT):
        result = lab.audit()
    assert not result.success
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    message = failure.step_failure_data.user_failure_data.description  # type: ignore[union-attr]
    held = [each.window for each in before[BERT] if each.files]  # a week that has just begun may have none
    assert f"{len(held)} windows could not be compared or fetched (server failed)" in str(message)
    assert len(held) in (3, 4)
    assert f"{BERT}|{WEEKS[0]}" in str(message)
    assert {one: list(lab.lake.manifests(one)) for one in PARTICIPANTS} == before
    assert lab.audit().success


def test_a_manifest_that_can_not_be_trusted_keeps_nobody_from_being_compared(lab: Lab) -> None:
    """It is named, as `intact` names it."""
    lab.backfill()
    forget(lab)
    lab.damage_manifest(ANNA, WEEKS[1])
    assert not lab.audit().success
    old = [key for key, at in compared(lab).items() if at and datetime.now(timezone.utc) - at > DAY]
    assert old == [f"{ANNA}|{WEEKS[1]}"]


def test_who_is_gone_from_the_server_is_left_alone(lab: Lab) -> None:
    """That is for the roster to tell; nothing is marked because of the audit, and `complete` tells of the others."""
    lab.backfill()
    forget(lab)
    del lab.world.study(lab.study.id).participants[CLEO]
    assert lab.audit().success
    manifest = lab.lake.manifest(CLEO, WEEKS[0])
    assert manifest
    assert all(record.present for record in manifest.files)
    today = datetime.now(timezone.utc).date().isoformat()
    assert f"Contents compared up to {today}" in (lab.check("complete").description or "")


def test_an_older_server_sends_windows_again_within_the_budget(open_lab: Callable[..., Lab]) -> None:
    """What was restated is found and recorded; the next run goes on with the window after it."""
    lab = open_lab(world_of(ANNA), profile="2025-11", audit_requests=6)
    lab.backfill()
    restate(lab, ANNA, 0)
    forget(lab)
    first = lab.audit()
    assert recorded(first) == [f"{ANNA}|{WEEKS[0]}"]
    assert tags(lab, first)[NEXT_TAG] == f"{ANNA}|{WEEKS[1]}"


@pytest.mark.parametrize(("profile", "requests"), [("2026-03", 1), ("2025-11", 0)])
def test_new_windows_are_compared_daily_where_that_is_cheap(
    open_lab: Callable[..., Lab], profile: str, requests: int
) -> None:
    """An older server would send them again each day."""
    lab = open_lab(world_of(ANNA), profile=profile, audit_days=3650)
    lab.backfill()
    forget(lab, days=2)
    lab.server.forget_requests()
    assert lab.audit().success
    assert downloads(lab) == requests


def test_an_incomplete_window_is_left_to_the_sensor(lab: Lab) -> None:
    """It is no window that the audit could compare."""
    lab.enrol()
    hour = moment(day_of_week(1))
    with lab.server.misbehave(
        "poisoned_hour", participant=ANNA, stream="gps", start=hour, end=hour + timedelta(hours=1)
    ):
        lab.follow()
    assert recorded(lab.audit()) == []
    assert compared(lab)[f"{ANNA}|{WEEKS[1]}"] is None


@pytest.mark.parametrize("wrong", [{"audit_days": -1}, {"audit_days": 4000}, {"audit_requests": 0}, {"audit_bytes": 0}])
def test_numbers_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    """By name, when the project loads."""
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        StudyConfig("Sleep and Mood", **wrong)
