"""The server's daily counts as a table: bytes per participant, day, and stream, in little memory."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from datetime import date, datetime, timezone

import numpy as np
import pandas as pd

from dagster_beiwe.client import BeiweClient, DailyBytes
from dagster_beiwe.studies.server_counts import batches, streams_sent
from dagster_beiwe.studies.study import Study

_EPOCH = date(1970, 1, 1).toordinal()
_UNKNOWN_DAYS = 3 * 365


def read_data_volume(client: BeiweClient, study: Study) -> pd.DataFrame:
    """Everything that the server counts in the study, in batches of participants; days and streams without bytes are
    left out.

    Days are those of the zone that the server counted them in, which each row names. Participants and streams whose
    total is zero are not requested. Raises ``RouteMissingError`` on servers older than June 2024.
    """
    streams = client.choose_streams(study.id, study.config.streams)
    totals = streams_sent(client, study, streams)
    days = (datetime.now(timezone.utc).date() - study.start).days + 1 if study.start else _UNKNOWN_DAYS
    volume = _Volume()
    for batch in batches(list(totals), days=days):
        sent = sorted({stream for participant in batch for stream in totals[participant]})
        volume.add(client.summary_statistics(study.id, participants=batch, streams=sent))
    return volume.frame()


class _Volume:
    """Collects rows as numbers: a study of 500 participants has some two million a year."""

    def __init__(self) -> None:
        self._texts: dict[str, dict[str, int]] = {"participant": {}, "stream": {}, "time_zone": {}}
        self._codes = {name: array("i") for name in self._texts}
        self._days, self._sizes = array("i"), array("q")

    def add(self, records: Iterable[DailyBytes]) -> None:
        for record in records:
            for stream, size_bytes in record.bytes_by_stream.items():
                self._note("participant", record.participant)
                self._note("stream", stream)
                self._note("time_zone", record.zone)
                self._days.append(record.day.toordinal() - _EPOCH)
                self._sizes.append(size_bytes)

    def _note(self, column: str, text: str | None) -> None:
        texts = self._texts[column]
        self._codes[column].append(-1 if text is None else texts.setdefault(text, len(texts)))

    def frame(self) -> pd.DataFrame:
        table: pd.DataFrame = pd.DataFrame(
            {
                "participant": self._text("participant"),
                "day": np.frombuffer(self._days, dtype=np.intc).astype("datetime64[D]").astype("datetime64[s]"),
                "stream": self._text("stream"),
                "size_bytes": np.frombuffer(self._sizes, dtype=np.int64).copy(),
                "time_zone": self._text("time_zone"),
            }
        )
        return table

    def _text(self, column: str) -> pd.Categorical:
        codes = np.frombuffer(self._codes[column], dtype=np.int32)
        return pd.Categorical.from_codes(codes, pd.Index(list(self._texts[column]), dtype=object))
