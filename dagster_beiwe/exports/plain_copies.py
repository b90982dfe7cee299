"""Copy small raw files into the folder of an export, byte for byte: what several processes do at the same time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

from dagster_beiwe.file_tree import FileTree
from dagster_beiwe.lake.manifest import FileRecord
from dagster_beiwe.lake.staging import SMALL_BYTES
from dagster_beiwe.lake.stored import read_stored
from dagster_beiwe.lake.study_files import FilesElsewhere, StudyFiles
from dagster_beiwe.parallel import Processes


class StoredAs(NamedTuple):
    """The path of a raw file in the lake, and its record."""

    path: str
    record: FileRecord

    @property
    def is_small(self) -> bool:
        return self.record.size_bytes <= SMALL_BYTES


@dataclass(frozen=True)
class LakeAndFolder:
    """The files of a lake, and the folder of an export."""

    lake: StudyFiles
    folder: FileTree


def processes_to_export(lake: StudyFiles, folder: Path, *, number: int) -> Processes[LakeAndFolder]:
    """Processes that copy files of the lake to the folder; none if others can't open the lake."""
    there = FilesElsewhere.of(lake)
    if number and there:
        return Processes(partial(_opened, there, folder), number=number)
    return Processes(partial(LakeAndFolder, lake, FileTree(folder)), number=0)


def _opened(lake: FilesElsewhere, folder: Path) -> LakeAndFolder:
    return LakeAndFolder(lake.opened(), FileTree(folder))


def export_files(here: LakeAndFolder, files: Sequence[StoredAs], targets: Sequence[str]) -> None:
    """Write the content of each file to its target in the folder.

    Raises ``FileNotFoundError`` for a file that the lake does not have, and as ``read_stored`` does.
    """
    storage, ring, _ = here.lake
    with storage.folder_by_folder(), here.folder.folder_by_folder() as folder:
        for file, target in zip(files, targets, strict=True):
            content = read_stored(storage, file.path, file.record, ring)
            with folder.create(target, durable=False) as sink:
                sink.write(content)
