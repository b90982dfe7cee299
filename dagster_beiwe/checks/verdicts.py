"""From what was measured to what Dagster shows: pass or not, how bad, which partitions to run. No side effects."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

import dagster as dg

from dagster_beiwe.cells import CellKey
from dagster_beiwe.checks.comparison import SHOWN, Comparison
from dagster_beiwe.checks.places import Places, table_of
from dagster_beiwe.environment import DAGSTER_HOME
from dagster_beiwe.lake.catalog.opening import Seen
from dagster_beiwe.maintenance.exposure import Protection
from dagster_beiwe.maintenance.verify import Verification
from dagster_beiwe.runs.remembered_heads import seen_metadata
from dagster_beiwe.studies.time_zones import StudyZone

_NAMED = 1_000

_ERROR, _WARN = dg.AssetCheckSeverity.ERROR, dg.AssetCheckSeverity.WARN


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """A check's result, before it is tied to an asset."""

    passed: bool
    description: str
    severity: dg.AssetCheckSeverity = _ERROR
    metadata: Mapping[str, Any] = field(default_factory=dict)


def judge_coverage(found: Comparison, places: Places, zone: StudyZone) -> Verdict:
    """``complete``: old gaps are errors, all else is a warning.

    Sizes tell what is missing; that contents agree is only said as of when they were compared.
    """
    text = "; ".join(
        filter(
            None,
            [
                _counted(found.old, "day of a stream is incomplete", "days of streams are incomplete"),
                _counted(found.recent, "recent one may be on its way", "recent ones may be on their way"),
                _counted(
                    found.surplus,
                    "has more in the lake than on the server",
                    "have more in the lake than on the server",
                ),
                _counted(
                    len(found.out_of_range_to_fetch),
                    "participant has out-of-range files that were not fetched",
                    "participants have out-of-range files that were not fetched",
                ),
                _counted(
                    len(found.out_of_range_gone),
                    "participant has out-of-range files that the server no longer counts",
                    "participants have out-of-range files that the server no longer counts",
                ),
            ],
        )
    )
    text = f"{text or 'Sizes agree on every day'}. {_contents(found)}"
    if not_compared := ", ".join(sorted(found.not_compared)):
        why = "as the server does not count them or the study leaves them out"
        text = f"{text} Not compared, {why}: {not_compared}."
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
        "contents compared up to": _minute(found.compared_at) if found.compared_at else "never",
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
        description=text if zone.certain else f"{text} The time zone is a guess: set `time_zone` for the study.",
        metadata=metadata,
    )


def _contents(found: Comparison) -> str:
    """What is known of the contents of windows, which may differ though sizes agree."""
    if found.compared_at is None:
        return "Contents were never compared." if found.windows else "Nothing was fetched yet."
    never = _counted(found.never_compared, "window was never compared", "windows were never compared")
    return f"Contents compared up to {_minute(found.compared_at)}{never and f'; {never}'}."


