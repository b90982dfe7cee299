"""The lake as a whole: a folder or object store that holds studies."""

from __future__ import annotations

import os
from collections.abc import Collection

from dagster_beiwe.encryption import Cipher
from dagster_beiwe.lake.staging import Compression
from dagster_beiwe.lake.storage import LocalStorage, Storage
from dagster_beiwe.lake.study import StudyLake
from dagster_beiwe.names import is_study_id


class BeiweLake:
    """An encrypted lake of Beiwe data, in a folder or at any URL that fsspec knows.

    >>> import tempfile
    >>> lake = BeiweLake(tempfile.mkdtemp())
    >>> lake.studies()
    []
    """

    def __init__(self, url: str | os.PathLike[str]) -> None:
        self.storage = open_storage(url)

    def __repr__(self) -> str:
        return f"<BeiweLake at {self.storage.describe()}>"

    def studies(self) -> list[str]:
        """Ids of the studies that the lake holds, sorted."""
        return [name for name in self.storage.list("") if is_study_id(name)]

    def study(
        self,
        study_id: str,
        *,
        passphrase: str | None,
        cipher: Cipher | str | None = "cryptease",
        compression: Compression = "zstd",
        plain_streams: Collection[str] = (),
    ) -> StudyLake:
        """One study's part; see ``StudyLake`` for the settings and errors."""
        return StudyLake(
            self.storage,
            study_id,
            passphrase=passphrase,
            cipher=cipher,
            compression=compression,
            plain_streams=plain_streams,
        )


def open_storage(url: str | os.PathLike[str]) -> Storage:
    """The storage at a folder's path, or at a URL such as ``s3://bucket/lake``."""
    text = os.fspath(url)
    if "://" not in text or text.startswith("file://"):
        return LocalStorage(text.removeprefix("file://"))
    from dagster_beiwe.lake.objects import ObjectStorage  # fsspec's import is slow, and most lakes are local

    return ObjectStorage(text)
