"""The routes of the server, since when each exists, and its response."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import Any
from urllib.parse import quote

from dagster_beiwe.simulator import histories
from dagster_beiwe.simulator.answers import Answer, RefusedError, json_answer
from dagster_beiwe.simulator.downloads import download
from dagster_beiwe.simulator.forms import KEY_PATTERN, Request
from dagster_beiwe.simulator.people import Participant, Researcher, Study
from dagster_beiwe.simulator.profiles import Profile
from dagster_beiwe.simulator.statistics import data_quantities, summary_statistics
from dagster_beiwe.simulator.tables import participant_table
from dagster_beiwe.simulator.world import World


@dataclass(frozen=True, kw_only=True)
class Call:
    """One request, with everything that an endpoint may use."""

    world: World
    profile: Profile
    request: Request
    rng: random.Random
    slow_key_check: Callable[[], None]


Endpoint = Callable[[Call], Answer]


@dataclass(frozen=True, kw_only=True)
class Route:
    endpoint: Endpoint
    since: date
    methods: tuple[str, ...] = ("POST",)


def researcher_of(call: Call) -> Researcher:
    """Whose keys these are. Responds 400 to missing or malformed keys, 403 to wrong ones."""
    access, secret = call.request.value("access_key") or "", call.request.value("secret_key") or ""
    if not KEY_PATTERN.fullmatch(access) or not KEY_PATTERN.fullmatch(secret):
        raise RefusedError(400)
    found = next((one for one in call.world.researchers if one.access_key == access), None)
    if found is None or not found.active:
        raise RefusedError(403)
    call.slow_key_check()
    if found.secret_key != secret:
        raise RefusedError(403)
    return found


def study_of(call: Call) -> Study:
    """The study is looked up before the credentials, as the server does."""
    study_id, pk = call.request.value("study_id"), call.request.value("study_pk")
    studies = call.world.studies
    if study_id is not None:
        if len(study_id) != 24 or not (study_id.isascii() and study_id.isalnum()):
            raise RefusedError(400)
        study = studies.get(study_id)
    elif pk is not None and pk.isdigit():
        study = next((one for one in studies.values() if one.pk == int(pk)), None)
    else:
        raise RefusedError(400)
    if study is None or study.hidden:
        raise RefusedError(404)
    if not researcher_of(call).may_see(study.id):
        raise RefusedError(403)
    return study


def participant_of(call: Call) -> tuple[Study, Participant]:
    """Checks credentials first, accepts hidden studies, and does not read ``study_id``."""
    researcher = researcher_of(call)
    participant_id = call.request.value("participant_id")
    if not participant_id:
        raise RefusedError(400)
    person = call.world.find_participant(participant_id)
    if person is None:
        raise RefusedError(404)
    if not researcher.may_see(person.study_id):
        raise RefusedError(403)
    return call.world.studies[person.study_id], person


def check_credentials(call: Call) -> Answer:
    researcher_of(call)
    return Answer(body=b"The provided credentials are valid")


def get_studies(call: Call) -> Answer:
    researcher = researcher_of(call)
    seen = {one.id: one.name for one in call.world.studies.values() if not one.hidden and researcher.may_see(one.id)}
    return Answer(body=json.dumps(seen, ensure_ascii=False, separators=(",", ":")).encode())


def get_participant_ids(call: Call) -> Answer:
    study = study_of(call)
    ids = list(study.participants)
    call.rng.shuffle(ids)
    return json_answer(ids)


def settings_file(study: Study, profile: Profile) -> Answer:
    name = f"{study.name.replace(' ', '_')}_surveys_and_settings.json"
    place = f'filename="{name}"' if name.isascii() else f"filename*=utf-8''{quote(name)}"
    settings: dict[str, Any] = {
        "surveys": [survey.as_json() for survey in study.surveys if not survey.deleted],
        "device_settings": {name: value for name, value in study.device_settings.items() if _is_set(name, profile)},
        "interventions": study.interventions,
    }
    if profile.settings_have_time_zone:
        settings["study_time_zone"] = study.time_zone
    return json_answer(settings, Content_Disposition=f"attachment; {place}")


def _is_set(setting: str, profile: Profile) -> bool:
    """Whether a stream's settings are sent: only with the stream."""
    return "ambient_audio" in profile.streams or not setting.startswith("ambient_audio")


def get_study_settings(call: Call) -> Answer:
    return settings_file(study_of(call), call.profile)


def get_interventions(call: Call) -> Answer:
    """Only interventions that a survey's schedule refers to."""
    study = study_of(call)
    used = [(survey.id, name) for survey in study.surveys for name, _, _ in survey.relative_timings]
    if not used:
        return json_answer({})
    found: dict[str, dict[str, dict[str, str | None]]] = {}
    for person in study.participants.values():
        dates: dict[str, dict[str, str | None]] = found.setdefault(person.id, {})
        for survey_id, name in used:
            day = person.interventions.get(name)
            dates.setdefault(survey_id, {})[name] = day.isoformat() if day else None
    return json_answer(found)


