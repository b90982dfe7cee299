"""raw_data: every way to launch it, what it records, and how it goes on after failures."""

from __future__ import annotations

import json
import logging
import re
import shutil
from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.errors import DagsterExecutionInterruptedError
from raw_data_runs import Launcher, failure_of, grid
from worlds import PASSPHRASE, START, WEEKS

from dagster_beiwe import BeiweResource, EnvCredentials
from dagster_beiwe.errors import ConfigurationError, WithdrawnError
from dagster_beiwe.lake import LakeWriter
from dagster_beiwe.lake.catalog.records import Head
from dagster_beiwe.lake.writer import Plan
from dagster_beiwe.partitions.definitions import participants_name
from dagster_beiwe.partitions.run_keys import MOVED_ONLY, REFRESH_TAG, rectangle_tags
from dagster_beiwe.runs.remembered_heads import seen_in
from dagster_beiwe.runs.traffic import traffic_of
from dagster_beiwe.simulator import SimulatedServer
from dagster_beiwe.simulator.profiles import Profile
from dagster_beiwe.studies.study import Study
from dagster_beiwe.text import human_size
from dagster_beiwe.windows import Window


@pytest.fixture
def participants(study: Study, server: SimulatedServer, instance: dg.DagsterInstance) -> list[str]:
    """The study's participants, already made partitions."""
    ids = sorted(server.world.study(study.id).participants)
    instance.add_dynamic_partitions(participants_name(study.id), ids)
    return ids


@pytest.fixture
def launcher(study: Study, participants: list[str], instance: dg.DagsterInstance) -> Launcher:
    return Launcher(study, instance)


def test_a_single_partition(launcher: Launcher, participants: list[str]) -> None:
    """Clicking one cell of the grid materialises that one."""
    run = launcher.run({"dagster/partition": f"{participants[1]}|{WEEKS[1]}"})
    assert run.is_success
    assert set(launcher.events(run)) == grid([participants[1]], [WEEKS[1]])
    assert (run.tags["participants"], run.tags["windows"]) == (participants[1], WEEKS[1])


def test_a_range_along_windows(launcher: Launcher, participants: list[str]) -> None:
    """A backfill of one participant's windows is one run."""
    run = launcher.run(rectangle_tags(participants[:1], WEEKS))
    assert set(launcher.events(run)) == grid(participants[:1], WEEKS)


def test_a_rectangle(launcher: Launcher, participants: list[str]) -> None:
    """The schedule's runs cover neighboring participants by consecutive windows."""
    run = launcher.run(rectangle_tags(participants[:2], WEEKS[1:3]))
    assert set(launcher.events(run)) == grid(participants[:2], WEEKS[1:3])


def test_a_backfill_from_a_job(launcher: Launcher, participants: list[str]) -> None:
    """Dagster 1.13 leaves tags of the first key on such runs; the range counts nevertheless."""
    first = {"dagster/partition/participant": participants[0], "dagster/partition/window": WEEKS[0]}
    run = launcher.run({**rectangle_tags(participants, WEEKS[:2]), **first})
    assert set(launcher.events(run)) == grid(participants, WEEKS[:2])


def test_each_partition_has_its_own_numbers_and_version(launcher: Launcher, participants: list[str]) -> None:
    """Small metadata, a version made from content, and the tags by which Dagster finds a dimension."""
    events = launcher.events(launcher.run(rectangle_tags(participants[:1], WEEKS)))
    week = events[f"{participants[0]}|{WEEKS[1]}"]
    assert week.tags is not None
    assert week.tags["dagster/partition/window"] == WEEKS[1]
    assert len({(event.tags or {})["dagster/data_version"] for event in events.values()}) > 1
    assert week.metadata["files"].value == 14
    assert re.fullmatch(
        r"\| stream \| files \| size \|\n\|---\|--:\|--:\|\n"
        r"\| gps \| 7 \| \d+\.\d kB \|\n\| power_state \| 7 \| \d+(\.\d k| )B \|",
        str(week.metadata["streams"].value),
    )
    assert str(week.metadata["changes"].value).startswith("14 added (")
    assert week.metadata["window"].value == f"{WEEKS[1]} to {START + timedelta(days=13)} (UTC)"
    assert "dagster/size_bytes" not in week.metadata  # Dagster would show that of the last window as the asset's
    assert len(json.dumps({name: str(value.value) for name, value in week.metadata.items()})) < 1000


def test_dagster_remembers_the_log(launcher: Launcher, participants: list[str], study: Study) -> None:
    """A record's number and hash that are in it, with each partition."""
    events = launcher.events(launcher.run(rectangle_tags(participants[:1], WEEKS[:2])))
    heads = [Head(seen.number, seen.digest) for event in events.values() if (seen := seen_in(event.metadata))]
    lake = BeiweResource(credentials=EnvCredentials()).study_lake(study)
    catalog = lake.catalog()
    assert catalog
    assert len(heads) == 2
    assert all(catalog.knows(head) for head in heads)
    assert lake.state.head in heads
    assert seen_in({}) is None


