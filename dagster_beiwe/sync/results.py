"""What a synchronisation is asked for, and what it tells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from dagster_beiwe.cells import Cell
from dagster_beiwe.lake import FetchFailure


@dataclass(frozen=True, kw_only=True)
class WindowReport:
    """One window after it was committed by a ``record`` of the lake's log (0 if it was not).

    ``complete`` is False if a part could not be fetched: the good rest is committed, and ``failures`` name that part.
    ``files``, ``size_bytes`` (plain) and ``stored_bytes`` are what the window holds now; ``added`` to
    ``unchanged_bytes`` count the files and plain bytes of this commit. ``not_sent`` counts held files that the server
    did not send and yet may count: it may have lost them, so they stay as present. ``mislisted`` counts files that were
    stored although the server listed another hash, twice; ``unchecked`` those that came in an archive that broke off
    before it told hashes, and are requested again by the next run. ``downloaded_bytes`` and ``requests`` are counted on
    one window of each request. ``participant_deleted_upstream`` tells that the server no longer has the participant;
    ``participant_unknown`` that neither the server nor the lake has anything of one, so that the id may be mistyped.
    """

    cell: Cell
    complete: bool
    data_version: str
    record: int
    files: int
    size_bytes: int
    stored_bytes: int
    added: int = 0
    changed: int = 0
    deleted_upstream: int = 0
    unchanged: int = 0
    added_bytes: int = 0
    changed_bytes: int = 0
    deleted_upstream_bytes: int = 0
    unchanged_bytes: int = 0
    not_sent: int = 0
    mislisted: int = 0
    unchecked: int = 0
    downloaded_bytes: int = 0
    requests: int = 0
    files_by_stream: Mapping[str, int] = field(default_factory=dict)
    participant_deleted_upstream: bool = False
    participant_unknown: bool = False
    failures: tuple[FetchFailure, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a run is; bytes are of archives as received and of files as stored."""

    cells_done: int
    cells_total: int
    files: int
    downloaded_bytes: int
    stored_bytes: int
    elapsed_seconds: float

    @property
    def rate_bytes_per_second(self) -> float:
        return self.downloaded_bytes / self.elapsed_seconds if self.elapsed_seconds else 0.0


@dataclass(frozen=True, kw_only=True)
class FetchPolicy:
    """How much to ask for at a time, and how stubborn to be. Sizes are plain bytes.

    A request is one participant's run of hours, of ``request_bytes`` where the size is known or can be guessed and of
    ``first_request_hours`` where not, never longer than ``longest_request_hours``. ``attempts`` is how often a request
    that breaks off is asked for before it is halved. ``workers`` threads check and write while the archive arrives;
    small files are locked ``batch_bytes`` at a time, and at most ``buffer_bytes`` of them are held. ``registry_bytes``
    bounds the list of files already held (proxies refuse request bodies over 1 MB). ``remove_deleted_upstream`` removes
    files of which the daily counts prove that the server no longer has them, instead of keeping and marking them.
    ``progress_seconds`` lie between progress reports.
    """

    request_bytes: int = 256 * 1024 * 1024
    first_request_hours: int = 14 * 24
    longest_request_hours: int = 366 * 24
    attempts: int = 2
    workers: int = 4
    batch_bytes: int = 64 * 1024 * 1024
    buffer_bytes: int = 96 * 1024 * 1024
    registry_bytes: int = 900_000
    remove_deleted_upstream: bool = False
    progress_seconds: float = 10.0
