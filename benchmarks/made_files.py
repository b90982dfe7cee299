"""Manifests and records of files that nobody downloaded, to fill a large lake in little time."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import datetime

from benchmarks.server import Served
from dagster_beiwe.lake import FileRecord, Manifest
from dagster_beiwe.windows import Window


def made_manifest(served: Served, participant: str, window: Window, files: Iterable[FileRecord]) -> Manifest:
    """A complete window with these files, committed at its end."""
    return Manifest(
        study_id=served.study_id,
        participant=participant,
        window=window.key,
        start=window.start.isoformat(),
        end=window.end.isoformat(),
        committed_at=window.end.isoformat(),
        run_id="benchmark",
        streams=served.streams,
        files=tuple(files),
    )


def made_file(
    served: Served, participant: str, stream: str, moment: datetime, *, at: datetime, zone: str, size_bytes: int,
    stored_size_bytes: int, stored_sha256: str, suffix: str = "",
) -> FileRecord:  # fmt: skip
    """A file of the hour that begins at ``moment``, fetched ``at`` a time, and counted on its day in ``zone``.

    ``suffix`` is that of its name in the lake, beyond Beiwe's.
    """
    member = f"{stream}/{moment:%Y-%m-%d %H_%M_%S}+00_00.csv"
    digest = hashlib.sha256(f"{participant}{member}".encode()).hexdigest()
    return FileRecord(
        key=f"{served.study_id}/{participant}/{stream}/{moment:%Y-%m-%dT%H:%M:%S}.csv",
        member=member,
        path=f"{member}{suffix}",
        stream=stream,
        survey_id=None,
        time=moment.isoformat(),
        size_bytes=size_bytes,
        md5=None,
        sha1=digest[:40],
        sha256=digest,
        stored_size_bytes=stored_size_bytes,
        stored_sha256=stored_sha256,
        encryption="cryptease",
        compression="zstd",
        first_seen=at.isoformat(),
        fetched_at=at.isoformat(),
        run_id=digest[:32],
        counted_in=f"{moment:%Y-%m-%d} {zone}",
        counted_at=at.isoformat(),
    )