def test_a_run_does_not_go_on_in_a_lake_that_was_put_back(
    launcher: Launcher, participants: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The witness remembers what the lake has lost."""
    monkeypatch.setenv("BEIWE_WITNESS", str(tmp_path / "witness"))
    assert launcher.run(rectangle_tags(participants[:1], WEEKS[:1])).is_success
    shutil.copytree(tmp_path / "lake", tmp_path / "older")
    assert launcher.run(rectangle_tags(participants[:1], WEEKS[1:2])).is_success
    shutil.rmtree(tmp_path / "lake")
    shutil.copytree(tmp_path / "older", tmp_path / "lake")
    run = launcher.run(rectangle_tags(participants[:1], WEEKS[1:2]))
    assert not run.is_success
    assert "was cut or rolled back" in failure_of(launcher, run)


def test_settings_of_the_lake_travel(
    server: SimulatedServer, study: Study, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """From the study's configuration and from the environment; a witness in the lake itself is refused."""
    resource = BeiweResource(credentials=EnvCredentials(), witness_variable="LAB_WITNESS")
    assert resource.get_lake().witness is None
    monkeypatch.setenv("LAB_WITNESS", str(tmp_path / "witness"))
    lake = resource.study_lake(replace(study, config=study.config.model_copy(update={"keep_superseded_days": 7})))
    assert lake.keep_superseded_days == 7
    assert (witness := resource.get_lake().witness)
    assert witness.describe() == str(tmp_path / "witness")
    monkeypatch.setenv("LAB_WITNESS", str(tmp_path / "lake" / "witness"))
    with pytest.raises(ConfigurationError, match="is in the lake that it watches"):
        resource.get_lake()


def test_unchanged_data_keep_their_version(launcher: Launcher, participants: list[str]) -> None:
    """What is downstream stays fresh when nothing changed on the server."""
    tags = rectangle_tags(participants[:1], WEEKS[:2])
    first, second = (launcher.events(launcher.run(tags)) for _ in range(2))
    for key, event in first.items():
        assert (event.tags or {})["dagster/data_version"] == (second[key].tags or {})["dagster/data_version"]


def test_a_refresh_of_what_moved_records_the_rest_without_asking(
    launcher: Launcher, participants: list[str], server: SimulatedServer
) -> None:
    """Windows with the counts of their commit keep their version and are in nobody's download."""
    tags = rectangle_tags(participants, WEEKS[:2])
    first = launcher.events(launcher.run(tags))
    late = server.world.files(next(iter(server.world.studies)), participants=participants[:1], streams=["gps"])[0]
    server.world.add_rows(participants[0], "gps", late.bin)
    server.forget_requests()
    second = launcher.events(launcher.run({**tags, REFRESH_TAG: MOVED_ONLY}))
    assert sum("get-data" in record.route and bool(record.form) for record in server.requests) == 1
    versions = [
        {key: (event.tags or {})["dagster/data_version"] for key, event in one.items()} for one in (first, second)
    ]
    assert {key for key in versions[0] if versions[0][key] != versions[1][key]} == {f"{participants[0]}|{WEEKS[0]}"}
    assert str(second[f"{participants[1]}|{WEEKS[0]}"].metadata["changes"].value).startswith("14 unchanged (")


def test_a_run_says_what_it_is_about_and_what_it_took(
    launcher: Launcher, participants: list[str], server: SimulatedServer
) -> None:
    """In tags that can be read in the list of runs; requests are not those of one window, so they are on none."""
    server.forget_requests()
    run = launcher.run(rectangle_tags(participants, WEEKS[:2]))
    assert run.tags["participants"] == f"3: {participants[0]} to {participants[-1]}"
    assert run.tags["windows"] == f"2: {WEEKS[0]} to {WEEKS[1]}"
    taken = traffic_of(run.tags)
    assert taken.requests == len(server.requests)
    assert run.tags["traffic"] == f"{taken.requests} requests, {human_size(taken.size_bytes)}"
    server.misbehave("status", route="/get-data/*", participant=participants[1], status=500)
    assert traffic_of(launcher.run(rectangle_tags(participants, WEEKS[:2])).tags).requests > 0


def test_a_window_without_data_is_a_success(launcher: Launcher, study: Study, server: SimulatedServer) -> None:
    """A participant who never registered a phone: zero files, recorded."""
    from dagster_beiwe.simulator import ParticipantPlan

    newcomer = server.world.add_participant(study.id, ParticipantPlan(os=""))
    launcher.instance.add_dynamic_partitions(participants_name(study.id), [newcomer])
    run = launcher.run({"dagster/partition": f"{newcomer}|{WEEKS[0]}"})
    assert run.is_success
    assert launcher.events(run)[f"{newcomer}|{WEEKS[0]}"].metadata["files"].value == 0


def test_one_bad_participant_does_not_stop_the_others(
    launcher: Launcher, participants: list[str], server: SimulatedServer
) -> None:
    """The good ones are recorded; the run fails and names the bad ones, ready to paste, and nothing else."""
    server.misbehave("status", route="/get-data/*", participant=participants[1], status=500)
    run = launcher.run(rectangle_tags(participants, WEEKS[:2]))
    assert run.is_failure
    assert set(launcher.events(run)) == grid([participants[0], participants[2]], WEEKS[:2])
    text = failure_of(launcher, run)
    assert text.endswith(f": {participants[1]}|{WEEKS[0]}, {participants[1]}|{WEEKS[1]}")
    assert participants[0] not in text


def test_a_participant_who_is_gone_does_not_fail_the_others(
    launcher: Launcher, participants: list[str], server: SimulatedServer, study: Study
) -> None:
    """Data and history stay; the windows are recorded with what was deleted, and the run warns."""
    tags = rectangle_tags(participants, WEEKS[:2])
    before = launcher.events(launcher.run(tags))
    del server.world.study(study.id).participants[participants[1]]
    run = launcher.run(tags)
    assert run.is_success
    events = launcher.events(run)
    gone = {key for key, event in events.items() if "notes" in event.metadata}
    assert gone == grid(participants[1:2], WEEKS[:2])
    for key in gone:
        assert events[key].metadata["notes"].value == "The participant is no longer on the server."
        added = str(before[key].metadata["changes"].value)
        assert events[key].metadata["changes"].value == added.replace("added", "deleted upstream")
    other = events[f"{participants[0]}|{WEEKS[0]}"].metadata
    size = other["size_bytes"].value
    assert isinstance(size, int)
    assert other["changes"].value == f"14 unchanged ({human_size(size)})"
    logs = [log.user_message for log in launcher.instance.all_logs(run.run_id)]
    assert sum(f"{participants[1]} is no longer on the server" in text for text in logs) == 1


def test_a_server_that_goes_down_leaves_what_was_done(
    launcher: Launcher, participants: list[str], server: SimulatedServer
) -> None:
    """The run fails and names what it did not get to."""
    server.misbehave("reset", route="/get-data/*", participant=participants[1])
    run = launcher.run(rectangle_tags(participants, WEEKS[:1]))
    assert run.is_failure
    assert set(launcher.events(run)) == grid(participants[:1], WEEKS[:1])
    assert failure_of(launcher, run).endswith(f"again: {participants[1]}|{WEEKS[0]}, {participants[2]}|{WEEKS[0]}")


def test_a_second_attempt_goes_on(launcher: Launcher, participants: list[str], server: SimulatedServer) -> None:
    """It asks for what the first did not get, and records nothing twice."""
    server.misbehave("reset", route="/get-data/*", participant=participants[2], times=2)
    run = launcher.run(rectangle_tags(participants, WEEKS[:2]))
    assert run.is_success
    messages = [log.user_message for log in launcher.instance.all_logs(run.run_id)]
    assert sum("failed (attempt 1 of 2)" in message for message in messages) == 1
    assert set(launcher.events(run)) == grid(participants, WEEKS[:2])


def test_who_was_withdrawn_meanwhile_is_not_fetched_by_a_second_attempt(
    launcher: Launcher, participants: list[str], server: SimulatedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run names the windows and fails, although the second attempt brings everything else."""
    plan, gone = LakeWriter.plan, [participants[0]]

    def withdrawn_once(writer: LakeWriter, participant: str, windows: Iterable[Window | str]) -> Plan:
        if participant in gone:
            gone.remove(participant)
            raise WithdrawnError(f"The data of {participant} was withdrawn.")
        return plan(writer, participant, windows)

    monkeypatch.setattr(LakeWriter, "plan", withdrawn_once)
    server.misbehave("reset", route="/get-data/*", participant=participants[2], times=2)
    run = launcher.run(rectangle_tags(participants, WEEKS[:2]))
    assert run.is_failure
    assert set(launcher.events(run)) == grid(participants[1:], WEEKS[:2])
    windows = f"{participants[0]}|{WEEKS[0]}, {participants[0]}|{WEEKS[1]}"
    assert failure_of(launcher, run).endswith(
        f"2 of 6 windows were refused. All others are recorded. Withdrawn from the lake meanwhile, and not fetched "
        f"again: {windows}."
    )


def test_a_retried_run_records_what_the_first_did_without_asking(
    launcher: Launcher, participants: list[str], server: SimulatedServer
) -> None:
    """Dagster would show them as failed otherwise; only the missing ones are downloaded."""
    tags = rectangle_tags(participants, WEEKS[:2])
    switch = server.misbehave("status", route="/get-data/*", participant=participants[1], status=500)
    first = launcher.run(tags)
    server.behave()
    del switch
    server.forget_requests()
    retry = launcher.run({**tags, "dagster/retry_number": "1"}, parent=first)
    assert retry.is_success
    assert set(launcher.events(retry)) == grid(participants, WEEKS[:2])
    asked = {value for record in server.requests for name, value in record.form if name == "user_ids"}
    assert participants[1] in str(asked)
    assert participants[0] not in str(asked)
    before, after = launcher.events(first), launcher.events(retry)
    assert {key: event.metadata for key, event in before.items()} == {key: after[key].metadata for key in before}


def test_executing_everything_again_asks_the_server_again(
    launcher: Launcher, participants: list[str], server: SimulatedServer
) -> None:
    """A re-execution of the whole run, by hand, is no retry."""
    tags = rectangle_tags(participants[:1], WEEKS[:1])
    first = launcher.run(tags)
    server.forget_requests()
    assert launcher.run(tags, parent=first).is_success
    assert any("get-data" in record.route for record in server.requests)


def test_the_runs_log_tells_what_the_run_does_without(
    launcher: Launcher, participants: list[str], server: SimulatedServer
) -> None:
    """What the package logs is there; its own logger is left as it was."""
    server.profile = Profile.named("2023-11")
    before = logging.getLogger("dagster_beiwe").level, list(logging.getLogger("dagster_beiwe").handlers)
    run = launcher.run(rectangle_tags(participants, WEEKS[:2]))
    messages = [log.user_message for log in launcher.instance.all_logs(run.run_id)]
    assert sum("fetched without the server's daily counts" in message for message in messages) == 1
    assert (logging.getLogger("dagster_beiwe").level, logging.getLogger("dagster_beiwe").handlers) == before


def test_an_id_of_no_server_fails_before_any_request(launcher: Launcher, study: Study, server: SimulatedServer) -> None:
    """Anybody can make a partition of any name by hand."""
    launcher.instance.add_dynamic_partitions(participants_name(study.id), ["../../etc"])
    server.forget_requests()
    run = launcher.run({"dagster/partition": f"../../etc|{WEEKS[0]}"})
    assert run.is_failure
    assert "participant id" in failure_of(launcher, run)
    assert server.requests == []


def test_a_missing_passphrase_fails_before_any_download(
    launcher: Launcher, participants: list[str], server: SimulatedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And is not retried, because only a person can help."""
    monkeypatch.delenv("BEIWE_LAKE_PASSPHRASE")
    server.forget_requests()
    run = launcher.run({"dagster/partition": f"{participants[0]}|{WEEKS[0]}"})
    assert "BEIWE_LAKE_PASSPHRASE" in failure_of(launcher, run)
    assert server.requests == []


def test_events_and_logs_hold_no_secret(
    launcher: Launcher, participants: list[str], server: SimulatedServer, capfd: pytest.CaptureFixture[str]
) -> None:
    """Neither of a good run nor of a failed one."""
    server.misbehave("status", route="/get-data/*", participant=participants[1], status=500)
    run = launcher.run(rectangle_tags(participants, WEEKS[:1]))
    text = "".join(log.to_json() for log in launcher.instance.all_logs(run.run_id))
    text += "".join(capfd.readouterr()) + str(run)
    for secret in (server.access_key, server.secret_key, PASSPHRASE):
        assert secret not in text


def test_an_interrupt_between_commit_and_record(
    launcher: Launcher, participants: list[str], server: SimulatedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The window is in the lake and not in Dagster's history: the next refresh records it without a download."""
    record, tags = dg.DagsterInstance.handle_new_event, rectangle_tags(participants[:1], WEEKS[:2])

    def interrupted(instance: dg.DagsterInstance, event: dg.EventLogEntry, **options: object) -> None:
        if event.dagster_event_type == dg.DagsterEventType.ASSET_MATERIALIZATION:
            raise DagsterExecutionInterruptedError
        record(instance, event, **options)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(dg.DagsterInstance, "handle_new_event", interrupted)
        run = launcher.run(tags)
    assert run.status == dg.DagsterRunStatus.FAILURE
    assert launcher.events(run) == {}
    server.forget_requests()
    refresh = launcher.run({**tags, REFRESH_TAG: MOVED_ONLY})
    assert set(launcher.events(refresh)) == grid(participants[:1], WEEKS[:2])
    downloads = [record for record in server.requests if "get-data" in record.route and record.form]
    assert len(downloads) == 1, "the window that the interrupt came before"
