"""A coverage table made with the help of the one before: the same numbers from fewer manifests."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from core_helpers import DAY, HOUR, NOW, PASSPHRASE, PERSON, START, STUDY
from coverage_studies import ENROLLED, FIRST, NOON, basis, hours_of, measured, of, put

from dagster_beiwe.client import DailyBytes
from dagster_beiwe.coverage import Enrollment
from dagster_beiwe.coverage.measure import Basis
from dagster_beiwe.errors import IntegrityError
from dagster_beiwe.lake import BeiweLake, StudyLake
from dagster_beiwe.maintenance.purge import purge_participant
from dagster_beiwe.studies.time_zones import StudyZone
from dagster_beiwe.sync import DailyIndex
from dagster_beiwe.windows import windows_between

WINDOWS = list(windows_between("daily", START, NOW))
OTHER = "p2person"
MARK = 1000


def study(**changed: Any) -> Basis:
    """Two participants, and windows of a day."""
    return basis(
        **{"windows": WINDOWS, "roster": {PERSON: ENROLLED, OTHER: replace(ENROLLED, participant=OTHER)}, **changed}
    )


def marked(frame: pd.DataFrame) -> pd.DataFrame:
    """The table with more files on each day: where they appear again, it was used."""
    changed: pd.DataFrame = frame.assign(files=(frame["files"] + MARK).astype("int32"))
    changed.attrs = frame.attrs
    return changed


@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Asia/Kolkata", "Pacific/Auckland"])
def test_the_table_is_the_same_as_without_an_earlier_one(lake: StudyLake, zone: str) -> None:
    """After late and new data, a new stream, a participant who joined, and the clocks that went forward."""
    place: dict[str, Any] = {"zone": StudyZone(name=zone, source="server")}
    put(lake, hours_of(START, 5 * 24), windows=WINDOWS)
    put(lake, hours_of(START + 3 * DAY, 30), windows=WINDOWS, stream="texts")
    before = measured(lake, study(**place, now=START + 5 * DAY + HOUR))
    put(lake, [START + DAY + HOUR / 2], windows=WINDOWS)
    put(lake, hours_of(START + 5 * DAY, 4 * 24), windows=WINDOWS)
    put(lake, hours_of(START + 2 * DAY, 7), windows=WINDOWS, stream="wifi")
    put(lake, hours_of(START + 4 * DAY, 50), windows=WINDOWS, participant=OTHER)
    both = [PERSON, OTHER]
    alone = measured(lake, study(**place), participants=both)
    after = measured(lake, study(**place), participants=both, earlier=before)
    pd.testing.assert_frame_equal(after, alone)
    assert after.attrs == alone.attrs
    pd.testing.assert_frame_equal(measured(lake, study(**place), participants=both, earlier=after), alone)


def test_manifests_of_unchanged_windows_are_not_read_again(lake: StudyLake, folder: Path) -> None:
    """Nobody notices that they are gone, but who makes the table without the earlier one."""
    put(lake, hours_of(START, 5 * 24), windows=WINDOWS)
    before = measured(lake, study())
    for manifest in (folder / STUDY / PERSON).rglob("*.json.zst"):
        manifest.unlink()
    put(lake, hours_of(START + 7 * DAY, 3), windows=WINDOWS)
    rows = of(measured(lake, study(), earlier=before))
    assert rows["files"].tolist()[:9] == [24] * 5 + [0, 0, 3, 0]
    with pytest.raises(IntegrityError):
        measured(lake, study())


def test_only_days_that_were_over_are_taken_over(lake: StudyLake) -> None:
    """The day of the table went on, and files dated later than its making did not count."""
    put(lake, hours_of(START, 2 * 24), windows=WINDOWS)
    before = measured(lake, study(now=START + DAY + 6 * HOUR))
    assert of(before)["files"].tolist() == [24, 7]
    after = of(measured(lake, study(), earlier=marked(before)))
    assert after["files"].tolist()[:3] == [24 + MARK, 24, 0]


def test_nothing_follows_from_a_table_of_other_days_or_of_another_lake(lake: StudyLake, tmp_path: Path) -> None:
    """As after the study's time zone or its start was changed, or the lake was made anew; nor from a table that lacks
    rows, or was made by another version."""
    put(lake, hours_of(START, 5 * 24), windows=WINDOWS)
    before = marked(measured(lake, study()))
    assert measured(lake, study(), earlier=before)["files"].max() > MARK
    moved = study(zone=StudyZone(name="Asia/Tokyo", source="server"))
    later = study(windows=WINDOWS[1:])
    unknown = [before.copy(), before.copy()]
    unknown[0].attrs, unknown[1].attrs = {}, {"counted_from": {"method": 0}}
    unusable = [(study(), earlier) for earlier in (*unknown, before.iloc[:0], before.iloc[1:])]
    for changed, earlier in ((moved, before), (later, before), *unusable):
        assert measured(lake, changed, earlier=earlier)["files"].max() == 24
    other = BeiweLake(tmp_path / "other").study(STUDY, passphrase=PASSPHRASE)
    for number in range(6):
        put(other, hours_of(START, number + 1), windows=WINDOWS)
    assert measured(other, study(), earlier=before)["files"].max() < MARK


def test_nothing_follows_for_days_that_the_server_counted_in_a_former_zone(lake: StudyLake) -> None:
    """Nor from a table with such days: they began at other times."""
    put(lake, hours_of(START, 5 * 24), windows=WINDOWS)
    zone = StudyZone(name="UTC", source="server", former=("Asia/Tokyo",))
    counted = [DailyBytes(participant=PERSON, day=FIRST + DAY, bytes_by_stream={"gps": 240}, zone="JST")]
    daily = DailyIndex.of(zone.zone, counted, former=zone.former_zones)
    before = measured(lake, study(zone=zone))
    assert measured(lake, study(zone=zone), daily, earlier=marked(before))["files"].max() < MARK
    mixed = measured(lake, study(zone=zone), daily)
    assert measured(lake, study(zone=zone), earlier=marked(mixed))["files"].max() == 24


def test_who_was_withdrawn_from_the_lake_has_no_files(lake: StudyLake) -> None:
    """Whatever the earlier table says; also after some of them were fetched again."""
    put(lake, hours_of(START, 5 * 24), windows=WINDOWS)
    before = measured(lake, study())
    purge_participant(lake, PERSON, run_id="purge")
    assert not measured(lake, study(), earlier=before)["files"].any()
    put(lake, hours_of(START + DAY, 2), windows=WINDOWS)
    assert measured(lake, study(), earlier=before)["files"].sum() == 2


def test_somebody_was_enrolled_until_a_table_last_said_so(lake: StudyLake) -> None:
    """Then they retire: the days before are missing days as they were, not gone."""
    put(lake, hours_of(START), windows=WINDOWS)
    retired = replace(ENROLLED, status="retired")
    fourth = START + 3 * DAY + HOUR
    before = measured(lake, study(now=fourth))
    assert of(before)["status"].tolist() == ["enrolled"] * 4
    assert of(measured(lake, study(roster={PERSON: retired})))["status"].tolist() == ["enrolled", "retired"]
    after = measured(lake, study(roster={PERSON: retired}), earlier=before)
    assert of(after)["status"].tolist() == ["enrolled"] * 4 + ["retired"]
    pd.testing.assert_frame_equal(measured(lake, study(roster={PERSON: retired}), earlier=after), after)


def test_a_table_without_the_servers_word_keeps_nobody_enrolled(lake: StudyLake) -> None:
    """When the participant table fails, everybody counts as enrolled: that must not stay."""
    put(lake, hours_of(START), windows=WINDOWS)
    before = measured(lake, study(roster={PERSON: Enrollment(participant=PERSON)}))
    assert of(before)["status"].iloc[-1] == "enrolled"
    retired = replace(ENROLLED, status="retired")
    rows = of(measured(lake, study(roster={PERSON: retired}, now=NOON), earlier=before))
    assert rows["status"].tolist() == ["enrolled", "retired"]
