"""``silent``: whether everybody who takes part still sends data. Reads the tables ``coverage`` and ``roster``."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import dagster as dg
import pandas as pd

from dagster_beiwe.checks.comparison import SHOWN
from dagster_beiwe.checks.places import table_of
from dagster_beiwe.checks.verdicts import Verdict
from dagster_beiwe.coverage import SilenceLimits, SilentParticipant
from dagster_beiwe.coverage.frame import TIME_ZONE, as_of
from dagster_beiwe.coverage.stored import read_coverage
from dagster_beiwe.coverage.wording import local_time, silence_lines
from dagster_beiwe.errors import TableMissingError
from dagster_beiwe.notices.problems import Found
from dagster_beiwe.pictures.sentences import silence_in_words
from dagster_beiwe.runs.check_history import failing_metadata
from dagster_beiwe.studies.config import StudyConfig
from dagster_beiwe.studies.study import Study
from dagster_beiwe.tables.store import TableStore

_FRESH = timedelta(days=1)


def look_for_silence(study: Study, tables: TableStore, *, now: datetime) -> Verdict:
    """The verdict on the tables as they are stored."""
    key, limits = study.asset_key("coverage"), SilenceLimits.configured(study.config)
    try:
        stored = read_coverage(tables, lambda name: study.asset_key(name).path, limits=limits)
    except TableMissingError:
        return _unknown(f"There is no table yet. Materialize {key.to_user_string()}.")
    if now - as_of(stored.table) > _FRESH:
        made = local_time(as_of(stored.table), stored.table.attrs[TIME_ZONE])
        return _unknown(f"The table coverage was made at {made}. Materialize {key.to_user_string()} again.")
    return judge_silence(stored.table, stored.silent, study.config)


def judge_silence(coverage: pd.DataFrame, silent: Sequence[SilentParticipant], config: StudyConfig) -> Verdict:
    """``silent``: a warning, and an error for those who are silent for ``silent_error_days``."""
    zone = coverage.attrs[TIME_ZONE]
    sentence = silence_in_words(coverage, silent, SilenceLimits.configured(config))
    lines = list(silence_lines(silent[:SHOWN], zone))
    if more := len(silent) - len(lines):
        lines.append(f"And {more:,} more: dagster-beiwe status lists them all.")
    text = f"{sentence} As of {local_time(as_of(coverage), zone)} ({zone})."
    if lines:  # a list in Markdown, which Dagster shows, and in a mail
        text += "\n\n" + "\n".join(f"- {line}" for line in lines)
    severities: Found = {
        each.participant: "ERROR" if each.days_silent >= config.silent_error_days else "WARN" for each in silent
    }
    metadata: dict[str, Any] = {
        "silent": len(silent),
        "silent in all streams": sum(each.everything for each in silent),
        "as of": dg.MetadataValue.timestamp(as_of(coverage)),
        **failing_metadata(severities),
    }
    if silent:
        metadata["silent participants"] = table_of(_row(each, zone) for each in silent[:SHOWN])
    return Verdict(
        passed=not silent,
        severity=dg.AssetCheckSeverity.ERROR if "ERROR" in severities.values() else dg.AssetCheckSeverity.WARN,
        description=text,
        metadata=metadata,
    )


def _row(silent: SilentParticipant, zone: str) -> dict[str, Any]:
    return {
        "participant": silent.participant,
        "streams": silent.what,
        "last data": silent.last_data.isoformat() if silent.last_data else "never",
        "last upload": local_time(silent.last_upload, zone),
        "last heartbeat": local_time(silent.last_heartbeat, zone),
        "days silent": silent.days_silent,
    }


def _unknown(why: str) -> Verdict:
    return Verdict(
        passed=False, severity=dg.AssetCheckSeverity.WARN, description=f"It is not known who is silent. {why}"
    )