def judge_verification(
    found: Verification, places: Places, *, share: float, remembered: Collection[Seen] = ()
) -> Verdict:
    """``intact``: everything is as it was committed.

    ``remembered`` are heads of the log that Dagster has seen. They stay remembered if the log has lost them.
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
    bad = f"{kinds}. Run `dagster-beiwe verify --repair`, then materialise the partitions named here."
    if damage:
        bad = (
            f"{damage} If the study was put back from a backup on purpose, stop all runs, and run this check once with "
            "`accept_older: true`. Until then no run writes to the study."
        )
    return Verdict(passed=found.intact, description=bad if kinds else "As it was committed.", metadata=metadata)


def judge_protection(found: Protection, places: Places, *, locked: str) -> Verdict:
    """``protected``: nothing readable that should be locked, nothing open to others."""
    kinds = ", ".join(sorted({each.kind for each in found.findings}))
    metadata = {
        "files looked at": found.files,
        "tables looked at": found.tables,
        "permissions looked at": found.permissions,
        "exposed": found.exposed,
        "locked streams": locked,
        **places.metadata(list(map(CellKey.parse, found.partitions))),
    }
    if found.findings:
        metadata["first findings"] = table_of(
            {"what": each.kind, "path": each.path, "mode": each.mode or "", "window": each.window or ""}
            for each in found.findings[:SHOWN]
        )
    advice = (
        f"{kinds}. Close permissions with chmod (folders 0700, files 0600). Run `dagster-beiwe verify --repair` for "
        "files that were changed; of files committed before their stream was locked, materialise the windows again. "
        f"Remove pickles from the folder `storage` of {DAGSTER_HOME}, and give their assets an `io_manager_key`."
    )
    good = "Locked streams are locked, and nobody else on the machine may read the lake."
    return Verdict(passed=found.protected, description=advice if kinds else good, metadata=metadata)


def judge_roster(
    *,
    ids: Sequence[str],
    table: Sequence[str] | None,
    partitions: Sequence[str],
    held: Sequence[str],
    recorded: Collection[str] = (),
) -> Verdict:
    """``roster``: who is on the server, in its table, a partition, in the lake. ``table`` None: the server has none.

    ``recorded`` are those of whom Dagster has recorded raw data: a partition that is neither there nor anywhere else
    never was a participant.
    """
    seen = {*held, *recorded}
    never_seen = sorted(set(partitions) - seen - set(ids))
    deleted_upstream = sorted({*partitions, *held} - set(ids) - set(never_seen))
    flagged = sorted(set(ids) - set(table)) if table is not None else []
    absent = sorted(set(ids) - set(partitions))
    found = [
        _named(
            deleted_upstream, "no longer on the server, data and history are kept (`dagster-beiwe purge` removes data)"
        ),
        _named(never_seen, "never seen on the server, a typing slip? `dagster-beiwe partitions remove` removes it"),
        _named(flagged, "flagged as deleted on the server"),
        _named(absent, "not a partition yet: materialise the roster, or turn on the sensor for participants"),
    ]
    return Verdict(
        passed=not (deleted_upstream or never_seen or flagged or absent),
        severity=_WARN,
        description=" ".join(filter(None, found)) or "Server, partitions and lake agree.",
        metadata={
            "on the server": len(ids),
            "partitions": len(partitions),
            "in the lake": len(held),
            "no longer on the server": _listed(deleted_upstream),
            "never seen": _listed(never_seen),
            "flagged as deleted": _listed(flagged),
            "not a partition yet": _listed(absent),
        },
    )


def judge_settings(
    history: Sequence[Mapping[str, Any]], *, days: int, looked_at: str | None, unrecorded: Sequence[str]
) -> Verdict:
    """``settings``: what changed in the last days. ``history`` has all that is known, newest first, with ``seen``.

    ``unrecorded`` names what the server has otherwise than it was when the settings were last materialised, which was
    at ``looked_at``.
    """
    if looked_at is None:
        return Verdict(passed=False, severity=_WARN, description="Nothing to compare: materialise the settings first.")
    recent = [each for each in history if each["recent"]]
    rows = [
        {name: str(each.get(name, "")) for name in ("setting", "from", "to", "seen", "not_seen")}
        for each in history[:SHOWN]
    ]
    names = sorted({str(each["setting"]) for each in recent})
    text = f"No setting changed in the last {days} days."
    if recent:
        text = f"Changed in the last {days} days: {', '.join(names[:SHOWN])}. It may explain a change of coverage."
    if unrecorded:
        text += f" Not in their history yet: materialise the settings, which was last done at {looked_at}."
    return Verdict(
        passed=not recent,
        severity=_WARN,
        description=text,
        metadata={
            "changes in these days": len(recent),
            "changed since they were materialised": ", ".join(unrecorded[:SHOWN]) or "none",
            "last materialised": looked_at,
            **({"history": table_of(rows)} if rows else {}),
        },
    )


def _minute(moment: datetime) -> str:
    return moment.astimezone(timezone.utc).isoformat(timespec="minutes")


def _listed(keys: Sequence[str]) -> str:
    more = f" and {len(keys) - _NAMED:,} more" if len(keys) > _NAMED else ""
    return ", ".join(keys[:_NAMED]) + more or "none"


def _named(participants: Sequence[str], what: str) -> str:
    more = f" and {len(participants) - SHOWN} more" if len(participants) > SHOWN else ""
    return f"{', '.join(participants[:SHOWN])}{more}: {what}." if participants else ""


def _counted(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}" if number else ""
