"""Measure what the lake holds of a participant: only files that were not measured before are decrypted, one by one.

A window that has not changed since costs nothing, not even a look at its manifest.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple, cast

import pandas as pd

from dagster_beiwe.errors import IntegrityError
from dagster_beiwe.lake import FileRecord, StudyLake
from dagster_beiwe.lake.catalog.versions import Version
from dagster_beiwe.meanwhile import read_ahead
from dagster_beiwe.quality.clocks import CLOCKS_AGREE
from dagster_beiwe.quality.measuring import COUNTS, QUARTER_MINUTES, TYPES, Measurements
from dagster_beiwe.streams import stream_named
from dagster_beiwe.windows import start_of_key

logger = logging.getLogger("dagster_beiwe")

_MEASURE: Final = 1
"""Changes whenever ``measuring`` counts in a different way: then all files are measured again."""

_WINDOWS: Final = "windows"
"""In the ``attrs`` of measurements: which version of each window they are of."""

FILE_COUNTS: Final = ("dated_ahead", "unreadable_files")
"""What is known of a file as a whole."""

MEASURED_TYPES: Final[Mapping[str, str]] = {
    "window": "string",
    "stream": "string",
    "minute": "int64",
    **dict.fromkeys(FILE_COUNTS, "int32"),
    **TYPES,
}
"""The columns of measurements as they are kept. ``minute`` is the time in the file's name, in minutes since 1970 (UTC).
"""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What was measured of a participant's files: at least one row for each of them.

    ``files`` were read now, of ``size_bytes`` (plain). ``changed`` says whether earlier measurements were others.
    """

    participant: str
    rows: pd.DataFrame
    files: int
    size_bytes: int
    changed: bool


class _Found(NamedTuple):
    rows: pd.DataFrame
    files: int
    size_bytes: int


def measure_participant(
    lake: StudyLake, participant: str, *, streams: Collection[str], before: pd.DataFrame | None = None
) -> Measured:
    """Measure the present files of some streams. ``before`` are the ``rows`` of an earlier measurement.

    Recordings are listed and not read. Files outside every window never count. A file that is damaged is left out, with
    a warning. Raises ``IntegrityError`` for a damaged manifest, and ``EncryptionError``.
    """
    known = before if before is not None and _types(before) == _types(_NOTHING) else _NOTHING
    index = {key: version for key, version in lake.index(participant).items() if start_of_key(key) is not None}
    states = {key: _state(version, streams) for key, version in index.items()}
    earlier: Mapping[str, str] = known.attrs.get(_WINDOWS, {})
    moved = [key for key, state in states.items() if earlier.get(key) != state]
    listed, found = _look_into(lake, participant, moved, streams, known=frozenset(_readable(known)["file"]))
    new = _rows_of(listed, pd.concat([_readable(known), found.rows]))
    rows = pd.concat([known[known["window"].isin(states.keys() - {*moved})], new], ignore_index=True)
    damaged = {*rows.loc[rows["unreadable_files"] > 0, "window"]}
    rows.attrs = {_WINDOWS: {key: state for key, state in states.items() if key not in damaged}}
    changed = before is None or rows.attrs[_WINDOWS] != earlier
    return Measured(participant=participant, rows=rows, files=found.files, size_bytes=found.size_bytes, changed=changed)


def _look_into(
    lake: StudyLake, participant: str, windows: Sequence[str], streams: Collection[str], *, known: Collection[int]
) -> tuple[pd.DataFrame, _Found]:
    """The files of windows, and what is measured in those whose numbers are not ``known``."""
    listed: list[tuple[Any, ...]] = []
    measurements, files, size_bytes = Measurements(), 0, 0

    def unknown_files() -> Iterator[tuple[str, FileRecord]]:
        for window in windows:
            manifest = lake.manifest(participant, window)
            for record in manifest.files if manifest else ():
                if record.present and record.stream in streams:
                    listed.append(_entry(window, record))
                    if _number(record) not in known and not stream_named(record.stream).audio:
                        yield window, record

    def content(file: tuple[str, FileRecord]) -> bytes | None:
        window, record = file
        try:
            return lake.read(participant, record, window=window)
        except IntegrityError as error:
            logger.warning("A file of %s, window %s, was not measured. %s", participant, window, error)
            return None

    for (_, record), data in read_ahead(unknown_files(), content):
        if data is not None:
            survey = record.survey_id or ""
            measurements.add(_number(record), data, stream=record.stream, time=record.moment, survey=survey)
            files, size_bytes = files + 1, size_bytes + len(data)
    columns = [name for name in MEASURED_TYPES if name not in TYPES or name in ("file", "survey")]
    return pd.DataFrame(listed, columns=columns), _Found(measurements.frame(), files, size_bytes)


def _rows_of(files: pd.DataFrame, measurements: pd.DataFrame) -> pd.DataFrame:
    """The measurements of files. A file without any has one row of zeros: it could not be read, or is a recording."""
    own = measurements[[name for name in TYPES if name != "survey"]].assign(own=measurements["survey"])
    rows = files.merge(own, on="file", how="left")
    lacking = rows["quarter"].isna()
    recordings = rows["stream"].isin([stream for stream in files["stream"].unique() if stream_named(stream).audio])
    rows["unreadable_files"] = lacking & ~recordings
    rows["quarter"] = rows["quarter"].fillna(rows["minute"] // QUARTER_MINUTES)
    rows["survey"] = rows["own"].fillna(rows["survey"])
    rows["question"] = rows["question"].fillna("")
    rows = rows.fillna(dict.fromkeys(("minutes", *COUNTS), 0))[list(MEASURED_TYPES)].astype(MEASURED_TYPES)
    return cast("pd.DataFrame", rows)


def _readable(rows: pd.DataFrame) -> pd.DataFrame:
    return cast("pd.DataFrame", rows[rows["unreadable_files"] == 0])


def _types(rows: pd.DataFrame) -> dict[str, str]:
    return {str(name): str(dtype) for name, dtype in rows.dtypes.items()}


def _state(version: Version, streams: Collection[str]) -> str:
    """What a window's measurements depend on: its content, and the streams that are looked at."""
    return hashlib.sha256(b"\0".join([version.sha256, *(each.encode() for each in sorted(streams))])).hexdigest()[:16]


def _number(record: FileRecord) -> int:
    """Tells a file with its content apart from all others."""
    digest = hashlib.sha256(f"{_MEASURE}\0{record.key}\0{record.sha256}".encode()).digest()
    return int.from_bytes(digest[:8], "little", signed=True)


def _entry(window: str, record: FileRecord) -> tuple[Any, ...]:
    moment = record.moment
    ahead = moment - datetime.fromisoformat(record.first_seen) > CLOCKS_AGREE
    return window, record.stream, int(moment.timestamp()) // 60, int(ahead), 0, _number(record), record.survey_id or ""


_NOTHING: Final = pd.DataFrame(columns=list(MEASURED_TYPES)).astype(MEASURED_TYPES)
