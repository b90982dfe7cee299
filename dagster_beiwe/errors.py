"""Every error that this package raises on purpose.

Catch ``BeiweError`` to catch them all::

    BeiweError
    ├── ConfigurationError          what the user wrote can't be used
    │   ├── CredentialsError        keys of the server or the keyring file
    │   │   ├── KeyringFileError        missing, unreadable, or not an encrypted keyring
    │   │   ├── KeyringPassphraseError  none given, or the wrong one
    │   │   └── KeyringSectionError     no such section, or one that can't be used
    │   ├── UnknownStreamError      a stream name that Beiwe does not have
    │   ├── NotATableError          a stream of files that are no tables: recordings, images, JSON
    │   ├── TimeRangeError          naive, reversed or unaligned times
    │   ├── UnknownStateError       a past state or a snapshot that the study does not have
    │   └── PassphraseMissingError  a lake that must be locked, and nothing to lock it with
    ├── ServerError                 talking to the Beiwe server failed
    │   ├── ConnectionFailedError   refused, reset, timed out, or cut in the middle of an answer
    │   │   └── PermanentConnectionError    no trusted certificate, a malformed proxy: waiting does not help
    │   ├── RedirectError           the server sent the client elsewhere; credentials did not follow
    │   ├── AccessDeniedError       403: wrong keys, or a study out of reach
    │   ├── NotFoundError           404, empty: no such study, participant or stream
    │   ├── RouteMissingError       404, HTML: this server version lacks the endpoint
    │   ├── RequestRefusedError     other 4xx: the server does not accept the request as it is
    │   │   └── RequestTooLargeError    413: the body is over the proxy's limit
    │   ├── ServerBusyError         429, 502, 503, 504: try later
    │   ├── ServerFailedError       500: an error inside the server
    │   └── BadAnswerError          status 200, but not what the endpoint promises
    ├── ArchiveError                a downloaded archive is not what it should be
    │   ├── TruncatedArchiveError   it ends before its last member
    │   ├── DamagedMemberError      wrong CRC, size, hash or compression of one member
    │   └── HostileArchiveError     unsafe names or sizes
    ├── EncryptionError             a file can't be locked or unlocked
    │   └── WrongPassphraseError    the passphrase differs from the one that locked the data
    └── LakeError                   the lake on disk or in the object store
        ├── LakeUnavailableError    it can't be read or written (permissions, full disk, network)
        │   └── OutcomeUnknownError     the store did not say whether a commit was made
        ├── IntegrityError          what is stored differs from what was committed
        ├── WindowMismatchError     windows of another length were committed before
        ├── CommitConflictError     another run committed the same window meanwhile
        ├── PastStateError          what a past state held was collected or withdrawn
        └── TableMissingError       a table or partition that was never written

Messages say what was expected, what came, what was done and what to do next. They never hold a secret, a URL with
credentials, a row of data or a coordinate.
"""

from __future__ import annotations

from collections.abc import Iterable


class BeiweError(Exception):
    """Base of all errors of this package."""


class ConfigurationError(BeiweError):
    """Something the user configured can't be used as it is."""


class CredentialsError(ConfigurationError):
    """The credentials are missing, incomplete or unreadable."""


class KeyringFileError(CredentialsError):
    """The keyring file is missing, unreadable, not encrypted, or not a keyring."""


class KeyringPassphraseError(CredentialsError):
    """The passphrase of the keyring is missing or does not open it."""


class KeyringSectionError(CredentialsError):
    """The keyring lacks the section, or something in it is missing or malformed."""


class UnknownStreamError(ConfigurationError):
    """A data stream was named that Beiwe does not have."""


class NotATableError(ConfigurationError):
    """A stream was to be read as a table, but its files are none: recordings, images, JSON."""


class TimeRangeError(ConfigurationError):
    """A time is naive, not aligned to full hours, or the start is not before the end."""


class UnknownStateError(ConfigurationError):
    """A past state or a snapshot was named that the study does not have."""


class PassphraseMissingError(ConfigurationError):
    """Streams must be locked, but there is no passphrase for the study."""


class ServerError(BeiweError):
    """Talking to the Beiwe server failed.

    ``status`` is the HTTP status, or None where none was received.
    """

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class ConnectionFailedError(ServerError):
    """The connection was refused, reset, timed out, or ended in the middle of an answer."""


class PermanentConnectionError(ConnectionFailedError):
    """The connection fails the same way until somebody changes a setting: a certificate that is not trusted, or the URL
    of a proxy that is malformed. It is not tried again."""


class RedirectError(ServerError):
    """The server answered with a redirect, which is never followed with credentials."""


class AccessDeniedError(ServerError):
    """403: the keys are wrong, or the researcher has no access to the study."""


class NotFoundError(ServerError):
    """404 with an empty body or a short text: the study, participant or stream does not exist, or has nothing."""


class RouteMissingError(ServerError):
    """404 with an HTML body: this version of the server has no such endpoint."""


class RequestRefusedError(ServerError):
    """The server refuses the request as it was sent (a 4xx other than 403 and 404).

    ``fields`` are those that it says it does not have.
    """

    def __init__(self, message: str, *, status: int | None = None, fields: Iterable[str] = ()) -> None:
        super().__init__(message, status=status)
        self.fields = frozenset(fields)


class RequestTooLargeError(RequestRefusedError):
    """413: the request's body is larger than a proxy before the server allows."""


class ServerBusyError(ServerError):
    """429, 502, 503 or 504: the server is overloaded, restarting or in maintenance.

    ``retry_after_seconds`` is what the server asked for, or None.
    """

    def __init__(self, message: str, *, status: int | None = None, retry_after_seconds: float | None = None) -> None:
        super().__init__(message, status=status)
        self.retry_after_seconds = retry_after_seconds


class ServerFailedError(ServerError):
    """500: an error inside the server."""


class BadAnswerError(ServerError):
    """The status says success, but the body is not what the endpoint promises."""


class ArchiveError(BeiweError):
    """A downloaded archive is not what the protocol promises."""


class TruncatedArchiveError(ArchiveError):
    """The archive ended before its last member: the download was cut."""


class DamagedMemberError(ArchiveError):
    """One member's CRC, size, hash or compression is wrong.

    ``member`` is its name in the archive.
    """

    def __init__(self, message: str, *, member: str) -> None:
        super().__init__(message)
        self.member = member


class HostileArchiveError(ArchiveError):
    """The archive holds names or sizes that must not be trusted."""


class EncryptionError(BeiweError):
    """A file can't be locked or unlocked."""


class WrongPassphraseError(EncryptionError):
    """The passphrase differs from the one that locked the data."""


class LakeError(BeiweError):
    """The lake can't do what was asked."""


class LakeUnavailableError(LakeError):
    """The lake can't be read or written: permissions, a full disk, or the object store."""


class OutcomeUnknownError(LakeUnavailableError):
    """The store did not say whether a commit was made; it may still appear."""


class IntegrityError(LakeError):
    """What is stored differs from what was committed."""


class WindowMismatchError(LakeError):
    """The lake holds windows of another length under the same key."""


class CommitConflictError(LakeError):
    """Another run committed the same window while this one was downloading it."""


class PastStateError(LakeError):
    """What a past state of the lake held is no longer stored: it was collected, or a participant was withdrawn."""


class TableMissingError(LakeError):
    """The table, or this partition of it, has not been written."""
