"""Judge what was measured: whether a check passes, how severe a failure is, and which partitions to run. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import dagster as dg

from dagster_beiwe.cells import CellKey
from dagster_beiwe.checks.comparison import SHOWN, Comparison
from dagster_beiwe.checks.places import Places, table_of
from dagster_beiwe.environment import DAGSTER_HOME
from dagster_beiwe.lake.catalog.opening import Seen
from dagster_beiwe.maintenance.exposure import Protection
from dagster_beiwe.maintenance.verify import Verification
from dagster_beiwe.runs.check_history import failing_metadata
from dagster_beiwe.runs.remembered_heads import seen_metadata
from dagster_beiwe.studies.time_zones import StudyZone
from dagster_beiwe.text import listed, utc_minute

_NAMED = 1_000

_ERROR, _WARN = dg.AssetCheckSeverity.ERROR, dg.AssetCheckSeverity.WARN


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """A check's result, before it is tied to an asset."""

    passed: bool
    description: str
    severity: dg.AssetCheckSeverity = _ERROR
    metadata: Mapping[str, Any] = field(default_factory=dict)


def judge_completeness(found: Comparison, places: Places, zone: StudyZone) -> Verdict:
    """``complete``: old gaps are errors, everything else is a warning.

    Sizes show what is missing. Contents agree only as of the time when they were compared.
    """
    not_compared = ", ".join(sorted(found.not_compared))
    text = f"{_differences(found) or 'Sizes agree on every day'}. {_contents(found)}"
    if not_compared:
        text += f" Not compared, because the server does not count them or the study leaves them out: {not_compared}."
    if not zone.certain:
        text += " The time zone is a guess: set time_zone in the study's configuration."
    metadata: dict[str, Any] = {
        "days compared": found.days,
        "server bytes": found.server_bytes,
        "lake bytes": found.lake_bytes,
        "missing bytes": found.missing_bytes,
        "gaps": found.old + found.recent,
        "recent gaps": found.recent,
        "only in the lake": found.only_in_lake,
        "out-of-range bytes": found.out_of_range_bytes,
        "out-of-range bytes in the lake": found.out_of_range_lake_bytes,
        "streams not compared": not_compared or "none",
        "contents compared up to": dg.MetadataValue.timestamp(found.compared_at) if found.compared_at else "never",
        "windows": found.windows,
        "windows never compared": found.never_compared,
        "time zone": f"{zone.name} ({zone.source})",
        **places.metadata(found.cells, out_of_range=found.out_of_range),
    }
    if rows := found.first_rows:
        metadata["first gaps"] = table_of(rows)
    return Verdict(
        passed=found.complete,
        severity=_ERROR if found.old else _WARN,
        description=text,
        metadata=metadata,
    )


def _differences(found: Comparison) -> str:
    """How many days and participants differ; empty if none does."""
    parts = (
        _counted(found.old, "day of a stream is incomplete", "days of streams are incomplete"),
        _counted(found.recent, "recent one may be on its way", "recent ones may be on their way"),
        _counted(found.surplus, "has more in the lake than on the server", "have more in the lake than on the server"),
        _counted(
            len(found.out_of_range_to_fetch),
            "participant has out-of-range files that were not fetched",
            "participants have out-of-range files that were not fetched",
        ),
        _counted(
            len(found.out_of_range_surplus),
            "participant has out-of-range files that the server no longer counts",
            "participants have out-of-range files that the server no longer counts",
        ),
    )
    return "; ".join(filter(None, parts))


def _contents(found: Comparison) -> str:
    """What is known about the contents of windows, which may differ although sizes agree."""
    if found.compared_at is None:
        return "Contents were never compared." if found.windows else "Nothing was fetched yet."
    never = _counted(found.never_compared, "window was never compared", "windows were never compared")
    return f"Contents compared up to {utc_minute(found.compared_at)}{never and f'; {never}'}."


def judge_verification(
    found: Verification, places: Places, *, share: float, remembered: Collection[Seen] = ()
) -> Verdict:
    """``intact``: everything is as it was committed.

    ``remembered`` are heads of the log that Dagster has seen. The result remembers them even if the log has lost them.
    """
    rows = [
        {"what": each.kind, "participant": each.participant, "window": each.window or "", "path": each.path or ""}
        for each in found.findings[:SHOWN]
    ]
    metadata = {
        "participants": found.participants,
        "windows": found.windows,
        "tables": found.tables,
        "files": found.files,
        "files read": found.files_checked,
        "bytes read": found.bytes_checked,
        "share": share,
        "findings": len(found.findings),
        **seen_metadata(found.head or max(remembered, key=lambda seen: seen.number, default=None)),
        **places.metadata(list(map(CellKey.parse, found.partitions))),
    }
    if rows:
        metadata["first findings"] = table_of(rows)
    damage = " ".join(each.detail for each in found.findings if each.kind == "log damaged")
    kinds = ", ".join(sorted({each.kind for each in found.findings}))
    bad = f"Found: {kinds}. Run dagster-beiwe verify --repair, then materialize the partitions named below."
    if any(each.kind == "past version damaged" for each in found.findings):
        bad += " What a snapshot keeps stays damaged until a backup mends it, or the snapshot is removed."
    if damage:
        bad = (
            f"{damage} No run writes to the study until this is resolved. If you restored the study from a backup on "
            "purpose, stop all runs, and run this check once with the configuration accept_older: true."
        )
    good = "Everything is as it was committed."
    return Verdict(passed=found.intact, description=bad if kinds else good, metadata=metadata)


