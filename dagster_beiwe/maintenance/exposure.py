"""Find files in the lake that are readable but should be encrypted, or that other users of the machine can open.

Only the first bytes of files are read: an encrypted file begins with its cipher's header. ``verify`` proves the rest.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from dagster_beiwe.cells import CellKey
from dagster_beiwe.errors import IntegrityError
from dagster_beiwe.lake.layout import TABLES, is_document, participant_and_stream
from dagster_beiwe.lake.storage.local import LocalStorage
from dagster_beiwe.lake.study import StudyLake
from dagster_beiwe.maintenance.sampling import Sample
from dagster_beiwe.private_files import OTHERS
from dagster_beiwe.tables.stored import is_encrypted_parquet

ExposureKind = Literal["readable file", "readable table", "open to others", "readable pickle"]

_HEAD_BYTES = 64
_KEPT = 1_000


@dataclass(frozen=True, kw_only=True)
class Exposure:
    """Something that others could read. ``path`` is below the lake's root, or below Dagster's storage for a pickle;
    ``mode`` as in ``0644`` for permissions."""

    kind: ExposureKind
    path: str
    participant: str | None = None
    window: str | None = None
    mode: str | None = None


@dataclass
class Protection:
    """What was checked and found; of many findings the first 1,000 are kept.

    ``permissions`` counts the files and folders whose permissions were checked: 0 on object stores, which have none.
    """

    files: int = 0
    tables: int = 0
    permissions: int = 0
    exposed: int = 0
    findings: list[Exposure] = field(default_factory=list)

    @property
    def protected(self) -> bool:
        return not self.exposed

    @property
    def partitions(self) -> list[str]:
        """Partition keys of committed files that are readable, sorted."""
        cells = {CellKey(each.participant, each.window) for each in self.findings if each.participant and each.window}
        return sorted(map(str, cells))

    def note(self, finding: Exposure) -> None:
        self.exposed += 1
        if len(self.findings) < _KEPT:
            self.findings.append(finding)


def find_exposures(lake: StudyLake, *, share: float = 1.0) -> Protection:
    """Look at all permissions, and at every stored file of a study and its tables, or daily at a ``share`` of them."""
    result, is_chosen = Protection(), Sample.of_today(share).has
    windows: dict[str, dict[str, str]] = {}
    for path in (file.path for file in lake.storage.scan(lake.study_id)):
        below = path.removeprefix(f"{lake.study_id}/")
        if is_document(below) or not is_chosen(path):
            continue
        of_table = below.startswith(f"{TABLES}/")
        participant, stream = (None, TABLES) if of_table else participant_and_stream(below)
        result.tables += of_table
        result.files += not of_table
        if lake.form(stream).cipher is None:
            continue
        head = _head(lake, path)
        if (of_table and is_encrypted_parquet(head)) or lake.ring.is_encrypted(head):
            continue
        if participant and participant not in windows:
            windows[participant] = _windows_by_path(lake, participant)
        window = windows[participant].get(path) if participant else None
        kind: ExposureKind = "readable table" if of_table else "readable file"
        result.note(Exposure(kind=kind, path=path, participant=participant, window=window))
    if isinstance(lake.storage, LocalStorage):
        for place, mode in _modes(lake.storage.root, lake.study_id):
            result.permissions += 1
            if mode & OTHERS:
                result.note(Exposure(kind="open to others", path=place, mode=f"{mode:04o}"))
    return result


def _head(lake: StudyLake, path: str) -> bytes:
    try:
        with lake.storage.open(path) as file:
            return file.read(_HEAD_BYTES)
    except (FileNotFoundError, IntegrityError):  # just replaced by a run, or no file: a finding of `verify`
        return b""


def _windows_by_path(lake: StudyLake, participant: str) -> dict[str, str]:
    return {
        lake.folder(participant, record.path): manifest.window
        for manifest in lake.manifests(participant)
        for record in manifest.files
    }


def _modes(root: Path, study_id: str) -> Iterator[tuple[str, int]]:
    """Permissions of the root and of all paths in the study's folder."""
    if root.is_dir():  # not before the first run
        yield ".", stat.S_IMODE(root.stat().st_mode)
    for folder, _, names in os.walk(root / study_id):
        for path in (Path(folder), *(Path(folder) / name for name in names)):
            try:
                mode = path.stat().st_mode if path == root / study_id else path.lstat().st_mode
            except FileNotFoundError:  # a temporary file of a run
                continue
            if not stat.S_ISLNK(mode):  # a finding of `verify`; its mode says nothing
                yield path.relative_to(root).as_posix(), stat.S_IMODE(mode)
