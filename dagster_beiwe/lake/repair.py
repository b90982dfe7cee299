# ruff: noqa: F821
"""Take out of a study what was found to be damaged, so that it can be fetched again."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime, timezone

from dagster_beiwe.lake.manifest import FileRecord, Hole, Manifest
from dagster_beiwe.lake.merge import Occasion
from dagster_beiwe.lake.study import StudyLake
from dagster_beiwe.lake.verify import Finding, findings_now, unlisted_in_study
from dagster_beiwe.lake.writer import LakeWriter

_NO_ROLL = ("roll changed", "roll missing")
_ROLL_DIFFERS = ("roll rolled back", "participant missing")


def repair_study(lake: StudyLake, findings: Iterable[Finding], *, run_id: str) -> list[str]:
    """Take out what is damaged, so that the next run of the partitions fetches it again.

    Damaged and unlisted files are removed, windows whose manifest can't be trusted are forgotten, indexes and the roll
    are made anew. Runs may commit meanwhile: each finding is looked at again under its participant's lock, and what has
    been committed since is left alone. Returns the keys of the partitions to run. What the server no longer has can't
    be fetched again: keep a copy of the lake if that matters.
    """
    findings = list(findings)
    kinds = {finding.kind for finding in findings}
    misplaced = {each.participant for each in findings if each.kind == "file unlisted" and each.path == ""}
    present = {each.participant for each in findings if each.participant and each.kind != "participant missing"}
    if kinds.intersection(_NO_ROLL):  # first: nothing is written without it
        rebuild_roll(lake.storage, lake.authenticator, lake.study_id, running=running(lake))
    with lake.writer(run_id=run_id) as writer:
        for participant in misplaced:  # a file or a link where a folder belongs
            writer.delete(participant, "")
        for participant in sorted(present - misplaced):
            with writer.lock(participant):
                _repair(lake, writer, participant, findings, run_id=run_id)
        for finding in unlisted_in_study(lake):
            if finding in findings and finding.path:
                lake.storage.delete(finding.path)
    if kinds.intersection(_ROLL_DIFFERS):
        rebuild_roll(lake.storage, lake.authenticator, lake.study_id, running=running(lake))
    return sorted({f"{each.participant}|{each.window}" for each in findings if each.window})


def _repair(
    lake: StudyLake, writer: LakeWriter, participant: str, suspects: Collection[Finding], *, run_id: str
) -> None:
    """Repair what was found of a participant and is still so. The lock is held."""
    findings = [finding for finding in findings_now(lake, participant, suspects) if finding in suspects]
    if any(finding.kind.startswith("index") for finding in findings):
        writer.rebuild_index(participant)
    for finding in findings:
        if finding.kind.startswith("manifest") and finding.window:
            writer.forget(participant, finding.window)
    for window in sorted({finding.window for finding in findings if finding.window}):
        paths = {
            each.path for each in findings if each.window == window and each.kind in ("file changed", "file missing")
        }
        manifest = lake.manifest(participant, window) if paths else None
        if manifest is not None:
            gone = [record for record in manifest.files if record.path in paths]
            writer.commit(_opened(manifest, gone, run_id), [], base_generation=manifest.generation)
    for finding in findings:
        if finding.kind == "file unlisted" and finding.path:
            writer.delete(participant, finding.path)


def _opened(manifest: Manifest, gone: Collection[FileRecord], run_id: str) -> Occasion:
    """The commit that takes files out of a window and leaves it open, with their hours as holes."""
    holes = (Hole(start=r.time, end=r.time, streams=(r.stream,), error="IntegrityError") for r in gone)
    return Occasion(
        study_id=manifest.study_id,
        participant=manifest.participant,
        window=manifest.span,
        streams=manifest.streams,
        run_id=run_id,
        now=datetime.now(timezone.utc),
        holes=(*manifest.holes, *holes),
        damaged=frozenset(record.key for record in gone),
        unseen=frozenset(record.key for record in manifest.files),
    )