def judge_protection(found: Protection, places: Places, *, encrypted: str) -> Verdict:
    """``protected``: nothing is readable that should be encrypted, and nothing is open to others."""
    kinds = ", ".join(sorted({each.kind for each in found.findings}))
    metadata = {
        "files checked": found.files,
        "tables checked": found.tables,
        "permissions checked": found.permissions,
        "exposed": found.exposed,
        "encrypted streams": encrypted,
        **places.metadata(list(map(CellKey.parse, found.partitions))),
    }
    if found.findings:
        metadata["first findings"] = table_of(
            {"what": each.kind, "path": each.path, "mode": each.mode or "", "window": each.window or ""}
            for each in found.findings[:SHOWN]
        )
    advice = (
        f"Found: {kinds}. Close permissions with chmod (folders 0700, files 0600). Run dagster-beiwe verify --repair "
        "for files that were changed. If files were committed before their stream was encrypted, materialize their "
        f"windows again. Remove pickles from the folder storage of {DAGSTER_HOME}, and set io_manager_key for their "
        "assets."
    )
    good = "Everything that should be encrypted is, and no other user of this machine can read the lake."
    return Verdict(passed=found.protected, description=advice if kinds else good, metadata=metadata)


def judge_roster(
    *,
    ids: Sequence[str],
    table: Sequence[str] | None,
    partitions: Sequence[str],
    held: Sequence[str],
    recorded: Collection[str] = (),
) -> Verdict:
    """``roster``: whether server, participant table, partitions, and lake have the same participants.

    ``table`` is None if the server has no such table. ``recorded`` are participants for whom Dagster has recorded raw
    data: a partition that is neither among them nor anywhere else never was a participant.
    """
    seen = {*held, *recorded}
    never_seen = sorted(set(partitions) - seen - set(ids))
    deleted_upstream = sorted({*partitions, *held} - set(ids) - set(never_seen))
    flagged = sorted(set(ids) - set(table)) if table is not None else []
    absent = sorted(set(ids) - set(partitions))
    found = [
        _named(
            deleted_upstream, "no longer on the server; data and history are kept (dagster-beiwe purge removes data)"
        ),
        _named(never_seen, "never seen on the server; dagster-beiwe partitions remove removes a mistyped id"),
        _named(flagged, "flagged as deleted on the server"),
        _named(absent, "not a partition yet; materialize the roster, or turn on the participants sensor"),
    ]
    return Verdict(
        passed=not (deleted_upstream or never_seen or flagged or absent),
        severity=_WARN,
        description=" ".join(filter(None, found)) or "Server, partitions, and lake agree.",
        metadata={
            "on the server": len(ids),
            "partitions": len(partitions),
            "in the lake": len(held),
            "no longer on the server": listed(deleted_upstream, most=_NAMED) or "none",
            "never seen": listed(never_seen, most=_NAMED) or "none",
            "flagged as deleted": listed(flagged, most=_NAMED) or "none",
            "not a partition yet": listed(absent, most=_NAMED) or "none",
            **failing_metadata(dict.fromkeys(sorted({*deleted_upstream, *never_seen, *flagged, *absent}), "WARN")),
        },
    )


def judge_settings(
    history: Sequence[Mapping[str, Any]], *, days: int, looked_at: datetime | None, unrecorded: Sequence[str]
) -> Verdict:
    """``settings``: what changed in the last days. ``history`` has every known change, newest first.

    ``unrecorded`` names settings that changed on the server after they were last materialized, at ``looked_at``.
    """
    if looked_at is None:
        return Verdict(passed=False, severity=_WARN, description="Nothing to compare: materialize the settings first.")
    recent = [each for each in history if each["recent"]]
    rows = [
        {name: str(each.get(name, "")) for name in ("setting", "from", "to", "seen", "not yet seen")}
        for each in history[:SHOWN]
    ]
    names = sorted({str(each["setting"]) for each in recent})
    text = f"No setting changed in the last {days} days."
    if recent:
        text = f"Changed in the last {days} days: {', '.join(names[:SHOWN])}. That may explain a change of coverage."
    if unrecorded:
        text += f" Not in the history yet: materialize the settings, last done at {utc_minute(looked_at)}."
    return Verdict(
        passed=not recent,
        severity=_WARN,
        description=text,
        metadata={
            "changes in these days": len(recent),
            "changed since they were materialized": ", ".join(unrecorded[:SHOWN]) or "none",
            "last materialized": dg.MetadataValue.timestamp(looked_at),
            **({"history": table_of(rows)} if rows else {}),
        },
    )


def _named(participants: Sequence[str], what: str) -> str:
    return f"{listed(participants, most=SHOWN)}: {what}." if participants else ""


def _counted(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}" if number else ""
