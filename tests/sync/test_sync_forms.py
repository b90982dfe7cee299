"""What a study's configuration says about storing files holds for those that are stored already."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from core_helpers import (
    PASSPHRASE,
    PERSON,
    STUDY,
    cells_of,
    check_lake,
    client_of,
    contents,
    downloads,
    small_world,
    sync,
    truth,
)

from dagster_beiwe.lake import BeiweLake, StudyLake
from dagster_beiwe.simulator import SimulatedServer


def forms(lake: StudyLake) -> set[tuple[str, str, str]]:
    """How each stream is stored."""
    return {
        (record.stream, record.encryption, record.compression)
        for manifest in lake.manifests(PERSON)
        for record in manifest.files
    }


@pytest.mark.parametrize("profile", ["2025-12", "2026-03"])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"plain_streams": ("gps",)}, {}),
        ({}, {"plain_streams": ("gps",)}),
        ({}, {"compression": "none"}),
        ({"cipher": None}, {}),
    ],
)
def test_files_are_stored_anew_when_their_form_changes(
    before: Mapping[str, object], after: Mapping[str, object], profile: str, folder: Path
) -> None:
    """A stream that is no longer plain gets locked, and nothing of its readable files is left; content is the same."""
    world = small_world(streams=("gps", "power_state"))
    old, new, fresh = (
        BeiweLake(place).study(STUDY, passphrase=PASSPHRASE, **form)  # type: ignore[arg-type]
        for place, form in ((folder, before), (folder, after), (folder.with_name("fresh"), after))
    )
    with SimulatedServer(world, profile=profile) as server, client_of(server) as client:
        reports = [sync(client, lake, cells_of(PERSON)) for lake in (old, fresh, new)]
        assert contents(new) == truth(world)
        assert forms(new) == forms(fresh)
        assert [report.data_version for report in reports[2]] == [report.data_version for report in reports[0]]
        assert sum(report.changed + report.added for report in reports[2]) == 0
        server.forget_requests()
        (again,) = {report.downloaded_bytes for report in sync(client, new, cells_of(PERSON)[:1])}
        assert downloads(server) == 1
        assert profile == "2025-12" or again < 1000
    check_lake(folder, new)
