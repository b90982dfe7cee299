"""One study's part of the lake: read what is committed, and open it for writing."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from copy import copy
from datetime import datetime
from typing import BinaryIO, Final, TypeVar, get_args

from dagster_beiwe.encryption import Cipher, CipherKeys, KeyRing
from dagster_beiwe.errors import (
    ConfigurationError,
    IntegrityError,
    PastStateError,
    TimeRangeError,
    UnknownStateError,
    WindowMismatchError,
)
from dagster_beiwe.ids import check_participant_id, check_study_id
from dagster_beiwe.lake.catalog.catalog import Catalog
from dagster_beiwe.lake.catalog.manifests import absent, read_manifest, read_manifests
from dagster_beiwe.lake.catalog.opening import Opening
from dagster_beiwe.lake.catalog.records import Head
from dagster_beiwe.lake.catalog.state import State
from dagster_beiwe.lake.catalog.versions import Version
from dagster_beiwe.lake.layout import LogLayout, Subject
from dagster_beiwe.lake.manifest import FileRecord, FileSizes, Manifest, decode, decode_sizes
from dagster_beiwe.lake.staging import Compression, FileForm
from dagster_beiwe.lake.storage.base import Storage
from dagster_beiwe.lake.stored import missing_file, open_stored, read_stored
from dagster_beiwe.lake.study_files import StudyFiles
from dagster_beiwe.windows import Window, start_of_key

KEEP_SUPERSEDED_DAYS: Final = 30.0

_T = TypeVar("_T")

When = int | str | datetime
"""A past state: a record's number, a snapshot's name, or a time."""


class StudyLake:
    """The lake of one study. Usable from several threads.

    ``passphrase`` authenticates the log. ``cipher`` encrypts files; None, and nothing else, stores them unencrypted.
    ``plain_streams`` are stored so in any case. Files are decrypted regardless of the cipher that encrypted them, with
    the passphrase or ``identity``, the content of a private key file of age. ``witness`` is another place, with other
    credentials, that remembers the log. Superseded versions are kept for ``keep_superseded_days``. Raises
    ``ConfigurationError`` for an invalid cipher, identity, or compression.

    What is read is the newest state at each call; ``at`` keeps to one state.
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
        witness: Storage | None = None,
        keep_superseded_days: float = KEEP_SUPERSEDED_DAYS,
        identity: str | None = None,
    ) -> None:
        self.storage = storage
        self.study_id = check_study_id(study_id)
        self.keep_superseded_days = keep_superseded_days
        self._passphrase = passphrase or None
        self._compression = _checked(compression)
        self._plain_streams = frozenset(plain_streams)
        self.log = Opening(storage, study_id, self._passphrase, witness=witness)
        self.ring = KeyRing(cipher, CipherKeys(passphrase=self._passphrase, identity=identity))

    def __repr__(self) -> str:
        return f"<StudyLake {self.study_id} at {self.storage.describe()}>"

    def catalog(self) -> Catalog | None:
        """The study's log; None for a study that the lake does not hold.

        Raises ``WrongPassphraseError`` before anything else is read, and ``IntegrityError`` for a log that is
        incomplete or lacks what its checkpoints or its witness have seen.
        """
        return self.log.catalog()

    @property
    def files(self) -> StudyFiles:
        """Where its files are, and the keys that open them."""
        return StudyFiles(self.storage, self.ring, LogLayout(self.log.folder).inside)

    @property
    def exists(self) -> bool:
        """Whether anything of the study was ever committed to the lake."""
        return self.catalog() is not None

    @property
    def state(self) -> State:
        """The state that this lake was opened at, or else the newest."""
        return self.log.state()

    def follows(self, number: int, digest: str) -> bool:
        """Whether a record of the log, given by its number and hash, led to the state that this lake was opened at."""
        catalog, state, head = self.catalog(), self.state, Head(number, digest)
        return catalog is not None and number <= state.number and head not in state.lost and catalog.knows(head)

    def at(self, when: When | State | None = None) -> StudyLake:
        """The study as it was at a record's number, a snapshot's name or a time; by default as it is now.

        Raises ``UnknownStateError`` for a state that it does not have, ``TimeRangeError`` for a time without a zone.
        """
        if isinstance(when, bool) or not isinstance(when, int | str | datetime | State | None):
            raise UnknownStateError(
                f"{when!r} names no past state. Nothing was read. Give a record's number, a snapshot's name, or a time "
                "with a zone."
            )
        if isinstance(when, datetime) and when.tzinfo is None:
            raise TimeRangeError(
                f"The time {when.isoformat()} of a past state has no zone; nothing was read. Add it, for instance "
                "datetime(..., tzinfo=timezone.utc)."
            )
        if when is None or isinstance(when, State):
            state = when
        elif (catalog := self.catalog()) is not None:
            state = catalog.at(when)
        else:
            raise UnknownStateError(
                f"The lake at {self.storage.describe()} holds nothing of study {self.study_id}, so it has no state "
                f"{when!s}. Nothing was read."
            )
        pinned = copy(self)
        pinned.log = self.log.at(state)
        return pinned

    def reopened(self) -> StudyLake:
        """The same study, whose log is to be read anew, as another process would."""
        again = copy(self)
        again.log = self.log.reopened()
        return again

    def form(self, stream: str) -> FileForm:
        """How files of a stream are stored."""
        return FileForm(
            cipher=None if stream in self._plain_streams else self.ring.cipher, compression=self._compression
        )

    def participants(self, *, skip_damaged: bool = False) -> list[str]:
        """Ids of all participants with a committed window, sorted.

        Raises ``IntegrityError`` if a participant's folder or token is damaged or missing, unless ``skip_damaged``:
        then such participants are left out.
        """
        catalog, state = self.catalog(), self.state
        if catalog is None:
            return []
        if not skip_damaged:
            catalog.identities.resolve(state, "")
        tokens = [token for token in state.section() if state.current(token)]
        return sorted(str(subject.name) for subject in catalog.identities.subjects("", tokens, state))

    def index(self, participant: str) -> Mapping[str, Version]:
        """The newest version of each of a participant's windows, by key, oldest window first."""
        state, token = self._held(participant)
        return state.current(token) if token else {}

    def versions(self, participant: str) -> Mapping[str, Sequence[Version]]:
        """The retained versions of each of a participant's windows, newest last."""
        state, token = self._held(participant)
        return state.section().windows(token) if token else {}

    def windows(self, participant: str) -> list[str]:
        """Keys of a participant's committed windows, oldest first."""
        return list(self.index(participant))

    def counts_secret(self, participant: str) -> bytes | None:
        """The key of the fingerprints of the server's counts for a participant; None for one without any data."""
        catalog, (state, token) = self.catalog(), self._held(participant)
        return catalog.identities.secret(_subject(participant), state) if catalog and token else None

    def manifest(self, participant: str, window: str | Window) -> Manifest | None:
        """What is committed of a window, or None. Raises ``IntegrityError`` if the manifest was changed.

        Raises ``WindowMismatchError`` for a window of that key and another length.
        """
        key = window if isinstance(window, str) else window.key
        version = self.index(participant).get(key)
        manifest = self.manifest_of(participant, key, version) if version else None
        if manifest and isinstance(window, Window) and not window.name and manifest.span != window:
            raise _mismatch(window, manifest)
        return manifest

    def manifest_of(self, participant: str, window: str, version: Version) -> Manifest:
        """The manifest of one version of a window. Raises ``PastStateError`` if it was collected."""
        catalog = self.catalog()
        assert catalog is not None, "whoever has a version has the log"
        data = read_manifest(catalog, _subject(participant), window, version)
        manifest = decode(data, name=self._name(participant, window, version))
        _check_place(manifest, self.study_id, participant, window)
        return manifest

    def check_windows(self, participant: str, windows: Sequence[Window]) -> None:
        """Raise ``WindowMismatchError`` if consecutive windows overlap committed ones that begin elsewhere."""
        lake = self.at()
        dated = [window for window in windows if not window.name]
        starts = {key: start_of_key(key) for key in lake.windows(participant)}
        own = {window.key for window in dated}
        earlier = [key for key, start in starts.items() if dated and start and start < dated[0].start]
        inside = [key for key, start in starts.items() if dated and start and dated[0].start < start < dated[-1].end]
        for key in (*earlier[-1:], *(key for key in inside if key not in own)):
            manifest = None
            with suppress(IntegrityError):  # nothing can be committed to that window, whatever its length
                manifest = lake.manifest(participant, key)
            for window in dated:
                if manifest and window.start < manifest.span.end and manifest.span.start < window.end:
                    raise _mismatch(window, manifest)

    def manifests(self, participant: str) -> Iterator[Manifest]:
        """The manifests of a participant's windows in one state, oldest window first."""
        for key, version in self.index(participant).items():
            yield self.manifest_of(participant, key, version)

    def sizes(self, participant: str, windows: Collection[str]) -> Iterator[FileSizes]:
        """Streams, times and sizes of the files in a participant's windows with these keys, oldest window first.

        Many times as fast as ``manifests``. Raises ``IntegrityError`` if a manifest was changed.
        """
        if (catalog := self.catalog()) is None:
            return
        wanted = {key: version for key, version in self.index(participant).items() if key in windows}
        for key, data in read_manifests(catalog, _subject(participant), wanted):
            sizes = decode_sizes(data, name=self._name(participant, key, wanted[key]))
            _check_place(sizes, self.study_id, participant, key)
            yield sizes

    def open(self, participant: str, record: FileRecord, *, window: str = "") -> BinaryIO:
        """The plain content of a file as a stream that can't seek; ``window`` is the one whose manifest names it.

        Raises ``IntegrityError`` at the end if what was read is not what was committed, and ``EncryptionError`` if its
        key was not given, or is a wrong one. If the window is given, a file of a version that was collected since
        raises ``PastStateError``.
        """
        return self._stored(open_stored, participant, record, window)

    def read(self, participant: str, record: FileRecord, *, window: str = "") -> bytes:
        """The plain content of a file, checked before it is returned. Raises as ``open`` and reading it do."""
        return self._stored(read_stored, participant, record, window)

    def _stored(
        self,
        read: Callable[[Storage, str, FileRecord, KeyRing], _T],
        participant: str,
        record: FileRecord,
        window: str = "",
    ) -> _T:
        try:
            return read(self.storage, self.folder(participant, record.path), record, self.ring)
        except FileNotFoundError:
            raise self._absent(participant, record, window) from None

    def folder(self, participant: str, below: str = "") -> str:
        """Path of a participant's folder, or of something below it."""
        folder = f"{self.study_id}/{check_participant_id(participant)}"
        return f"{folder}/{below}" if below else folder

    def _name(self, participant: str, window: str, version: Version) -> str:
        """A manifest as messages name it."""
        return f"{self.folder(participant)}, window {window}, version {version.at}"

    def _held(self, participant: str) -> tuple[State, str | None]:
        """The state, and the token under which it has versions of a participant."""
        catalog, state, subject = self.catalog(), self.state, _subject(participant)
        return state, catalog.identities.held(subject, state) if catalog else None

    def _absent(self, participant: str, record: FileRecord, window: str) -> Exception:
        catalog, version = self.catalog(), self.index(participant).get(window)
        error = absent(catalog, _subject(participant), window, version) if catalog and version else None
        if isinstance(error, PastStateError):
            return error
        return missing_file(self.storage, self.folder(participant, record.path))


def _subject(participant: str) -> Subject:
    return Subject(check_participant_id(participant))


def _checked(compression: Compression) -> Compression:
    if compression in get_args(Compression):
        return compression
    raise ConfigurationError(
        f"There is no compression {str(compression)[:40]!r}; nothing was read or written. Pass 'zstd' or 'none'."
    )


def _mismatch(window: Window, manifest: Manifest) -> WindowMismatchError:
    return WindowMismatchError(
        f"The lake holds a window of participant {manifest.participant} from {manifest.start} to {manifest.end}, which "
        f"overlaps {window.start.isoformat()} to {window.end.isoformat()}. Nothing was written. The study's `window` "
        "differs from the one that data was committed with, which a lake keeps: change it back, or use another lake."
    )


def _check_place(manifest: Manifest | FileSizes, study_id: str, participant: str, window: str) -> None:
    if (manifest.study_id, manifest.participant, manifest.window) != (study_id, participant, window):
        raise IntegrityError(
            f"The manifest of participant {participant}, window {window}, names another place. It was not used. The "
            "log was written by another program: run `dagster-beiwe verify`, and restore the study from a backup."
        )
