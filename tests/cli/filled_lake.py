"""Fill a lake from a simulated server, without Dagster."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone

from dagster_beiwe.client import BeiweClient
from dagster_beiwe.credentials import Credentials
from dagster_beiwe.lake import StudyLake
from dagster_beiwe.simulator import SimulatedServer
from dagster_beiwe.sync import Cell, StudySync
from dagster_beiwe.windows import windows_between

PASSPHRASE = "correct horse battery staple"
START = datetime(2026, 3, 2, tzinfo=timezone.utc)
END = datetime(2026, 3, 16, tzinfo=timezone.utc)


def fill(server: SimulatedServer, study: StudyLake, participants: Sequence[str] = ()) -> None:
    """Everything of all participants, or of these."""
    credentials = Credentials(url=server.url, access_key=server.access_key, secret_key=server.secret_key)
    windows = list(windows_between("weekly", START, END))
    with BeiweClient(credentials) as client:
        everybody = participants or client.participants(study.study_id)
        cells = [Cell(each, window) for each in everybody for window in windows]
        assert all(report.complete for report in StudySync(client, study, run_id="test").run(cells))
