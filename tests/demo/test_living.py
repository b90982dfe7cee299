"""The demo's studies live, and another demo in the same folder goes on with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from dagster_beiwe.demo.living import LAG, LivingServer
from dagster_beiwe.errors import ConfigurationError
from dagster_beiwe.simulator.profiles import CURRENT

SOMEBODY = "48213957"


def content(living: LivingServer) -> dict[str, object]:
    """{key: everything on which a file's bytes depend, and when it came} of all studies."""
    world = living.server.world
    return {file.key: (file.recipe, file.arrived) for study in world.studies for file in world.files(study)}


def test_another_demo_goes_on_where_the_last_one_ended(tmp_path: Path) -> None:
    """With the same files, what was made happen, and the hour that cannot be read; a minute's outage is over."""
    first = LivingServer(tmp_path, profile=CURRENT)
    began = content(first)
    first.change_a_setting()
    first.server.act("go_online", {"participant_id": SOMEBODY})
    for _ in range(8):
        first.pass_an_hour()
    first.server.act("misbehave", {"name": "maintenance", "lasts_seconds": 60})
    again = LivingServer(tmp_path, profile=CURRENT)
    assert (first.is_new, again.is_new) == (True, False)
    assert content(again) == content(first)
    assert began.items() < content(first).items()
    assert [one.name for one in again.server.misbehaviors()] == ["poisoned_hour"]
    assert again.unreadable_hours() == first.unreadable_hours() != []
    assert next(iter(again.server.world.studies.values())).device_settings["accelerometer_frequency"] == 20


def test_what_somebody_looks_at_first(tmp_path: Path) -> None:
    """One who fell silent though the phone lives, one who retired, one who never registered, and new data to come."""
    living = LivingServer(tmp_path, profile=CURRENT)
    world = living.server.world
    people = next(iter(world.studies.values())).participants.values()
    uploads = {person.id: person.last_upload for person in people}
    silent = world.participant(SOMEBODY)
    assert silent.last_upload is not None
    assert silent.last_heartbeat == world.now > silent.last_upload + LAG * 3
    assert [person.retired for person in people].count(True) == 1
    assert [person.first_registration for person in people].count(None) == 1
    for _ in range(24):
        living.pass_an_hour()
    assert sum(person.last_upload != uploads[person.id] for person in people) == 3
    assert silent.last_upload == uploads[SOMEBODY]


def test_a_folder_of_other_studies_is_refused(tmp_path: Path) -> None:
    """Its lake would look as if everything had been deleted upstream."""
    (tmp_path / "lake").mkdir()
    with pytest.raises(ConfigurationError, match="lake of other studies"):
        LivingServer(tmp_path, profile=CURRENT)
    for text in ("[1]", 100_000 * "["):
        (tmp_path / "studies.json").write_text(text)
        with pytest.raises(ConfigurationError, match="does not hold what happened"):
            LivingServer(tmp_path, profile=CURRENT)
