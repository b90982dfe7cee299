"""Find a table of this package in a study's part of the lake where no definitions tell its key."""

from __future__ import annotations

from dagster_beiwe.tables.files import TableFiles


def key_called(files: TableFiles, name: str) -> tuple[str, ...]:
    """The asset key of the table without partitions that has this name and was written last.

    The name is the last part of a key; a translator may have changed the others. If the lake has no such table, the
    name itself is returned, which an error about the missing table then says.
    """
    found = [
        (version.at, files.manifest(subject, version).asset_key)
        for subject, version in files.tables()
        if subject.name is None and subject.asset.rpartition("/")[2] == name
    ]
    return max(found)[1] if found else (name,)
