"""From what was measured to what Dagster shows: pass or not, how bad, which partitions to run. No side effects."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import dagster as dg

from dagster_beiwe.covering import Place, cover
from dagster_beiwe.lake.protect import Protection
from dagster_beiwe.lake.verify import Verification
from dagster_beiwe.partitions import split_key
from dagster_beiwe.streams import STREAMS
from dagster_beiwe.studies.time_zones import StudyZone
from dagster_beiwe.sync import Coverage, Gap

SHOWN = 50
ROLL_METADATA = "roll edition"
_RANGES_SHOWN = 20
_KEYS_SHOWN = 1_000

_ERROR, _WARN = dg.AssetCheckSeverity.ERROR, dg.AssetCheckSeverity.WARN


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """A check's result, before it is tied to an asset."""

    passed: bool
    description: str
    severity: dg.AssetCheckSeverity = _ERROR
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Places:
    """All partitions of ``raw_data`` in their order, and its key as text: to name partitions ready to paste."""

    asset: str
    participants: Sequence[str]
    windows: Sequence[str]

    def metadata(self, keys: Sequence[str]) -> dict[str, Any]:
        """Partitions to run: as keys, for the two fields of Dagster's partition selection, and as commands.

        Keys of windows that are none of the study's are of strays, whose partitions are participants.
        """
        cells = [cell for cell in map(split_key, keys) if cell[1] in self.windows]
        strays = sorted({participant for participant, window in map(split_key, keys) if window not in self.windows})
        return {**self._raw_data(cells), **({"strays to run": _listed(strays)} if strays else {})}

    def _raw_data(self, cells: Sequence[Place]) -> dict[str, Any]:
        if not cells:
            return {}
        ranges = cover(cells, participants=self.participants, windows=self.windows, largest=len(cells))
        commands = [
            f"dagster asset materialize --select 'key:{self.asset}' --partition-range '{each.range}'"
            for each in ranges[:_RANGES_SHOWN]
        ]
        more = len(ranges) - len(commands)
        return {
            "partitions to run": _listed([f"{participant}|{window}" for participant, window in cells]),
            "participants to paste": _listed(sorted({participant for participant, _ in cells})),
            "windows to paste": _listed(sorted({window for _, window in cells})),
            "commands": dg.MetadataValue.md(
                "\n".join(["```", *commands, *([f"# and {more} more ranges"] if more > 0 else []), "```"])
            ),
        }


def judge_coverage(
    coverage: Coverage,
    places: Places,
    zone: StudyZone,
    *,
    today: date,
    reasons: Mapping[Gap, str],
    strays_held: Mapping[str, int],
) -> Verdict:
    """``complete``: the lake against the server's bytes per day.

    Gaps of today and yesterday may be on their way and are warnings; older ones are errors. What only the lake has is a
    warning, but not of these days, nor of streams that the server counts late (those that are not chunked). ``today``
    is of the study's zone.
    """
    old = [gap for gap in coverage.gaps if _is_old(gap, today)]
    surplus = [gap for gap in coverage.surplus if _is_old(gap, today) and STREAMS[gap.stream].chunked]
    strays = {one: size for one, size in coverage.stray_bytes.items() if size > strays_held.get(one, 0)}
    keys = sorted({f"{gap.participant}|{key}" for gap in (*coverage.gaps, *surplus) for key in gap.windows})
    missing_bytes = sum(gap.server_bytes - gap.lake_bytes for gap in coverage.gaps)
    found = [
        _counted(len(old), "day of a stream is incomplete", "days of streams are incomplete"),
        _counted(len(coverage.gaps) - len(old), "recent one may be on its way", "recent ones may be on their way"),
        _counted(len(surplus), "has more in the lake than on the server", "have more in the lake than on the server"),
        _counted(len(strays), "participant has strays that were not fetched", "participants have strays not fetched"),
    ]
    metadata = {
        "days compared": coverage.days,
        "server bytes": coverage.server_bytes,
        "lake bytes": coverage.lake_bytes,
        "missing bytes": missing_bytes,
        "gaps": len(coverage.gaps),
        "recent gaps": len(coverage.gaps) - len(old),
        "only in the lake": len(coverage.surplus),
        "stray bytes": sum(coverage.stray_bytes.values()),
        "stray bytes in the lake": sum(strays_held.values()),
        "time zone": f"{zone.name} ({zone.source})",
        **places.metadata(keys),
    }
    if coverage.gaps or surplus:
        recent = [gap for gap in coverage.gaps if gap not in old]
        metadata["first gaps"] = _table(_gap_rows([*old, *recent, *surplus], reasons))
    if strays:
        metadata["strays to run"] = _listed(sorted(strays))
    text = "; ".join(filter(None, found)) or "The lake holds every byte that the server counts."
    return Verdict(
        passed=not coverage.gaps and not surplus and not strays,
        severity=_ERROR if old else _WARN,
        description=text if zone.certain else f"{text} The time zone is a guess: set `time_zone` for the study.",
        metadata=metadata,
    )


