"""Every error that this package raises on purpose.

Catch ``BeiweError`` to catch them all::

    BeiweError
    ├── ConfigurationError          a setting or an argument cannot be used
    │   ├── CredentialsError        credentials are missing, incomplete, or unreadable
    │   │   ├── KeyringFileError        the keyring file is missing, unreadable, or not an encrypted keyring
    │   │   ├── KeyringPassphraseError  the keyring's passphrase is missing or wrong
    │   │   └── KeyringSectionError     the keyring lacks the section, or the section cannot be used
    │   ├── UnknownStreamError      Beiwe has no data stream of this name
    │   ├── NotATableError          the stream's files are not tables: recordings, images, JSON
    │   ├── TimeRangeError          a time is naive, reversed, or not on the hour
    │   ├── UnknownStateError       the study does not have this past state or snapshot
    │   └── PassphraseMissingError  the study must be encrypted, and there is no passphrase
    ├── ServerError                 a request to the Beiwe server failed
    │   ├── ConnectionFailedError   (transient) refused, reset, timed out, or cut off in the middle of a response
    │   │   └── PermanentConnectionError    an untrusted certificate, a malformed proxy URL
    │   ├── RedirectError           the server redirected the client; the credentials did not follow
    │   ├── AccessDeniedError       403: wrong keys, or no access to the study
    │   ├── NotFoundError           404: no such study, participant, or stream
    │   ├── RouteMissingError       this version of the server cannot tell, or lacks the endpoint
    │   ├── RequestRefusedError     another 4xx: the server does not accept the request
    │   │   └── RequestTooLargeError    413: the request's body exceeds a proxy's limit
    │   ├── ServerBusyError         (transient) 429, 502, 503, 504
    │   ├── ServerFailedError       500: an error inside the server
    │   └── BadAnswerError          status 200, but not what the endpoint promises
    ├── ArchiveError                a downloaded archive breaks the protocol
    │   ├── TruncatedArchiveError   (transient) it ends before its last member
    │   ├── DamagedMemberError      a member has the wrong CRC, size, hash, or compression
    │   │   ├── FrameTooLargeError      a zstd frame that cannot be checked in bounded memory
    │   │   ├── HashMismatchError       a file does not have the hash that the server lists
    │   │   └── CountMismatchError      nor does its size fit the bytes that the server counts
    │   ├── UnpackedFileError       the server lists files that it does not pack
    │   └── HostileArchiveError     unsafe names or sizes
    ├── NoticeNotSentError          (transient) a mail server or webhook did not accept a notice
    ├── TableNotMadeError           the table of a participant's window failed in a way that nobody foresaw
    ├── AnalysisFailedError         an analysis of Forest failed for a participant's window
    ├── EncryptionError             a file cannot be encrypted or decrypted
    │   └── WrongPassphraseError    the passphrase is not the one that the data is encrypted with
    ├── ProcessLostError            (transient) a process that helped this one was ended, or could not start
    └── LakeError                   the lake on a disk or in an object store
        ├── LakeUnavailableError    it cannot be read or written: permissions, full disk, network
        │   └── OutcomeUnknownError     the store did not say whether a commit was made
        ├── IntegrityError          what is stored differs from what was committed
        ├── WindowMismatchError     windows of another length were committed before
        ├── CommitConflictError     (transient) another run committed the same window
        │   └── WithdrawnError          the participant's data was withdrawn; also a PastStateError
        ├── PastStateError          what a past state held was collected or purged
        └── TableMissingError       the table or partition was never written

A message says what went wrong, with the value, what state that leaves, and what to do. It never contains a secret, a
URL with credentials, a row of data, or a coordinate.
"""

from __future__ import annotations

import copyreg
from collections.abc import Iterable
from typing import Any, ClassVar


class BeiweError(Exception):
    """Base of all errors of this package."""

    transient: ClassVar[bool] = False
    """Whether the same attempt may succeed a little later, without anybody changing anything."""

    def __reduce__(self) -> tuple[Any, ...]:
        """What is said and known of it, whatever its ``__init__`` takes: errors cross from one process to another."""
        return copyreg.__newobj__, (type(self), *self.args), self.__dict__  # type: ignore[attr-defined]


class ConfigurationError(BeiweError):
    """A setting or an argument cannot be used."""


class CredentialsError(ConfigurationError):
    """The credentials are missing, incomplete, or unreadable."""


class KeyringFileError(CredentialsError):
    """The keyring file is missing, unreadable, not encrypted, or not a keyring."""


class KeyringPassphraseError(CredentialsError):
    """The keyring's passphrase is missing or wrong."""


class KeyringSectionError(CredentialsError):
    """The keyring lacks the section, or a value in the section is missing or malformed."""


class UnknownStreamError(ConfigurationError):
    """Beiwe has no data stream of this name."""


class NotATableError(ConfigurationError):
    """The stream cannot be read as a table, because its files are recordings, images, or JSON."""


