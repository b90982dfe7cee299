"""Read the manifest of a version, and say why one is not there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Final

from dagster_beiwe.errors import IntegrityError, PastStateError, WithdrawnError
from dagster_beiwe.lake.catalog.catalog import Catalog
from dagster_beiwe.lake.catalog.versions import Version
from dagster_beiwe.lake.layout import Subject

_AT_A_TIME: Final = 64


def read_manifest(catalog: Catalog, subject: Subject, window: str, version: Version) -> bytes:
    """The stored bytes of a version's manifest, proven.

    Raises ``IntegrityError`` if it was changed or removed, ``PastStateError`` if it was collected or withdrawn.
    """
    path = catalog.layout.home(subject).manifest(version.base, version.nonce)
    try:
        file = catalog.shared_file(path, version.file_bytes or version.size_bytes, kept=version.file_bytes > 0)
    except FileNotFoundError:
        raise absent(catalog, subject, window, version) from None
    return _proven(file, path, version)


def read_manifests(catalog: Catalog, subject: Subject, versions: Mapping[str, Version]) -> Iterator[tuple[str, bytes]]:
    """Windows, and the manifests of these versions of them, as ``read_manifest`` returns them.

    Several times as fast: some are read at a time, in parallel where that is faster.
    """
    home, windows = catalog.layout.home(subject), iter(versions.items())
    while some := dict(islice(windows, _AT_A_TIME)):
        paths = {window: home.manifest(version.base, version.nonce) for window, version in some.items()}
        names = list(dict.fromkeys(paths.values()))  # windows may share a file
        files = dict(zip(names, catalog.store.read_all(names), strict=True))
        for window, version in some.items():
            if (file := files[paths[window]]) is None:
                raise absent(catalog, subject, window, version)
            yield window, _proven(file, paths[window], version)


def _proven(file: bytes, path: str, version: Version) -> bytes:
    if (manifest := version.manifest(file)) is None:
        raise IntegrityError(
            f"{path!r} is not the manifest that record {version.at} of the log names. It was not used. It was changed "
            "or damaged: restore it from a backup, or run `dagster-beiwe verify --repair`."
        )
    return manifest


def absent(catalog: Catalog, subject: Subject, window: str, version: Version) -> Exception:
    """The error for a file of a version that is not there."""
    state = catalog.refresh()
    token = catalog.identities.token(subject, state)
    what = f"Version {version.at} of {subject}" + (f", window {window}," if window else "")
    if token is None:
        return WithdrawnError(f"{what} was withdrawn from the lake. Nothing was read.")
    versions = state.section(subject.asset).versions(token, window)
    if any(each.at == version.at for each in versions):
        return IntegrityError(
            f"{what} is incomplete: a file that it names is missing from the lake. It was not read. The file was "
            "removed after it was committed: restore it from a backup, or run `dagster-beiwe verify --repair` and "
            "the partition again."
        )
    return PastStateError(
        f"{what} was collected: it was superseded, and neither kept long enough nor by a snapshot. Nothing was "
        "read. Open the newest state, or keep states with `dagster-beiwe snapshot create`."
    )
