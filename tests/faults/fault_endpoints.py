"""Every endpoint that the client talks to, with a call that uses it, and the cases: fault, endpoint, how often."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fault_matrix import SERVER_FAULTS, TIMES, Outcome, ServerFault, Times
from fault_scene import FIRST, STUDY

from dagster_beiwe.client import BeiweClient

CURRENT, NEW, OLD = "2026-03", "2026-08", "2023-11"


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """``kind`` is a key into a fault's outcomes, ``route`` as the simulator's misbehaviors name it.

    ``profile`` is a server that has it in use.
    """

    name: str
    kind: str
    route: str
    call: Callable[[BeiweClient], object]
    profile: str = CURRENT


def _of_study(name: str, route: str, call: Callable[[BeiweClient], object], *, profile: str = CURRENT) -> Endpoint:
    return Endpoint(name=name, kind="answers", route=f"/{route}", call=call, profile=profile)


def _website(client: BeiweClient) -> object:
    return client.settings(STUDY, study_pk=1)


ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint(name="probe of a route", kind="probe", route="*", call=lambda client: client.capabilities()),
    _of_study("check-my-credentials", "check-my-credentials/v1", lambda client: client.check_credentials()),
    _of_study("get-studies", "get-studies/v1", lambda client: client.studies()),
    _of_study("get-users", "get-users/v1", lambda client: client.participants(STUDY), profile=OLD),
    _of_study("get-participant-ids", "get-participant-ids/v1", lambda client: client.participants(STUDY)),
    _of_study("get-study-settings", "get-study-settings/v1", lambda client: client.settings(STUDY)),
    _of_study("get-interventions", "get-interventions/v1", lambda client: client.interventions(STUDY)),
    _of_study("get-survey-history", "get-survey-history/v1", lambda client: client.survey_history(STUDY)),
    _of_study(
        "get-participant-data-quantities",
        "get-participant-data-quantities/v1",
        lambda client: client.data_quantities(STUDY),
    ),
    _of_study(
        "get-participant-table-data", "get-participant-table-data/v1", lambda client: client.participant_table(STUDY)
    ),
    _of_study("get-summary-statistics", "get-summary-statistics/v1", lambda client: client.summary_statistics(STUDY)),
    _of_study("get-forest-tasks", "get-forest-tasks/v1", lambda client: client.forest_tasks(STUDY), profile=NEW),
    _of_study(
        "get-participant-upload-history",
        "get-participant-upload-history/v1",
        lambda client: client.upload_history(FIRST),
    ),
    _of_study(
        "get-participant-heartbeat-history",
        "get-participant-heartbeat-history/v1",
        lambda client: client.heartbeat_history(FIRST),
    ),
    _of_study(
        "get-participant-version-history",
        "get-participant-version-history/v1",
        lambda client: client.version_history(FIRST),
    ),
    _of_study(
        "get-participant-device-status-history",
        "get-participant-device-status-history/v1",
        lambda client: client.device_status_history(FIRST),
    ),
    _of_study(
        "get-participant-notification-history",
        "get-participant-notification-history/v1",
        lambda client: client.notification_history(FIRST),
    ),
    Endpoint(
        name="get-participant-file-hashes",
        kind="hashes",
        route="/get-participant-file-hashes/v1",
        call=lambda client: client.file_hashes(FIRST),
    ),
    Endpoint(name="website login", kind="login", route="/validate_login", call=_website, profile=OLD),
    Endpoint(
        name="website settings page", kind="page", route="/export_study_settings_file/*", call=_website, profile=OLD
    ),
)

AnswerCase = tuple[ServerFault, Endpoint, Times, Outcome]
DownloadCase = tuple[ServerFault, int, Times, Outcome]

ANSWER_CASES: tuple[AnswerCase, ...] = tuple(
    (fault, endpoint, times, outcome)
    for fault in SERVER_FAULTS
    for endpoint in ENDPOINTS
    if not fault.endpoints or endpoint.name in fault.endpoints
    for times in TIMES
    if (outcome := fault.outcome(endpoint.kind, times))
)
DOWNLOAD_CASES: tuple[DownloadCase, ...] = tuple(
    (fault, version, times, outcome)
    for fault in SERVER_FAULTS
    for version in fault.versions
    for times in TIMES
    if (outcome := fault.outcome("downloads" if version == 1 else "downloads v2", times))
)