class TimeRangeError(ConfigurationError):
    """A time is naive or not on the hour, or the start is not before the end."""


class UnknownStateError(ConfigurationError):
    """The study does not have this past state or snapshot."""


class PassphraseMissingError(ConfigurationError):
    """Streams must be encrypted, but there is no passphrase for the study."""


class ServerError(BeiweError):
    """A request to the Beiwe server failed.

    ``status`` is the HTTP status, or None if there was none.
    """

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class ConnectionFailedError(ServerError):
    """The connection was refused, reset, or timed out, or it ended in the middle of a response."""

    transient = True


class PermanentConnectionError(ConnectionFailedError):
    """The connection fails until somebody changes a setting: an untrusted certificate, a malformed proxy URL."""

    transient = False


class RedirectError(ServerError):
    """The server responded with a redirect. The client never follows one with credentials."""


class AccessDeniedError(ServerError):
    """403: the keys are wrong, or the researcher has no access to the study."""


class NotFoundError(ServerError):
    """404 with an empty body or a short text: the study, participant, or stream does not exist or has no data."""


class RouteMissingError(ServerError):
    """This version of the server lacks the endpoint (404 with an HTML page), or does not report what was asked for."""


class RequestRefusedError(ServerError):
    """The server does not accept the request (a 4xx other than 403 and 404).

    ``fields`` are the fields that the server says it does not have.
    """

    def __init__(self, message: str, *, status: int | None = None, fields: Iterable[str] = ()) -> None:
        super().__init__(message, status=status)
        self.fields = frozenset(fields)


class RequestTooLargeError(RequestRefusedError):
    """413: the request's body exceeds the limit of a proxy in front of the server."""


class ServerBusyError(ServerError):
    """429, 502, 503, or 504: the server is overloaded, restarting, or in maintenance.

    ``retry_after_seconds`` is how long the server asks to wait, or None.
    """

    transient = True

    def __init__(self, message: str, *, status: int | None = None, retry_after_seconds: float | None = None) -> None:
        super().__init__(message, status=status)
        self.retry_after_seconds = retry_after_seconds


class ServerFailedError(ServerError):
    """500: an error inside the server."""


class BadAnswerError(ServerError):
    """The status is 200, but the body is not what the endpoint promises."""


class ArchiveError(BeiweError):
    """A downloaded archive breaks the protocol."""


class TruncatedArchiveError(ArchiveError):
    """The archive ends before its last member: the download was cut off."""

    transient = True


class DamagedMemberError(ArchiveError):
    """A member has the wrong CRC, size, hash, or compression.

    ``member`` is its name in the archive.
    """

    def __init__(self, message: str, *, member: str) -> None:
        super().__init__(message)
        self.member = member


class FrameTooLargeError(DamagedMemberError):
    """A zstd frame cannot be checked in bounded memory; the file must be requested uncompressed."""


class HashMismatchError(DamagedMemberError):
    """A file does not have the hash that the server lists: it is being merged right now, or listed wrongly."""


class CountMismatchError(DamagedMemberError):
    """A file has a different hash than the server lists, and a size that does not fit the server's counts."""


class UnpackedFileError(ArchiveError):
    """The server lists files that it does not pack."""


class HostileArchiveError(ArchiveError):
    """The archive contains names or sizes that must not be trusted."""


class NoticeNotSentError(BeiweError):
    """A mail server or webhook did not accept a notice. Nobody received it, and it is sent again."""

    transient = True


class TableNotMadeError(BeiweError):
    """The table of a participant's window failed in a way that nobody foresaw: stream tables and Forest's."""


class AnalysisFailedError(BeiweError):
    """An analysis of Forest failed for a window of a participant."""


class ProcessLostError(BeiweError):
    """A process that helped this one was ended from outside, or could not start."""

    transient = True


class EncryptionError(BeiweError):
    """A file cannot be encrypted or decrypted."""


class WrongPassphraseError(EncryptionError):
    """The passphrase is not the one that the data is encrypted with."""


class LakeError(BeiweError):
    """The lake cannot do what was requested."""


class LakeUnavailableError(LakeError):
    """The lake cannot be read or written: permissions, a full disk, or the object store."""


class OutcomeUnknownError(LakeUnavailableError):
    """The store did not say whether a commit was made. The commit may still appear."""


class IntegrityError(LakeError):
    """What is stored differs from what was committed."""


class WindowMismatchError(LakeError):
    """The lake contains windows of another length under the same keys."""


class CommitConflictError(LakeError):
    """Another run committed the same window in the meantime."""

    transient = True


class PastStateError(LakeError):
    """What a past state held is no longer stored: it was collected, or its participant was purged."""


class WithdrawnError(CommitConflictError, PastStateError):
    """The data of a participant was withdrawn: it is in no state any more, and a run of before writes no more of it."""

    transient = False


class TableMissingError(LakeError):
    """The table, or this partition of it, was never written."""
