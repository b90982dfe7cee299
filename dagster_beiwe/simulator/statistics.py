"""Daily byte counts per participant and stream: ``get-summary-statistics`` and the data quantities."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from dagster_beiwe.simulator.answers import JSON, Answer, json_answer
from dagster_beiwe.simulator.counts import CountedDay
from dagster_beiwe.simulator.forest import forest_columns, results
from dagster_beiwe.simulator.forms import Request
from dagster_beiwe.simulator.people import Study
from dagster_beiwe.simulator.profiles import Profile
from dagster_beiwe.simulator.world import World


def stream_fields(profile: Profile) -> tuple[str, ...]:
    """The byte counts of each stream. The server's own order puts audio recordings after texts."""
    ordered = sorted(profile.counted_streams, key=lambda name: "voice" if name == "audio_recordings" else name)
    return tuple(f"beiwe_{name}_bytes" for name in ordered)


def fields_of(profile: Profile) -> tuple[str, ...]:
    """Every field of the daily statistics."""
    return ("date", "study_id", "timezone", *stream_fields(profile), *forest_columns(profile), "participant_id")


def data_quantities(world: World, profile: Profile, study: Study) -> dict[str, dict[str, int]]:
    """All streams of the server for every participant, even without data."""
    names = [field.removeprefix("beiwe_") for field in stream_fields(profile)]
    totals = {one: dict.fromkeys(names, 0) for one in study.participants}
    for participant_id, total in totals.items():
        for row in world.counts(participant_id).values():
            for name in names:
                total[name] += row.sizes.get(name.removesuffix("_bytes"), 0)
    return totals


def summary_statistics(world: World, profile: Profile, study: Study, request: Request) -> Answer:
    errors: list[str] = []
    known = fields_of(profile)
    first = _day(request, "start_date", "start date", errors)
    last = _day(request, "end_date", "end date", errors)
    fields = _fields(request, known, errors)
    limit = request.option("limit")
    if limit is not None and not limit.lstrip("-").isdigit():
        errors.append("limit value could not be interpreted as an integer value")
    order_by = request.option("ordered_by") or "date"
    if order_by not in known:
        errors.append(f"{order_by} is not a field that can be used to sort the output")
    direction = request.option("order_direction") or "descending"
    if direction not in ("ascending", "descending"):
        errors.append(
            "If provided, the order_direction parameter should contain either the value 'ascending' or 'descending'"
        )
    if errors:
        return Answer(status=400, body=json.dumps({"errors": errors}).encode(), content_type=JSON)
    ids = request.option("participant_ids")
    wanted = None if ids is None else set(ids.split(","))
    rows = [
        row
        for row in _rows(world, study, known, wanted)
        if (first is None or row["date"] >= first) and (last is None or row["date"] <= last)
    ]
    ordered = sorted(rows, key=lambda row: (row[order_by] is not None, row[order_by] or 0, row["participant_id"]))
    if direction == "descending":
        ordered.reverse()
    if limit is not None:
        ordered = ordered[: max(0, int(limit))]
    return json_answer([{name: row[name] for name in fields} for row in ordered], chunked=True)


def _rows(world: World, study: Study, known: tuple[str, ...], wanted: set[str] | None) -> Iterator[dict[str, Any]]:
    for participant_id in study.participants:
        if wanted is not None and participant_id not in wanted:
            continue
        counts, tasks = world.counts(participant_id), study.participants[participant_id].forest_tasks
        for day in counts.keys() | {day for task in tasks for day in task.days()}:
            counted = counts.get(day) or CountedDay(zone=study.time_zone)
            row: dict[str, Any] = dict.fromkeys(known)
            row.update(date=day.isoformat(), study_id=study.id, participant_id=participant_id)
            row.update(timezone=counted.abbreviation(day))
            row.update({f"beiwe_{name}_bytes": size_bytes for name, size_bytes in counted.sizes.items()})
            row.update(results(participant_id, tasks, day))
            yield row


def _day(request: Request, name: str, words: str, errors: list[str]) -> str | None:
    value = request.option(name)
    if value is None:
        return None
    try:
        return datetime.strptime(value, "%Y-%m-%d").date().isoformat()
    except ValueError:
        errors.append(f"{words} could not be interpreted as a date. Dates should be formatted as YYYY-MM-DD")
        return None


def _fields(request: Request, known: tuple[str, ...], errors: list[str]) -> list[str]:
    value = request.option("fields")
    if value is None:
        return list(known)
    wanted = value.split(",")
    errors.extend(f"{name} is not a valid field" for name in wanted if name not in known)
    return [name for name in known if name in wanted]
