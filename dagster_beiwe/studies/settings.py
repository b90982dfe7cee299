"""The settings of a study as rows that can be compared: device settings, surveys, interventions."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from dagster_beiwe.client import BeiweClient
from dagster_beiwe.errors import RouteMissingError
from dagster_beiwe.streams import stream_named
from dagster_beiwe.studies.roster import content_hash

_DEVICE, INTERVENTION_DATES = "device_setting", "intervention_date"

_SECTIONS_OF: Mapping[str, Sequence[str]] = {
    "settings": ("study", _DEVICE, "survey", "intervention"),
    "survey history": ("survey_version",),
    "intervention dates": (INTERVENTION_DATES,),
    "data streams": ("data_stream",),
}
"""{what the server is asked for: sections of the settings}"""

SECTIONS = tuple(section for sections in _SECTIONS_OF.values() for section in sections)

Shown = bool | int | float
"""A setting's value that may be shown where text may not."""

Settings = dict[tuple[str, str], Any]
"""{(section, name): value}"""


@dataclass(frozen=True, kw_only=True)
class SettingsSnapshot:
    """The settings as the server sent them, and the endpoints it lacks."""

    values: Settings
    missing: tuple[str, ...] = ()

    def completed(self, before: Iterable[Mapping[Any, Any]]) -> SettingsSnapshot:
        """With what earlier ``rows`` have of the sections that the server does not return."""
        sections = {section for name in self.missing for section in _SECTIONS_OF[name]}
        kept = {(row["section"], row["name"]): json.loads(row["value"]) for row in before if row["section"] in sections}
        return replace(self, values={**kept, **self.values})

    @property
    def version(self) -> str:
        """A hash that changes only when the settings change."""
        return content_hash(sorted([section, name, value] for (section, name), value in self.values.items()))

    def rows(self) -> list[dict[str, str]]:
        """``section``, ``name`` and ``value`` (JSON text), sorted."""
        return [
            {"section": section, "name": name, "value": json.dumps(value, sort_keys=True, ensure_ascii=False)}
            for (section, name), value in sorted(self.values.items())
        ]

    def counts(self) -> dict[str, int]:
        """The number of settings per section."""
        return {name: sum(section == name for section, _ in self.values) for name in SECTIONS}

    def shown(self) -> dict[str, Shown]:
        """Device settings that are switches or numbers, which may be shown where text may not."""
        settings = {name: value for (section, name), value in sorted(self.values.items()) if section == _DEVICE}
        return {f"{_DEVICE}/{name}": value for name, value in _showable(settings).items()}

    def fingerprints(self) -> dict[str, str]:
        """A short hash per setting, to tell later what changed without keeping what it was.

        Intervention dates share one for all participants, so that a log does not say whose changed.
        """
        dates = {name: value for (section, name), value in self.values.items() if section == INTERVENTION_DATES}
        single = {
            f"{section}/{name}": content_hash(value)[:8]
            for (section, name), value in sorted(self.values.items())
            if section != INTERVENTION_DATES
        }
        return {**single, INTERVENTION_DATES: content_hash(dates)[:8]}


def read_settings(client: BeiweClient, study_id: str, *, study_pk: int | None) -> SettingsSnapshot:
    """Everything the server has about the study's setup.

    ``missing`` names what an older server lacks; raises ``RouteMissingError`` if it lacks everything.
    """
    parts: dict[str, Callable[[], Settings]] = {
        "settings": lambda: _study_settings(client.settings(study_id, study_pk=study_pk)),
        "survey history": lambda: _survey_versions(client.survey_history(study_id)),
        "intervention dates": lambda: _intervention_dates(client.interventions(study_id)),
        "data streams": lambda: _data_streams(client.reported_streams(study_id)),
    }
    values: Settings = {}
    missing: list[str] = []
    for name, read in parts.items():
        try:
            values |= read()
        except RouteMissingError as error:
            missing.append(name)
            reason = error
    if len(missing) == len(parts):
        raise reason
    return SettingsSnapshot(values=values, missing=tuple(missing))


def changed_settings(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """Names of settings that were added, removed or changed between two sets of fingerprints."""
    return sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))


def describe_changes(
    names: Iterable[str], before: Mapping[str, Shown], after: Mapping[str, Shown]
) -> list[dict[str, Shown | str]]:
    """``setting`` and, for switches and numbers, ``from`` and ``to``. Text is named only, because it may be
    personal."""
    described: list[dict[str, Shown | str]] = []
    for name in names:
        values = {"from": before.get(name), "to": after.get(name)}
        described.append({"setting": name, **{word: value for word, value in values.items() if value is not None}})
    return described


def device_settings_shown(shown: Mapping[str, Shown]) -> dict[str, Shown]:
    """{device setting: value} from what ``SettingsSnapshot.shown`` returned."""
    prefix = f"{_DEVICE}/"
    return {name.removeprefix(prefix): value for name, value in shown.items() if name.startswith(prefix)}


def switches_and_numbers(answer: Mapping[str, Any]) -> dict[str, Shown]:
    """{device setting: value} from the server's settings of a study, texts left out."""
    return _showable(answer.get("device_settings") or {})


def _showable(settings: Mapping[str, Any]) -> dict[str, Shown]:
    return {name: value for name, value in settings.items() if isinstance(value, (bool, int, float))}


def _study_settings(answer: Mapping[str, Any]) -> Settings:
    values: Settings = {}
    known = {"device_settings", "surveys", "interventions"}
    for name, value in (answer.get("device_settings") or {}).items():
        values[_DEVICE, name] = value
    for number, survey in enumerate(_sorted_json(answer.get("surveys") or []), start=1):
        values["survey", f"{number:03d}"] = survey
    for number, intervention in enumerate(sorted(map(str, answer.get("interventions") or [])), start=1):
        values["intervention", f"{number:03d}"] = intervention
    for name in answer.keys() - known:
        values["study", name] = answer[name]
    return values


def _survey_versions(answer: Mapping[str, Any]) -> Settings:
    return {("survey_version", survey_id): versions for survey_id, versions in answer.items()}


def _intervention_dates(answer: Mapping[str, Any]) -> Settings:
    return {(INTERVENTION_DATES, participant): dates for participant, dates in answer.items()}


def _data_streams(names: Iterable[str]) -> Settings:
    """The streams of the server; ``new`` are those that the catalog does not describe."""
    return {("data_stream", name): "described" if stream_named(name).known else "new" for name in names}


def _sorted_json(values: Iterable[Any]) -> list[Any]:
    """Surveys come without ids and in any order: sort them by content, so that only content counts."""
    return sorted(values, key=lambda value: json.dumps(value, sort_keys=True))
