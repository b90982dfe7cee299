"""The lake as a whole: a folder or object store that holds studies."""

from __future__ import annotations

import os
from collections.abc import Collection

from dagster_beiwe.encryption import DEFAULT_CIPHER, Cipher, CipherKeys, cipher_by_name
from dagster_beiwe.environment import BEIWE_LAKE
from dagster_beiwe.errors import ConfigurationError
from dagster_beiwe.ids import is_study_id
from dagster_beiwe.lake.staging import Compression
from dagster_beiwe.lake.storage.base import Storage
from dagster_beiwe.lake.storage.local import LocalStorage
from dagster_beiwe.lake.study import KEEP_SUPERSEDED_DAYS, StudyLake, When


class BeiweLake:
    """An encrypted lake of Beiwe data, in a folder or at any URL that fsspec knows.

    ``witness`` is another folder or URL, which remembers every record of the studies' logs.

    >>> import tempfile
    >>> lake = BeiweLake(tempfile.mkdtemp())
    >>> lake.studies()
    []
    """

    def __init__(self, url: str | os.PathLike[str], *, witness: str | os.PathLike[str] | None = None) -> None:
        self.storage = open_storage(url)
        self.witness = open_storage(witness) if witness else None
        if self.witness is not None and f"{self.witness.describe()}/".startswith(f"{self.storage.describe()}/"):
            raise ConfigurationError(
                f"The witness {self.witness.describe()} is in the lake that it watches, or is the lake itself. "
                "Nothing was opened. Name another place, one that nobody who can change the lake can change."
            )

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
        cipher: Cipher | str | None = DEFAULT_CIPHER,
        compression: Compression = "zstd",
        plain_streams: Collection[str] = (),
        identity: str | None = None,
        keep_superseded_days: float = KEEP_SUPERSEDED_DAYS,
        as_of: When | None = None,
    ) -> StudyLake:
        """One study's part; see ``StudyLake`` for the settings and errors.

        ``as_of`` opens a past state, to be read only: a record's number, a snapshot's name or an aware time. What was
        collected or withdrawn since raises ``PastStateError``.

        ``cipher`` is a cipher, or the name of one that the passphrase or the ``identity`` of age is enough for; only
        ``None`` stores files unencrypted. Raises ``ConfigurationError`` for an unknown name, or one that needs more.
        """
        if isinstance(cipher, str):
            cipher = cipher_by_name(cipher, CipherKeys(passphrase=passphrase, identity=identity))
        lake = StudyLake(
            self.storage,
            study_id,
            passphrase=passphrase,
            cipher=cipher,
            compression=compression,
            plain_streams=plain_streams,
            identity=identity,
            witness=self.witness,
            keep_superseded_days=keep_superseded_days,
        )
        return lake if as_of is None else lake.at(as_of)


def open_storage(url: str | os.PathLike[str]) -> Storage:
    """The storage at a folder's path, or at a URL such as ``s3://bucket/lake``.

    Raises ``ConfigurationError`` for a URL that can't be used, without repeating it: it may hold credentials.
    """
    text = os.fspath(url)
    protocol, separator, path = text.partition("://")
    if not separator:
        return LocalStorage(text)
    if protocol in ("file", "local"):  # fsspec has two names for it, and opens local files without care
        return LocalStorage(_path_of_url(path))
    from dagster_beiwe.lake.storage.object_store import ObjectStorage

    return ObjectStorage(text)


def _path_of_url(path: str) -> str:
    if not path.startswith("/"):
        raise ConfigurationError(
            "The file URL of the lake contains a host. Nothing was opened. Write a path or file:///folder in "
            f"{BEIWE_LAKE}."
        )
    return path
