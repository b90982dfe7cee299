"""One study's part of the lake: read what is committed, and open it for writing."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import BinaryIO, get_args

from dagster_beiwe.encryption import Cipher, CrypteaseCipher, check_cipher
from dagster_beiwe.errors import ConfigurationError, EncryptionError, IntegrityError, WindowMismatchError
from dagster_beiwe.lake.index import IndexEntry, read_index
from dagster_beiwe.lake.keys import key_path, open_authenticator
from dagster_beiwe.lake.manifest import Authenticator, FileRecord, Manifest
from dagster_beiwe.lake.pending import Pending, read_pending
from dagster_beiwe.lake.roll import Roll, write_roll
from dagster_beiwe.lake.staging import Compression, FileForm
from dagster_beiwe.lake.storage import Storage
from dagster_beiwe.lake.stored import open_stored
from dagster_beiwe.lake.writer import LakeWriter
from dagster_beiwe.names import check_participant_id, check_study_id, is_participant_id
from dagster_beiwe.windows import Window, start_of_key


class StudyLake:
    """The lake of one study. Usable from several threads.

    ``passphrase`` authenticates manifests, and decrypts what the cipher ``cryptease`` encrypted before. ``cipher``
    encrypts files; None, and nothing else, stores them unencrypted. ``plain_streams`` are stored so in any case. Raises
    ``ConfigurationError`` for a cipher or compression that is none.
    """

    def __init__(
        self,
        storage: Storage,
        study_id: str,
        *,
        passphrase: str | None,
        cipher: Cipher | None,
        compression: Compression = "zstd",
        plain_streams: Collection[str] = (),
    ) -> None:
        self.storage = storage
        self.study_id = check_study_id(study_id)
        self._passphrase = passphrase or None
        self._compression = _checked(compression)
        self._plain_streams = frozenset(plain_streams)
        self._lock = threading.Lock()
        self._authenticator: Authenticator | None = None
        self._cipher = check_cipher(cipher)
        # Also what was locked before the study's configuration changed is read.
        known = [CrypteaseCipher(passphrase)] if passphrase else []
        self._ciphers: dict[str, Cipher] = {each.name: each for each in (*known, cipher) if each is not None}

    def __repr__(self) -> str:
        return f"<StudyLake {self.study_id} at {self.storage.describe()}>"

    @property
    def authenticator(self) -> Authenticator:
        """Checks manifests. Raises ``WrongPassphraseError`` before anything is read."""
        return self.authenticate()

    def authenticate(self, *, create: bool = False, storage: Storage | None = None) -> Authenticator:
        """Check the passphrase against the study's key file, which ``create`` makes for a new study.

        ``storage`` is that of the run which makes it.
        """
        with self._lock:
            if self._authenticator is not None:
                return self._authenticator
            # A study without key file may get one at any moment: what stands in for it must not be kept.
            lasting = create or self.storage.exists(key_path(self.study_id))
            place = storage or self.storage
            found = open_authenticator(
                place,
                self.study_id,
                self._passphrase,
                create=create,
                first=lambda authenticator: write_roll(place, authenticator, self.study_id, Roll()),
            )
            if lasting:
                self._authenticator = found
            return found

    @property
    def exists(self) -> bool:
        """Whether anything of the study was ever committed to the lake."""
        return self.storage.exists(key_path(self.study_id))

    def form(self, stream: str) -> FileForm:
        """How files of a stream are stored."""
        return FileForm(cipher=None if stream in self._plain_streams else self._cipher, compression=self._compression)

    def participants(self) -> list[str]:
        """Ids of all participants with a committed window, sorted."""
        return [name for name in self.storage.list(self.study_id) if is_participant_id(name) and self.windows(name)]

    def windows(self, participant: str) -> list[str]:
        """Keys of a participant's committed windows, oldest first."""
        names = self.storage.list(self.folder(participant, ".beiwe"))
        return sorted({name.rpartition(".")[0] for name in names if name.endswith((".json", ".pending"))})

    def manifest(self, participant: str, window: str | Window) -> Manifest | None:
        """What is committed of a window, or None. Raises ``IntegrityError`` if the manifest was changed.

        A commit that was interrupted half way is read as done: its files are found where they lie.
        """
        key = window if isinstance(window, str) else window.key
        pending = read_pending(self.storage, self.authenticator, self.folder(participant), key)
        manifest = pending_manifest(self.storage, self.folder(participant), pending) if pending else None
        if manifest is None:
            path = self.folder(participant, f".beiwe/{key}.json")
            try:
                data = self.storage.read(path)
            except FileNotFoundError:
                return None
            manifest = self.authenticator.unseal_manifest(data, name=path)
        _check_place(manifest, self.study_id, participant, key)
        if isinstance(window, Window) and not window.name and manifest.span != window:
            raise _mismatch(window, manifest)
        return manifest

    def check_windows(self, participant: str, windows: Sequence[Window]) -> None:
        """Raise ``WindowMismatchError`` if consecutive windows overlap committed ones that begin elsewhere."""
        dated = [window for window in windows if not window.name]
        starts = {key: start_of_key(key) for key in self.windows(participant)}
        own = {window.key for window in dated}
        earlier = [key for key, start in starts.items() if dated and start and start < dated[0].start]
        inside = [key for key, start in starts.items() if dated and start and dated[0].start < start < dated[-1].end]
        for key in (*earlier[-1:], *(key for key in inside if key not in own)):
            manifest = self.manifest(participant, key)
            for window in dated:
                if manifest and window.start < manifest.span.end and manifest.span.start < window.end:
                    raise _mismatch(window, manifest)

    def index(self, participant: str) -> Mapping[str, IndexEntry]:
        """The newest commit of each of a participant's windows, in one small read."""
        return read_index(self.storage, self.authenticator, self.study_id, participant).windows

    def manifests(self, participant: str) -> Iterator[Manifest]:
        """All manifests of a participant, oldest window first."""
        for key in self.windows(participant):
            manifest = self.manifest(participant, key)
            if manifest is not None:
                yield manifest

    def open(self, participant: str, record: FileRecord) -> BinaryIO:
        """The plain content of a file as a stream that can't seek.

        Raises ``IntegrityError`` at the end if what was read is not what was committed, and ``EncryptionError`` if
        it is locked in a way that can't be opened here.
        """
        cipher = None
        if record.encryption != "none":
            cipher = self._ciphers.get(record.encryption)
            if cipher is None or not cipher.can_decrypt:
                raise EncryptionError(
                    f"Expected a key for files locked with {record.encryption!r}, got none; nothing was read. Give "
                    "the study's passphrase (or age identity) to the lake."
                )
        return open_stored(self.storage, self.folder(participant, record.path), record, cipher)

    def read(self, participant: str, record: FileRecord) -> bytes:
        """The plain content of a file, checked before it is returned."""
        with self.open(participant, record) as file:
            return file.read()

    def writer(self, *, run_id: str) -> AbstractContextManager[LakeWriter]:
        """Open the study for writing. Creates its key file, finishes or removes what dead runs left.

        Raises ``WrongPassphraseError`` or ``LakeUnavailableError`` before anything is written.
        """
        return LakeWriter(self, run_id=run_id)

    def folder(self, participant: str, below: str = "") -> str:
        """Path of a participant's folder, or of something below it."""
        folder = f"{self.study_id}/{check_participant_id(participant)}"
        return f"{folder}/{below}" if below else folder


