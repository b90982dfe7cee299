"""Asset checks: they fail when they should, say what to do, and pass when it is done."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest
from labs import PARTICIPANTS, START, WEEKS, Lab, day_of_week, moment, rows, values, world_of

from dagster_beiwe.checks.places import ROSTER_FIRST
from dagster_beiwe.partitions.definitions import participants_name
from dagster_beiwe.partitions.run_keys import rectangle_tags
from dagster_beiwe.simulator import ParticipantPlan
from dagster_beiwe.text import human_size

ANNA, BERT, CLEO = PARTICIPANTS
HOUR = timedelta(hours=1)


def test_complete_names_gaps_by_participant_day_and_stream(lab: Lab) -> None:
    """Late rows, before and after the run of what the check says is to be run."""
    lab.backfill()
    assert lab.check("complete").passed
    grown = lab.world.add_rows(ANNA, "gps", moment(day_of_week(1)), rows=40)
    evaluation = lab.check("complete")
    assert (evaluation.passed, evaluation.severity) == (False, dg.AssetCheckSeverity.ERROR)
    (gap,) = rows(evaluation, "first gaps")
    assert (gap["participant"], gap["day"], gap["stream"]) == (ANNA, day_of_week(1).isoformat(), "gps")
    assert gap["server bytes"] == grown.size_bytes > gap["lake bytes"]
    assert gap["why"] == "changed since it was fetched"
    told = values(evaluation)
    assert told["partitions to run"] == f"{ANNA}|{WEEKS[1]}"
    assert rows(evaluation, "selections to paste") == [{"participants": ANNA, "windows": WEEKS[1]}]
    assert f"--partition-range '{ANNA}|{WEEKS[1]}...{ANNA}|{WEEKS[1]}'" in told["commands"]
    lab.run("raw_data", partition=str(told["partitions to run"]))
    assert lab.check("complete").passed


def test_complete_finds_what_was_never_fetched(lab: Lab) -> None:
    """A lake of one participant is not complete; the windows of the others are one range."""
    lab.enrol()
    lab.run("raw_data", tags=dict(rectangle_tags([ANNA], WEEKS)))
    evaluation = lab.check("complete")
    assert {gap["why"] for gap in rows(evaluation, "first gaps")} == {"never fetched"}
    assert rows(evaluation, "selections to paste")[0]["participants"] == f"{BERT}, {CLEO}"
    assert values(evaluation)["commands"].count("--partition-range") == 1


def test_complete_finds_an_object_that_the_server_leaves_out(lab: Lab) -> None:
    """The server counts it but does not send it: no request failed, and nothing else shows it."""
    lab.world.lose_object(ANNA, "gps", moment(day_of_week(1)))
    lab.backfill()
    (gap,) = rows(lab.check("complete"), "first gaps")
    assert gap["why"] == "counted but not sent by the server"
    assert gap["lake bytes"] == 0


def test_a_poisoned_hour_costs_one_hour_and_is_named(lab: Lab) -> None:
    """The window is stored without it and not recorded as materialised; the check says which, and why."""
    lab.enrol()
    hour = moment(day_of_week(1))
    with lab.server.misbehave("poisoned_hour", participant=ANNA, stream="gps", start=hour, end=hour + HOUR):
        result = lab.run("raw_data", tags=dict(rectangle_tags(PARTICIPANTS, WEEKS)))
        assert not result.success
        evaluation = lab.check("complete")
    (gap,) = rows(evaluation, "first gaps")
    assert gap["why"] == "could not be fetched: damaged member"
    assert values(evaluation)["partitions to run"] == f"{ANNA}|{WEEKS[1]}"
    assert f"{ANNA}|{WEEKS[1]}" not in lab.instance.get_materialized_partitions(lab.key("raw_data"))
    assert len(lab.lake.manifest(ANNA, WEEKS[1]).files) == 13  # type: ignore[union-attr]
    assert lab.run("raw_data", partition=f"{ANNA}|{WEEKS[1]}").success
    assert lab.check("complete").passed


def test_a_gap_of_these_days_is_a_warning(lab: Lab) -> None:
    """Today's data may be on their way."""
    lab.backfill()
    recent = lab.world.now - HOUR
    lab.world.add_hour(ANNA, "gps", recent, rows=7)
    evaluation = lab.check("complete")
    assert (evaluation.passed, evaluation.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert "on its way" in (evaluation.description or "")


def test_deleted_files_are_surplus_until_they_are_noticed(lab: Lab) -> None:
    """A warning with the window to run; afterwards the file is kept, marked and no surplus."""
    lab.world.add_hour(ANNA, "gps", moment(day_of_week(0), 13))
    lab.backfill()
    lab.world.delete_files(ANNA, stream="gps", hour=moment(day_of_week(0)))
    evaluation = lab.check("complete")
    assert (evaluation.passed, evaluation.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert values(evaluation)["partitions to run"] == f"{ANNA}|{WEEKS[0]}"
    lab.run("raw_data", partition=f"{ANNA}|{WEEKS[0]}")
    assert lab.check("complete").passed
    assert lab.check("intact", verify_share=1.0).passed


def test_survey_answers_that_are_counted_late_are_no_surplus(open_lab: Callable[..., Lab]) -> None:
    """The server counts them when sensor data of the day are processed."""
    lab = open_lab(streams=("gps", "survey_answers"))
    lab.world.advance(timedelta(hours=1))
    lab.world.add_answers(ANNA, moment(day_of_week(1), 15))
    lab.backfill()
    evaluation = lab.check("complete")
    assert evaluation.passed
    assert values(evaluation)["only in the lake"] == 1


def test_complete_tells_who_is_no_partition_yet(lab: Lab) -> None:
    """Their windows can't be pasted anywhere: the roster comes first."""
    lab.instance.add_dynamic_partitions(participants_name(lab.study.id), [ANNA, CLEO])
    assert lab.run("raw_data", tags=dict(rectangle_tags([ANNA, CLEO], WEEKS))).success
    told = values(lab.check("complete"))
    assert told[ROSTER_FIRST] == BERT
    assert "partitions to run" not in told


def test_a_lost_day_of_the_first_window_is_not_out_of_range(open_lab: Callable[..., Lab]) -> None:
    """Sunday evening in New York is Monday in UTC, the first day of windows; that Sunday's noon is out of range."""
    lab = open_lab(world_of(ANNA, hours=(2, 12)), start=START)
    lab.world.add_hour(ANNA, "gps", moment(START, 2) - 6 * HOUR)
    lab.world.lose_object(ANNA, "gps", moment(START, 2))
    lab.backfill()
    sunday = (START - timedelta(days=1)).isoformat()
    evaluation = lab.check("complete")
    (gap,) = rows(evaluation, "first gaps")
    assert (gap["day"], gap["windows"], gap["why"]) == (sunday, WEEKS[0], "gap or out-of-range file")
    assert values(evaluation)["partitions to run"] == f"{ANNA}|{WEEKS[0]}"
    assert values(evaluation)["out-of-range partitions to run"] == ANNA
    assert lab.run("out_of_range", partition=ANNA).success
    (gap,) = rows(lab.check("complete"), "first gaps")
    assert gap["server bytes"] > gap["lake bytes"] > 0
    lab.world.restore_object(ANNA, "gps", moment(START, 2))
    assert lab.run("raw_data", partition=f"{ANNA}|{WEEKS[0]}").success
    assert lab.check("complete").passed


def test_an_id_that_is_none_hides_nobody_else(open_lab: Callable[..., Lab]) -> None:
    """It leads out of a folder, so it is left out; what the server counts of the others is compared and followed."""
    lab = open_lab(world_of(ANNA, "../evil"))
    lab.instance.add_dynamic_partitions(participants_name(lab.study.id), [ANNA])
    assert lab.run("raw_data", tags=dict(rectangle_tags([ANNA], WEEKS))).success
    assert lab.check("complete").passed
    lab.world.add_rows(ANNA, "gps", moment(day_of_week(1)))
    assert not lab.check("complete").passed
    assert lab.follow() == [f"{ANNA}|{WEEKS[1]}"]


def test_an_older_server_can_not_say_what_is_complete(open_lab: Callable[..., Lab]) -> None:
    """That is a warning, not a success."""
    lab = open_lab(profile="2023-11")
    lab.enrol()
    evaluation = lab.check("complete")
    assert (evaluation.passed, evaluation.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert "Unknown: " in (evaluation.description or "")


def test_a_server_that_is_down_is_a_failed_check(lab: Lab) -> None:
    """Which says so; the others that need no server are made all the same."""
    lab.backfill()
    lab.server.stop()
    result = lab.run(checks=["complete", "protected"])
    evaluations = {each.check_name: each for each in result.get_asset_check_evaluations()}
    assert "Could not be checked. There was no response" in (evaluations["complete"].description or "")
    assert not evaluations["complete"].passed
    assert evaluations["protected"].passed


def test_intact_finds_a_changed_file(lab: Lab) -> None:
    """And says which partition to run; a share of nothing looks at sizes only."""
    lab.backfill()
    assert lab.check("intact", verify_share=1.0).passed
    record = lab.lake.manifest(BERT, WEEKS[2]).files[0]  # type: ignore[union-attr]
    path = Path(os.environ["BEIWE_LAKE"]) / lab.lake.folder(BERT, record.path)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    evaluation = lab.check("intact", verify_share=1.0)
    assert not evaluation.passed
    assert values(evaluation)["partitions to run"] == f"{BERT}|{WEEKS[2]}"
    assert rows(evaluation, "first findings")[0]["what"] == "file changed"
    assert lab.check("intact", verify_share=0.0).passed
    assert values(lab.check("intact"))["share"] == 0.05


def test_intact_finds_a_study_that_was_put_back_as_a_whole(lab: Lab, tmp_path: Path) -> None:
    """Everything in an older copy agrees with itself; that later commits are gone is known from the last check."""
    folder, older = Path(os.environ["BEIWE_LAKE"]), tmp_path / "older"
    lab.backfill()
    shutil.copytree(folder, older)
    lab.backfill()
    assert lab.check("intact").passed
    shutil.rmtree(folder)
    shutil.copytree(older, folder)
    for _ in range(2):
        evaluation = lab.check("intact")
        assert not evaluation.passed
        assert "cut or rolled back to an older state" in (evaluation.description or "")
    everything = dict(rectangle_tags(lab.partitions, WEEKS))
    before = tree(folder)
    for name, tags in (("raw_data", everything), ("roster", {})):
        result = lab.run(name, tags=tags)
        failures = [event.step_failure_data for event in result.all_events if event.is_step_failure]
        assert any("cut or rolled back" in str(failure) for failure in failures)
    assert tree(folder) == before
    assert lab.check("intact", accept_older=True).passed
    assert lab.check("intact").passed
    lab.backfill()
    assert lab.run("roster").success


def tree(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_protected_finds_readable_files_and_loose_permissions(lab: Lab, tmp_path: Path) -> None:
    """An unencrypted file, a readable table, and a folder that others may enter."""
    lab.backfill()
    assert lab.run("roster").success
    evaluation = lab.check("protected")
    assert evaluation.passed
    assert values(evaluation)["files checked"] > 0
    assert values(evaluation)["tables checked"] == 1
    record = lab.lake.manifest(BERT, WEEKS[2]).files[0]  # type: ignore[union-attr]
    file = tmp_path / "lake" / lab.lake.folder(BERT, record.path)
    locked = file.read_bytes()
    file.write_text("timestamp,UTC time,latitude\n")
    evaluation = lab.check("protected")
    assert (evaluation.passed, evaluation.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert values(evaluation)["partitions to run"] == f"{BERT}|{WEEKS[2]}"
    file.write_bytes(locked)
    table = next((tmp_path / "lake" / lab.study.id / ".tables").rglob("*.parquet"))
    table.with_name(table.name.removesuffix(".lock")).write_bytes(b"PAR1 and names of people")
    (tmp_path / "lake").chmod(0o750)
    evaluation = lab.check("protected")
    found = {(row["what"], row["mode"]) for row in rows(evaluation, "first findings")}
    assert {("readable table", ""), ("open to others", "0750")} <= found


def test_streams_that_are_to_be_plain_are_no_finding(open_lab: Callable[..., Lab]) -> None:
    """The study's configuration says so; the others are looked at."""
    lab = open_lab(plain_streams=("power_state",))
    lab.backfill()
    evaluation = lab.check("protected")
    assert evaluation.passed
    assert values(evaluation)["encrypted streams"] == "gps"


def test_files_committed_before_their_stream_was_locked_are_found(open_lab: Callable[..., Lab]) -> None:
    """Somebody takes a stream off `plain_streams`: what lies there is still readable."""
    before = open_lab(plain_streams=("power_state",))
    before.backfill()
    after = Lab(before.server, before.instance)
    evaluation = after.check("protected")
    assert not evaluation.passed
    assert f"{ANNA}|{WEEKS[0]}" in values(evaluation)["partitions to run"]


def test_roster_tells_who_deleted_was_flagged_or_is_new(lab: Lab) -> None:
    """Server, table, partitions and lake are compared."""
    lab.backfill()
    assert lab.check("roster").passed
    lab.world.flag_deleted(BERT)
    newcomer = lab.world.add_participant(lab.study.id, ParticipantPlan(os=""))
    lab.instance.add_dynamic_partitions(f"beiwe/{lab.study.id}/participants", ["gone1234"])
    fetched = dg.AssetMaterialization(lab.key("raw_data"), partition=f"gone1234|{WEEKS[0]}")
    lab.instance.report_runless_asset_event(fetched)
    evaluation = lab.check("roster")
    assert (evaluation.passed, evaluation.severity) == (False, dg.AssetCheckSeverity.WARN)
    told = values(evaluation)
    assert told["no longer on the server"] == "gone1234"
    assert told["flagged as deleted"] == BERT
    assert told["not a partition yet"] == newcomer


def test_settings_tell_what_changed_from_what_to_what_and_when(lab: Lab) -> None:
    """Switches and numbers with their values, texts by name only: as soon as the server has them, and later too."""
    assert not lab.check("settings").passed
    lab.run("settings")
    assert lab.check("settings").passed
    before = lab.world.study(lab.study.id).device_settings["gps_off_duration_seconds"]
    lab.world.change_settings(lab.study.id, gps_off_duration_seconds=before + 60, about_page_text="ask Dr Roe")
    evaluation = lab.check("settings")
    assert (evaluation.passed, evaluation.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert "materialize the settings" in (evaluation.description or "")
    assert [row["to"] for row in rows(evaluation, "history")] == ["", str(before + 60)]
    lab.run("settings")
    lab.run("settings")
    evaluation = lab.check("settings")
    assert (evaluation.passed, evaluation.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert "materialize" not in (evaluation.description or "")
    about, gps = rows(evaluation, "history")
    assert (gps["from"], gps["to"]) == (str(before), str(before + 60))
    assert "" < gps["not yet seen"] <= gps["seen"]
    assert (about["setting"], about["from"], about["to"]) == ("device_setting/about_page_text", "", "")
    assert "Roe" not in str(evaluation)


def test_checks_are_not_part_of_runs_of_raw_data(lab: Lab) -> None:
    """Whoever materialises windows does not verify the whole study, and no run hides what the checks last said."""
    assert lab.key("raw_data") not in {key.asset_key for key in lab.checks.check_keys}
    alone = lab.run(checks=["protected"])
    assert [each.check_name for each in alone.get_asset_check_evaluations()] == ["protected"]


def test_coverage_lists_what_the_lake_holds_and_is_checked_with_it(lab: Lab) -> None:
    """One click on the asset makes the table and runs the checks of the whole study."""
    lab.backfill()
    result = lab.run("coverage", checks=["complete", "intact", "protected"])
    assert {each.check_name: each.passed for each in result.get_asset_check_evaluations()} == {
        "complete": True,
        "intact": True,
        "protected": True,
    }
    table = lab.table("coverage")
    records = [
        record
        for participant in lab.lake.participants()
        for manifest in lab.lake.manifests(participant)
        for record in manifest.files
    ]
    assert table["files"].sum() == len(records) > 0
    assert table["lake_bytes"].sum() == table["server_bytes"].sum() == sum(record.size_bytes for record in records)
    assert set(table["participant"]) == {record.key.split("/")[1] for record in records}


@pytest.mark.parametrize("remove", [False, True])
def test_restatements_list_what_changed_and_deleted(open_lab: Callable[..., Lab], remove: bool) -> None:
    """Sizes and hashes before and after, no content; the setting removes deleted files, and the list tells."""
    lab = open_lab(remove_deleted_upstream=remove)
    hour = moment(day_of_week(1))
    lab.world.add_hour(BERT, "gps", hour + HOUR)
    lab.backfill()
    assert len(lab.table("restatements")) == 0
    old = lab.world.file(ANNA, "gps", hour)
    new = lab.world.add_rows(ANNA, "gps", hour, rows=9)
    lab.world.delete_files(BERT, stream="gps", hour=hour)
    result = lab.run("raw_data", tags=dict(rectangle_tags([ANNA, BERT], WEEKS[1:2])))
    recorded = [each.materialization for each in result.get_asset_materialization_events()]
    events = {each.partition: each for each in recorded}
    changes = {who: str(events[f"{who}|{WEEKS[1]}"].metadata["changes"].value) for who in (ANNA, BERT)}
    assert f"1 changed ({human_size(new.size_bytes)})" in changes[ANNA]
    assert "1 deleted upstream (" in changes[BERT]
    table = lab.table("restatements").set_index("participant")
    assert table["time"].dtype == table["deleted_upstream_at"].dtype == "datetime64[ms, UTC]"
    row = table.loc[ANNA]
    assert (row["size_bytes_before"], row["size_bytes"], row["restatements"]) == (old.size_bytes, new.size_bytes, 1)
    assert row["sha256_before"] != row["sha256"]
    gone = table.loc[BERT]
    assert (gone["state"], gone["times_deleted_upstream"]) == ("removed" if remove else "deleted upstream", 1)
    assert gone["first_seen"] <= gone["last_seen"] <= gone["deleted_upstream_at"]
    assert (row["state"], row["times_deleted_upstream"]) == ("present", 0)
    files = lab.lake.manifest(BERT, WEEKS[1]).files  # type: ignore[union-attr]
    assert len(files) == (14 if remove else 15)
