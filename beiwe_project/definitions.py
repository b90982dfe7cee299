"""What Dagster loads (see workspace.yaml and dg.toml): all of ``defs``. What differs between labs comes from the
environment:

- ``BEIWE_URL``, ``BEIWE_ACCESS_KEY``, ``BEIWE_SECRET_KEY``, or ``BEIWE_KEYRING_SECTION`` and ``NRG_KEYRING_PASS``
- ``BEIWE_LAKE``, ``BEIWE_LAKE_PASSPHRASE``
- ``BEIWE_STUDIES``, ``BEIWE_START``: which studies, since when; all of them, since their first participant, if not set
- ``BEIWE_TABLES``: the stream tables of the studies that are named, such as ``accelerometer,gps``; none if not set
- ``BEIWE_AUTOMATION=running``: schedules and sensors are on from the beginning; ``BEIWE_REFRESH_CRON``
"""

from __future__ import annotations

from pathlib import Path

import dagster as dg


@dg.definitions
def defs() -> dg.Definitions:
    return dg.load_from_defs_folder(path_within_project=Path(__file__).parent)