def get_survey_history(call: Call) -> Answer:
    study = study_of(call)
    history = {survey.id: survey.history_as_json() for survey in study.surveys}
    place = f'attachment; filename="{study.id}_surveys_history_data.json"'
    return json_answer(history, chunked=True, content_type="text/json", Content_Disposition=place)


def get_data_quantities(call: Call) -> Answer:
    return json_answer(data_quantities(call.world, call.profile, study_of(call)))


def get_participant_table(call: Call) -> Answer:
    return participant_table(call.world, call.profile, study_of(call), call.request.value("data_format"))


def get_summary_statistics(call: Call) -> Answer:
    return summary_statistics(call.world, call.profile, study_of(call), call.request)


def get_data(call: Call) -> Answer:
    return download(call.world, call.profile, study_of(call), call.request, call.rng)


def get_file_hashes(call: Call) -> Answer:
    """Fails for any participant with a known SHA-1, as the real one does."""
    _, person = participant_of(call)
    if any(file.has_sha1 for file in person.files.values()):
        raise RefusedError(500)
    names = [f"{file.member_stem.replace(' ', 'T')}.{file.extension}" for file in person.files.values()]
    return json_answer(dict.fromkeys(names))


def get_notifications(call: Call) -> Answer:
    study, person = participant_of(call)
    return json_answer(histories.notification_history(study, person, utc=call.request.value("utc") is not None))


def _history(records: Callable[[Participant], list[dict[str, Any]]], *, may_omit_keys: bool = True) -> Endpoint:
    def endpoint(call: Call) -> Answer:
        _, person = participant_of(call)
        found: list[Any] = records(person)
        if may_omit_keys and call.request.value("omit_keys") == "true":
            found = [list(one.values()) if len(one) > 1 else next(iter(one.values())) for one in found]
        return json_answer(found, chunked=may_omit_keys or bool(found))

    return endpoint


def get_sycamore_output(call: Call) -> Answer:
    """There is no analysis: a 404 with a short text, while a missing route has a page."""
    study_of(call)
    return Answer(status=404, body=b"No sycamore output was found for this study.", content_type="text/plain")


def get_forest_tasks(call: Call) -> Answer:
    study = study_of(call)
    runs = ((person.id, task) for person in study.participants.values() for task in person.forest_tasks)
    ordered = sorted(runs, key=lambda run: run[1].ran)
    return json_answer([task.as_json(who, number) for number, (who, task) in enumerate(ordered, start=1)])


def background_status(call: Call) -> Answer:
    """An empty body, with 200 if the server processed uploads lately."""
    return Answer(status=200 if call.world.processing else 500)


ROUTES: dict[str, Route] = {
    "/check-my-credentials/v1": Route(endpoint=check_credentials, since=date(2026, 2, 18)),
    "/get-studies/v1": Route(endpoint=get_studies, since=date(2016, 1, 1)),
    "/get-users/v1": Route(endpoint=get_participant_ids, since=date(2016, 1, 1)),
    "/get-participant-ids/v1": Route(endpoint=get_participant_ids, since=date(2024, 6, 27)),
    "/get-study-settings/v1": Route(endpoint=get_study_settings, since=date(2025, 3, 10)),
    "/get-interventions/v1": Route(endpoint=get_interventions, since=date(2022, 2, 15)),
    "/get-survey-history/v1": Route(endpoint=get_survey_history, since=date(2022, 6, 14)),
    "/get-participant-data-quantities/v1": Route(endpoint=get_data_quantities, since=date(2024, 7, 22)),
    "/get-participant-table-data/v1": Route(endpoint=get_participant_table, since=date(2024, 6, 7)),
    "/get-summary-statistics/v1": Route(endpoint=get_summary_statistics, since=date(2024, 6, 11)),
    "/get-participant-upload-history/v1": Route(endpoint=_history(histories.upload_history), since=date(2024, 6, 5)),
    "/get-participant-heartbeat-history/v1": Route(
        endpoint=_history(histories.heartbeat_history), since=date(2024, 6, 6)
    ),
    "/get-participant-version-history/v1": Route(endpoint=_history(histories.version_history), since=date(2024, 6, 6)),
    "/get-participant-device-status-history/v1": Route(
        endpoint=_history(histories.device_status_history, may_omit_keys=False), since=date(2024, 6, 17)
    ),
    "/get-participant-notification-history/v1": Route(endpoint=get_notifications, since=date(2025, 3, 7)),
    "/get-participant-file-hashes/v1": Route(endpoint=get_file_hashes, since=date(2026, 1, 8)),
    "/get-sycamore-analysis-output/v1": Route(endpoint=get_sycamore_output, since=date(2026, 7, 31)),
    "/get-forest-tasks/v1": Route(endpoint=get_forest_tasks, since=date(2026, 7, 31)),
    "/get-data/v1": Route(endpoint=get_data, since=date(2015, 1, 1), methods=("GET", "POST")),
    "/get-data/v2": Route(endpoint=get_data, since=date(2025, 5, 14), methods=("GET", "POST")),
    "/background_processing_status": Route(
        endpoint=background_status, since=date(2025, 9, 18), methods=("GET", "POST")
    ),
}