def judge_verification(found: Verification, places: Places, *, share: float, newest_roll: int = 0) -> Verdict:
    """``intact``: everything is as it was committed.

    ``newest_roll`` is the edition of the study's roll at the last check. A lower one now is a study that was put back
    as a whole, which the lake itself can't show.
    """
    rows = [
        {"what": each.kind, "participant": each.participant, "window": each.window or "", "path": each.path or ""}
        for each in found.findings[:SHOWN]
    ]
    metadata = {
        "participants": found.participants,
        "windows": found.windows,
        "files": found.files,
        "files read": found.files_checked,
        "bytes read": found.bytes_checked,
        "share": share,
        "findings": len(found.findings),
        ROLL_METADATA: max(found.roll, newest_roll),
        **places.metadata(found.partitions),
    }
    if rows:
        metadata["first findings"] = _table(rows)
    kinds = ", ".join(sorted({each.kind for each in found.findings}))
    bad = f"{kinds}. Run `dagster-beiwe verify --repair`, then materialise the partitions named here."
    older = (
        f"The whole study is older than at the last check (its roll is edition {found.roll}, and was {newest_roll}): "
        "later commits are gone. If it was put back from a backup on purpose, run this check once with "
        "`accept_older: true`; else restore it."
    )
    told = [*([older] if found.roll < newest_roll else []), *([bad] if kinds else [])]
    return Verdict(passed=not told, description=" ".join(told) or "As it was committed.", metadata=metadata)


def judge_protection(found: Protection, places: Places, *, locked: Sequence[str]) -> Verdict:
    """``protected``: nothing readable that should be locked, nothing open to others."""
    kinds = ", ".join(sorted({each.kind for each in found.findings}))
    metadata = {
        "files looked at": found.files,
        "tables looked at": found.tables,
        "permissions looked at": found.permissions,
        "exposed": found.exposed,
        "locked streams": ", ".join(locked) or "none",
        **places.metadata(found.partitions),
    }
    if found.findings:
        metadata["first findings"] = _table(
            {"what": each.kind, "path": each.path, "mode": each.mode or "", "window": each.window or ""}
            for each in found.findings[:SHOWN]
        )
    advice = (
        f"{kinds}. Close permissions with chmod (folders 0700, files 0600). Run `dagster-beiwe verify --repair` for "
        "files that were changed; files committed before their stream was locked must be fetched into a new lake."
    )
    good = "Locked streams are locked, and nobody else on the machine may read the lake."
    return Verdict(passed=found.protected, description=advice if kinds else good, metadata=metadata)


def judge_roster(
    *, ids: Sequence[str], table: Sequence[str] | None, partitions: Sequence[str], held: Sequence[str]
) -> Verdict:
    """``roster``: who is on the server, in its table, a partition, in the lake. ``table`` None: the server has none."""
    vanished = sorted({*partitions, *held} - set(ids))
    flagged = sorted(set(ids) - set(table)) if table is not None else []
    absent = sorted(set(ids) - set(partitions))
    found = [
        _named(vanished, "no longer on the server, data and history are kept (`dagster-beiwe purge` removes data)"),
        _named(flagged, "flagged as deleted on the server"),
        _named(absent, "not a partition yet: materialise the roster, or turn on the sensor for participants"),
    ]
    return Verdict(
        passed=not vanished and not flagged and not absent,
        severity=_WARN,
        description=" ".join(filter(None, found)) or "Server, partitions and lake agree.",
        metadata={
            "on the server": len(ids),
            "partitions": len(partitions),
            "in the lake": len(held),
            "no longer on the server": _listed(vanished),
            "flagged as deleted": _listed(flagged),
            "not a partition yet": _listed(absent),
        },
    )


def judge_settings(history: Sequence[Mapping[str, Any]], *, days: int, looked_at: str | None) -> Verdict:
    """``settings``: what changed in the last days. ``history`` has all that is known, newest first, with ``seen``."""
    if looked_at is None:
        return Verdict(passed=False, severity=_WARN, description="Nothing to compare: materialise the settings first.")
    recent = [each for each in history if each["recent"]]
    rows = [
        {name: str(each.get(name, "")) for name in ("setting", "from", "to", "seen", "unseen")}
        for each in history[:SHOWN]
    ]
    names = sorted({str(each["setting"]) for each in recent})
    return Verdict(
        passed=not recent,
        severity=_WARN,
        description=(
            f"Changed in the last {days} days: {', '.join(names[:SHOWN])}. It may explain a change of coverage."
            if recent
            else f"No setting changed in the last {days} days."
        ),
        metadata={
            "changes in these days": len(recent),
            "last looked at": looked_at,
            **({"history": _table(rows)} if rows else {}),
        },
    )


def _is_old(gap: Gap, today: date) -> bool:
    return (today - gap.day).days > 1


def _gap_rows(gaps: Sequence[Gap], reasons: Mapping[Gap, str]) -> list[dict[str, Any]]:
    return [
        {
            "participant": gap.participant,
            "day": gap.day.isoformat(),
            "stream": gap.stream,
            "server bytes": gap.server_bytes,
            "lake bytes": gap.lake_bytes,
            "windows": ", ".join(gap.windows),
            "why": reasons.get(gap, ""),
        }
        for gap in gaps[:SHOWN]
    ]


def _table(rows: Iterable[Mapping[str, Any]]) -> dg.TableMetadataValue:
    return dg.MetadataValue.table([dg.TableRecord(dict(row)) for row in rows])


def _listed(keys: Sequence[str]) -> str:
    more = f" and {len(keys) - _KEYS_SHOWN:,} more" if len(keys) > _KEYS_SHOWN else ""
    return ", ".join(keys[:_KEYS_SHOWN]) + more or "none"


def _named(participants: Sequence[str], what: str) -> str:
    more = f" and {len(participants) - SHOWN} more" if len(participants) > SHOWN else ""
    return f"{', '.join(participants[:SHOWN])}{more}: {what}." if participants else ""


def _counted(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}" if number else ""