def pending_manifest(storage: Storage, folder: str, pending: Pending) -> Manifest:
    """The manifest of an interrupted commit, with each file at the place where it lies now."""
    waiting = {path: part for part, path in pending.moves if storage.exists(f"{folder}/{part}")}
    files = (replace(record, path=waiting.get(record.path, record.path)) for record in pending.manifest.files)
    return replace(pending.manifest, files=tuple(files))


def _checked(compression: Compression) -> Compression:
    if compression in get_args(Compression):
        return compression
    raise ConfigurationError(
        f"There is no compression {str(compression)[:40]!r}; nothing was read or written. Pass 'zstd' or 'none'."
    )


def _mismatch(window: Window, manifest: Manifest) -> WindowMismatchError:
    return WindowMismatchError(
        f"Expected no other window of participant {manifest.participant} between {window.start.isoformat()} and "
        f"{window.end.isoformat()}, got one in the lake from {manifest.start} to {manifest.end}; nothing was written. "
        "The study's `window` was changed after data was committed: change it back, or use another lake."
    )


def _check_place(manifest: Manifest, study_id: str, participant: str, window: str) -> None:
    if (manifest.study_id, manifest.participant, manifest.window) != (study_id, participant, window):
        raise IntegrityError(
            f"Expected the manifest of participant {participant}, window {window}, got that of another; it was not "
            "trusted. Files were swapped: run `dagster-beiwe verify`, restore them from a backup, or remove the "
            "window's manifest and run the partition again."
        )
