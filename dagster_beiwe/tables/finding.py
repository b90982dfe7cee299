"""Find a table in a study's part of the lake where no definitions tell its key."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import unquote

from dagster_beiwe.errors import ConfigurationError
from dagster_beiwe.lake.layout import asset_path
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


def table_called(files: TableFiles, table: str | Sequence[str]) -> tuple[str, ...]:
    """The asset key of the table with this key, else of the only one whose key ends so; a text has ``/`` between parts.

    Raises ``ConfigurationError`` if there is none, or if there are several.
    """
    wanted = asset_path(table.split("/") if isinstance(table, str) else table)
    held = {subject.asset: (subject, version) for subject, version in files.tables()}
    found = [each for each in held if each == wanted] or [each for each in held if f"/{each}".endswith(f"/{wanted}")]
    if len(found) == 1:
        return files.manifest(*held[found[0]]).asset_key
    names, wanted = ", ".join(sorted(map(unquote, found or held))) or "none", unquote(wanted)[:80]
    if found:
        raise ConfigurationError(
            f"Several tables are called {wanted!r}: {names}. Nothing was read. Give more of the key."
        )
    raise ConfigurationError(
        f"{files.where} holds no table called {wanted!r}. Nothing was read. Its tables are: {names}. Correct the "
        "name, or materialize the asset."
    )
