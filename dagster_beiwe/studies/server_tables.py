"""Small tables of what the server says about a study. Each raises ``RouteMissingError`` if the server is too old."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from dagster_beiwe.client import BeiweClient
from dagster_beiwe.client.capabilities import ROUTES
from dagster_beiwe.client.json_bodies import wrong_shape
from dagster_beiwe.errors import RouteMissingError
from dagster_beiwe.studies.server_counts import FEW_PARTICIPANTS
from dagster_beiwe.studies.study import Study

_QUESTION_FIELDS = ("question_id", "question_type", "question_text")
_PARTICIPANT_FIELDS = ("patient_id", "participant_id", "participant__patient_id", "participant")
"""What servers may call the participant of an analysis."""

_ROW = ("participant", "day", "time_zone")


def read_survey_history(client: BeiweClient, study: Study) -> pd.DataFrame:
    """The questions of every survey, in each version that the survey ever had."""
    history = client.survey_history(study.id)
    try:
        surveys = client.settings(study.id, study_pk=study.config.study_pk).get("surveys") or []
    except RouteMissingError:  # only they have names
        surveys = []
    return survey_history_table(history, surveys)


def survey_history_table(history: Mapping[str, Any], surveys: Iterable[Any]) -> pd.DataFrame:
    """The table of what the server says: its survey history, and the surveys in a study's settings, which have names
    and no ids. A survey is the one that has its questions; deleted ones are not among them."""
    columns = ("survey_id", "survey", "version", "since", "question", *_QUESTION_FIELDS, "settings")
    frame = pd.DataFrame(_questions(history, _names(history, surveys)), columns=list(columns))
    times = pd.to_datetime(frame["since"], utc=True, format="ISO8601", errors="coerce")
    types = {"survey": "string", "version": "Int64", "question": "Int64"}
    typed: pd.DataFrame = frame.astype(types).assign(since=times.astype("datetime64[ms, UTC]"))
    return typed


def _names(history: Mapping[str, Any], surveys: Iterable[Any]) -> dict[str, str]:
    """{survey id: name} of the surveys whose present questions no other one has."""
    present = {
        survey_id: _json(_objects(versions)[-1].get("survey_json"))
        for survey_id, versions in history.items()
        if versions
    }
    named = [
        (_json(survey.get("content")), str(survey["name"]))
        for survey in surveys
        if isinstance(survey, dict) and survey.get("name")
    ]
    of_history, of_settings = Counter(present.values()), Counter(content for content, _ in named)
    names = {content: name for content, name in named if of_history[content] == of_settings[content] == 1}
    return {survey_id: names[content] for survey_id, content in present.items() if content in names}


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _questions(history: Mapping[str, Any], names: Mapping[str, str]) -> Iterator[tuple[Any, ...]]:
    """One row per survey, version, and question; texts as sent, and what else is known of a question as JSON."""
    for survey_id, versions in sorted(history.items()):
        for version, archived in enumerate(_objects(versions), start=1):
            since = _text(archived.get("archive_start"))
            for number, question in enumerate(_objects(archived.get("survey_json") or []), start=1):
                named = [_text(question.get(name)) for name in _QUESTION_FIELDS]
                more = {name: value for name, value in question.items() if name not in _QUESTION_FIELDS}
                yield survey_id, names.get(survey_id), version, since, number, *named, _text(more or None)


def read_interventions(client: BeiweClient, study: Study) -> pd.DataFrame:
    """The date of each participant's interventions, of those that a survey's schedule uses."""
    rows = [
        (participant, survey_id, name, _text(day))
        for participant, surveys in sorted(client.interventions(study.id).items())
        for survey_id, dates in sorted(_dates(surveys).items())
        for name, day in sorted(_dates(dates).items())
    ]
    return _texts(rows, ("participant", "survey_id", "intervention", "date"))


def read_forest_tasks(client: BeiweClient, study: Study) -> pd.DataFrame:
    """The runs of Forest's analyses, with the columns that the server sends, as text."""
    tasks = client.forest_tasks(study.id)
    sent = dict.fromkeys(name for task in tasks for name in task)
    (whose, *_) = [*filter(sent.__contains__, _PARTICIPANT_FIELDS), "participant"]
    names = [name for name in sent if name not in (whose, "participant")]
    return _texts([tuple(_text(task.get(name)) for name in (whose, *names)) for task in tasks], ("participant", *names))


def read_forest_statistics(client: BeiweClient, study: Study) -> pd.DataFrame:
    """What Forest's analyses found, by participant and day: numbers, and text where the server sends text."""
    names = client.forest_columns(study.id)
    participants = client.participants(study.id) if names else []
    columns: dict[str, list[Any]] = {name: [] for name in (*_ROW, *names)}
    for start in range(0, len(participants), FEW_PARTICIPANTS):
        batch = participants[start : start + FEW_PARTICIPANTS]
        for record in client.forest_statistics(study.id, names, participants=batch):
            for name, value in zip(_ROW, (record.participant, record.day.isoformat(), record.zone), strict=True):
                columns[name].append(value)
            for name in names:
                columns[name].append(record.values.get(name))
    frame = pd.DataFrame({name: _column(values, text=name in _ROW) for name, values in columns.items()})
    typed: pd.DataFrame = frame.assign(day=pd.to_datetime(frame["day"]).astype("datetime64[s]"))
    return typed


def _column(values: list[Any], *, text: bool) -> pd.api.extensions.ExtensionArray:
    """Numbers, or text if any value is text."""
    if text or any(isinstance(value, str) for value in values):
        return pd.array(list(map(_text, values)), dtype="string")
    return pd.array(values, dtype="Float64")


def _objects(value: Any) -> list[Mapping[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise wrong_shape(ROUTES["survey_history"], "arrays of versions, and of questions")
    return value


def _dates(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise wrong_shape(ROUTES["interventions"], "dates by participant, survey, and intervention")
    return value


def _texts(rows: Sequence[tuple[str | None, ...]], columns: Sequence[str]) -> pd.DataFrame:
    table: pd.DataFrame = pd.DataFrame(rows, columns=list(columns), dtype="string")
    return table


def _text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else _json(value)
