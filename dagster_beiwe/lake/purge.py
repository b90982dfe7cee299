"""Remove a participant from the lake for good."""

from __future__ import annotations

from dagster_beiwe.lake.index import index_path
from dagster_beiwe.lake.roll import change_roll
from dagster_beiwe.lake.study import StudyLake
from dagster_beiwe.names import check_participant_id


def purge_participant(lake: StudyLake, participant: str, *, run_id: str) -> int:
    """Remove all files, manifests and the index of a participant; returns how many files there were.

    The passphrase is checked first. A run that commits to the participant meanwhile must be stopped before.
    """
    folder = f"{lake.study_id}/{check_participant_id(participant)}"
    with lake.writer(run_id=run_id):
        change_roll(lake.storage, lake.authenticator, lake.study_id, lambda roll: roll.without(participant))
        paths = list(lake.storage.walk(folder))
        for path in paths:
            lake.storage.delete(path)
        lake.storage.delete(index_path(lake.study_id, participant))
        lake.storage.delete_folder(folder)
    return len(paths)
