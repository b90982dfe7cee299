"""A participant's histories: uploads, heartbeats, versions, notifications."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

from dagster_beiwe.simulator.files import StoredFile
from dagster_beiwe.simulator.people import Participant, Study, Upload

_RAW_NAMES = {
    "accelerometer": "accel",
    "ambient_audio": "ambientAudio",
    "app_log": "logFile",
    "audio_recordings": "voiceRecording",
    "bluetooth": "bluetoothLog",
    "calls": "callLog",
    "ios_log": "ios/log",
    "power_state": "powerState",
    "survey_answers": "surveyAnswers",
    "survey_timings": "surveyTimings",
    "texts": "textsLog",
    "wifi": "wifiLog",
}
_HOUR = timedelta(hours=1)
_HEARTBEATS = 24


def _z(moment: datetime) -> str:
    return moment.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def phone_name(file: StoredFile, *, opened_ms: int = 17) -> str:
    """The phone's name of the file. Sensor files were opened ``opened_ms`` into the hour."""
    ms = file.start_ms + (opened_ms if file.chunked else 0)
    folders = (_RAW_NAMES.get(file.stream, file.stream), file.survey_id)
    return "/".join([*filter(None, folders), f"{ms}.{file.extension}{file.suffix}"])


def uploads(person: Participant) -> list[Upload]:
    """Uploads, the oldest first, without ``identifiers`` files, which the server writes itself."""
    sent = [
        Upload(file_name=phone_name(file), size_bytes=file.size_bytes, arrived=file.arrived)
        for file in person.files.values()
        if file.stream != "identifiers"
    ]
    return sorted([*sent, *person.late_uploads], key=lambda upload: (upload.arrived, upload.file_name))


def upload_history(person: Participant) -> list[dict[str, Any]]:
    return [
        {"file_size": upload.size_bytes, "timestamp": _z(upload.arrived), "file_name": upload.file_name}
        for upload in uploads(person)
    ]


def heartbeat_history(person: Participant) -> list[dict[str, Any]]:
    last = person.last_heartbeat
    if last is None:
        return []
    return [{"timestamp": _z(last - number * _HOUR)} for number in reversed(range(_HEARTBEATS))]


def version_history(person: Participant) -> list[dict[str, Any]]:
    if person.first_registration is None:
        return []
    versions = (
        [("2.5.1", "2024.21", "17.4"), ("2.5.2", "2024.28", "18.0")]
        if person.os == "IOS"
        else [("68", "3.4.2", "14"), ("69", "3.5.0", "15")]
    )
    return [
        {
            "app_version_code": code,
            "app_version_name": name,
            "os_version": system,
            "created_on": _z(person.first_registration + number * timedelta(days=3)),
        }
        for number, (code, name, system) in enumerate(versions)
    ]


def device_status_history(person: Participant) -> list[dict[str, Any]]:
    """Empty unless the participant is in an experiment."""
    if not person.experiment or person.first_registration is None:
        return []
    ios = person.os == "IOS"
    return [
        {
            "created_on": beat["timestamp"],
            "endpoint": f"/mobile-heartbeat/{'ios' if ios else ''}",
            "app_os": person.os,
            "os_version": "18.0" if ios else "15",
            "app_version": "2024.28 2.5.2" if ios else "3.5.0 69",
            "device_status": {"transition_count": str(number), "battery": "0.50"},
        }
        for number, beat in enumerate(heartbeat_history(person))
    ]


def notification_history(study: Study, person: Participant, *, utc: bool) -> dict[str, list[dict[str, Any]]]:
    """Times in the study's zone, or UTC; the receipt is always UTC."""
    if person.first_registration is None:
        return {}
    zone = ZoneInfo(study.time_zone)

    def written(moment: datetime) -> str:
        return _z(moment) if utc else moment.astimezone(zone).isoformat(timespec="seconds")

    sent = []
    for number in range(4):
        noon = person.first_registration + timedelta(days=3 * number)
        received = number != 3
        sent.append(
            {
                "timestamp": written(noon + timedelta(seconds=2)),
                "type": "weekly",
                "scheduled_time": written(noon),
                "confirmed_received": _z(noon + timedelta(seconds=40)) if received else False,
                "uuid": f"00000000-0000-0000-0000-{number + 1:012d}",
                "resend": not received,
                "push_rejected": False,
            }
        )
    return {study.surveys[0].id: sent} if study.surveys else {}
