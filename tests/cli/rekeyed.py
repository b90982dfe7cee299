"""Where lakes are copied to under a new passphrase, and what is compared of them."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

import msgspec
import pandas as pd

from dagster_beiwe.lake import BeiweLake, CommitRequest, FileRecord, Manifest, StudyLake
from dagster_beiwe.lake.catalog.catalog import Catalog
from dagster_beiwe.lake.writer import LakeWriter

NEW = "another horse, another battery"
FRAME = pd.DataFrame({"who": ["anna1111"], "days": [14]})


def at(place: Path, study_id: str, passphrase: str = NEW) -> StudyLake:
    return BeiweLake(place).study(study_id, passphrase=passphrase)


def contents(lake: StudyLake) -> dict[tuple[str, str], bytes]:
    """Plain bytes by participant and key."""
    return {
        (participant, record.key): lake.read(participant, record)
        for participant in lake.participants()
        for manifest in lake.manifests(participant)
        for record in manifest.files
    }


def history(lake: StudyLake) -> list[tuple[object, ...]]:
    """What manifests tell that does not depend on how files are stored."""
    return [
        (
            manifest.window,
            manifest.streams,
            manifest.committed_at,
            manifest.failures,
            manifest.counts_fingerprint,
            manifest.run_id,
            *(_facts(record) for record in manifest.files),
        )
        for participant in lake.participants()
        for manifest in lake.manifests(participant)
    ]


def _facts(record: FileRecord) -> FileRecord:
    return msgspec.structs.replace(record, stored_size_bytes=0, stored_sha256="")


def delete_upstream(lake: StudyLake, participant: str = "anna1111") -> Manifest:
    """A commit after which the first file of a window counts as gone from the server."""
    manifest = next(lake.manifests(participant))
    commit_request = CommitRequest(
        study_id=lake.study_id, participant=participant, window=manifest.span, streams=manifest.streams,
        run_id="later", now=datetime.now(timezone.utc), deleted_upstream=[manifest.files[0].key],
    )  # fmt: skip
    with LakeWriter(lake, run_id="later") as writer:
        commit = writer.commit(writer.plan(participant, [manifest.span]), commit_request, [])
        writer.flush()
        commit.record()
    return commit.manifest


def all_files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def log_of(lake: StudyLake) -> Catalog:
    catalog = lake.catalog()
    assert catalog is not None
    return catalog
