"""What a verification says: how much was inspected, and what differs from what was committed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from dagster_beiwe.cells import CellKey
from dagster_beiwe.lake.catalog.opening import Seen
from dagster_beiwe.lake.catalog.records import Place

FindingKind = Literal[
    "log damaged", "copy changed", "participant missing", "token changed", "manifest missing", "manifest changed",
    "file missing", "file changed", "file unreadable", "past version damaged", "collected", "file unaccounted for",
    "table missing", "table changed",
]  # fmt: skip

_NUMBERS = ("participants", "windows", "tables", "files", "size_bytes", "files_checked", "bytes_checked")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something that differs from what was committed. ``window`` and ``path`` are None where they do not apply.

    ``path`` is below the participant's folder. For files of tables and of nobody, ``participant`` is empty and ``path``
    is below the lake's root. ``place`` and ``at`` identify the version: the log's name of its window or table, and the
    record that committed it.
    """

    kind: FindingKind
    participant: str = ""
    window: str | None = None
    path: str | None = None
    detail: str = field(default="", compare=False)
    place: Place | None = field(default=None, compare=False, repr=False)
    at: int = field(default=0, compare=False, repr=False)

    def __str__(self) -> str:
        place = "/".join(part for part in (self.participant, self.window, self.path) if part)
        return f"{self.kind}: {place}" + (f" ({self.detail})" if self.detail else "")


@dataclass
class Verification:
    """What was inspected, and what was found. ``intact`` if there are no findings.

    ``files`` and ``size_bytes`` (as stored) are those of the newest versions.
    ``head`` is the newest record of the log, None if there is no log: remember it to notice if the study is cut or
    rolled back. ``withdrawn`` has the records that withdrew participants of a past state since, one for each.
    """

    head: Seen | None = None
    participants: int = 0
    windows: int = 0
    tables: int = 0
    files: int = 0
    size_bytes: int = 0
    files_checked: int = 0
    bytes_checked: int = 0
    withdrawn: tuple[int, ...] = ()
    findings: list[Finding] = field(default_factory=list)

    @property
    def intact(self) -> bool:
        return not self.findings

    def add(self, part: Verification) -> None:
        """Add the findings and numbers of a part of the same state."""
        self.findings += part.findings
        for name in _NUMBERS:
            setattr(self, name, getattr(self, name) + getattr(part, name))

    @property
    def partitions(self) -> list[str]:
        """Partition keys to repair and run again, sorted."""
        return partitions_of(self.findings)


def partitions_of(findings: Iterable[Finding]) -> list[str]:
    """Partition keys of the windows whose newest version differs from what was committed, sorted."""
    found = [each for each in findings if each.kind not in ("past version damaged", "collected")]
    return sorted({str(CellKey(each.participant, each.window)) for each in found if each.participant and each.window})
