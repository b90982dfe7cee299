"""What happened to a study, record by record, as its log proves it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime

from dagster_beiwe.lake.catalog.records import (
    Accept,
    AnyRecord,
    Begin,
    Collect,
    Commit,
    Compare,
    Export,
    Place,
    Purge,
    Repair,
    Snapshot,
    Unsnapshot,
)
from dagster_beiwe.lake.layout import Subject
from dagster_beiwe.lake.study import StudyLake
from dagster_beiwe.text import counted, human_size, listed, one_line, utc_minute


@dataclass(frozen=True, kw_only=True)
class Event:
    """One record: what it did, to how many participants, windows and tables. ``digest`` is its hash.

    A withdrawal names participants as a whole, so that it counts no windows.
    ``windows`` has the keys of the windows of the one participant who was asked for. ``backwards`` says that its time
    is before that of the record before: the clock of the machine was wrong.
    """

    number: int
    time: datetime
    kind: str
    run: str
    digest: str
    participants: int = 0
    tables: int = 0
    versions: int = 0
    window_count: int = 0
    detail: str = ""
    windows: tuple[str, ...] = field(default=())
    backwards: bool = False


def history(lake: StudyLake, participant: str | None = None) -> Iterator[Event]:
    """All records of a study, oldest first, each proven; with a ``participant`` only those about them.

    Records that a participant was withdrawn by, and those before, name nobody that can be found any more.
    """
    catalog = lake.catalog()
    if catalog is None:
        return
    token = catalog.identities.token(Subject(participant), catalog.refresh()) if participant else None
    before: datetime | None = None
    for entry in catalog.history():
        record = entry.record
        touched = list(_touched(record))
        backwards, before = before is not None and record.time < before, record.time
        own = [place for place in touched if place.token == token and not place.asset]
        if participant and not own:
            continue
        yield Event(
            number=record.number,
            time=record.time,
            kind=str(type(record).__struct_config__.tag),
            run=record.run,
            digest=entry.digest,
            participants=len({place.token for place in touched if not place.asset}),
            tables=len({(place.token, place.asset) for place in touched if place.asset}),
            versions=len(own if participant else touched),
            window_count=sum(bool(place.window) for place in (own if participant else touched)),
            detail=_detail(record),
            windows=tuple(sorted({place.window for place in own if place.window})),
            backwards=backwards,
        )


def _touched(record: AnyRecord) -> Iterable[Place]:
    match record:
        case Commit():
            return [change.place for change in record.changes]
        case Collect():
            return [place for place, _ in record.dropped]
        case Purge() | Repair():
            return record.places
        case Compare():
            return [Place(token, window) for token, windows in record.windows.items() for window, _ in windows]
        case Export():
            return map(Place, record.tokens)
        case _:
            return ()


def _detail(record: AnyRecord) -> str:
    match record:
        case Export():
            return one_line(_export(record))
        case Begin() if record.former:
            return f"continues another lake's log after its record {record.former.number}"
        case Snapshot():
            return f"{record.name!r} keeps state {record.at.number}"
        case Unsnapshot():
            return f"{record.name!r} is kept no longer"
        case Accept():
            return f"gave up {counted(len(record.lost), 'record')} seen before"
        case Collect():
            return f"dropped {counted(len(record.dropped), 'version')}"
        case _:
            return ""


def _export(record: Export) -> str:
    """What was exported, where to, and by whom."""
    what = f"table {record.table}" if record.table else listed(record.streams) or "all streams"
    since = f" from {utc_minute(record.start)}" if record.start else ""
    until = f" until {utc_minute(record.end)}" if record.end else ""
    place = f"to {record.folder}" if record.folder else "in memory, for one command"
    name = f" ({record.name})" if record.name else ""
    return (
        f"{what}{since}{until} of state {record.at} as {record.form} {place}, {counted(record.files, 'file')}, "
        f"{human_size(record.size_bytes)}, by {record.user}@{record.host}{name}"
    )
