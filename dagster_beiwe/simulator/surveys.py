"""Surveys, interventions and device settings of the simulated studies, as the settings endpoint returns them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Question:
    """One question of a survey: what it offers to choose from, the limits of a slider, or the kind of a text field."""

    id: str
    kind: str
    text: str
    options: tuple[str, ...] = ()
    limits: tuple[int, int] | None = None
    text_field: str | None = None

    def as_json(self) -> dict[str, Any]:
        limits = {name: str(limit) for name, limit in zip(("min", "max"), self.limits or (), strict=False)}
        return {
            "question_id": self.id,
            "question_text": self.text,
            "question_type": self.kind,
            **limits,
            **({"answers": [{"text": option} for option in self.options]} if self.options else {}),
            **({"text_field_type": self.text_field} if self.text_field else {}),
        }


WELCOME = Question(id="11111111-1111-4111-8111-111111111111", kind="info_text_box", text="Welcome")
QUESTIONS: tuple[Question, ...] = (
    Question(
        id="22222222-2222-4222-8222-222222222222",
        kind="slider",
        text="How is your mood, today?",
        limits=(0, 10),
    ),
    Question(
        id="33333333-3333-4333-8333-333333333333",
        kind="radio_button",
        text="Pick one",
        options=("yes", "no, not now"),
    ),
    Question(
        id="44444444-4444-4444-8444-444444444444",
        kind="checkbox",
        text="Pick many",
        options=("at home", "at work, or at school", "elsewhere"),
    ),
    Question(
        id="55555555-5555-4555-8555-555555555555",
        kind="free_response",
        text="Tell us\nin your own words",
        text_field="MULTI_LINE_TEXT",
    ),
)


@dataclass(frozen=True, kw_only=True)
class Survey:
    """A survey of a study; ``created`` is aware and dates its version in the survey history.

    ``earlier`` are the versions before it, oldest first: when each was made, and its questions.
    """

    id: str
    name: str
    created: datetime
    audio: bool = False
    deleted: bool = False
    questions: tuple[Question, ...] = (WELCOME, *QUESTIONS)
    earlier: tuple[tuple[datetime, tuple[Question, ...]], ...] = ()
    timings: tuple[tuple[int, ...], ...] = ((43200,), (43200,), (), (43200, 64800), (), (), (28800,))
    relative_timings: tuple[tuple[str, int, int], ...] = ()

    def questions_as_json(self) -> list[dict[str, Any]]:
        if self.audio:
            return [{"prompt": "Say something"}]
        return [question.as_json() for question in self.questions]

    def history_as_json(self) -> list[dict[str, Any]]:
        """Every version, the present one last."""
        versions = [(since, [each.as_json() for each in questions]) for since, questions in self.earlier]
        return [
            {"archive_start": since.isoformat(timespec="microseconds"), "survey_json": questions}
            for since, questions in (*versions, (self.created, self.questions_as_json()))
        ]

    def as_json(self) -> dict[str, Any]:
        if self.audio:
            settings: dict[str, Any] = {"audio_survey_type": "compressed", "bit_rate": 64000}
        else:
            settings = {
                "number_of_random_questions": None,
                "randomize": False,
                "randomize_with_memory": False,
                "trigger_on_first_download": False,
            }
        return {
            "content": self.questions_as_json(),
            "survey_type": "audio_survey" if self.audio else "tracking_survey",
            "settings": settings,
            "name": self.name,
            "timings": self.timings,
            "absolute_timings": [],
            "relative_timings": self.relative_timings,
        }


_SWITCHES = {
    **dict.fromkeys(("accelerometer", "gps", "calls", "texts", "wifi", "bluetooth", "power_state"), True),
    **dict.fromkeys(("use_anonymized_hashing", "use_gps_fuzzing"), True),
    **dict.fromkeys(("call_clinician_button_enabled", "call_research_assistant_button_enabled"), True),
    "ambient_audio": False,
    **dict.fromkeys(("proximity", "gyro", "magnetometer", "devicemotion", "reachability"), True),
    "allow_upload_over_cellular_data": False,
}
_NUMBERS = {
    "accelerometer_off_duration_seconds": 20,
    "accelerometer_on_duration_seconds": 40,
    "accelerometer_frequency": 10,
    "ambient_audio_off_duration_seconds": 600,
    "ambient_audio_on_duration_seconds": 600,
    "ambient_audio_bitrate": 24000,
    "ambient_audio_sampling_rate": 44100,
    "bluetooth_on_duration_seconds": 60,
    "bluetooth_total_duration_seconds": 300,
    "bluetooth_global_offset_seconds": 0,
    "check_for_new_surveys_frequency_seconds": 3600,
    "create_new_data_files_frequency_seconds": 900,
    "gps_off_duration_seconds": 600,
    "gps_on_duration_seconds": 90,
    "seconds_before_auto_logout": 600,
    "upload_data_files_frequency_seconds": 3600,
    "voice_recording_max_time_length_seconds": 240,
    "wifi_log_frequency_seconds": 300,
    "gyro_off_duration_seconds": 600,
    "gyro_on_duration_seconds": 60,
    "gyro_frequency": 10,
    "magnetometer_off_duration_seconds": 600,
    "magnetometer_on_duration_seconds": 60,
    "devicemotion_off_duration_seconds": 600,
    "devicemotion_on_duration_seconds": 60,
}
_TEXTS = {
    "about_page_text": "Synthetic about text",
    "call_clinician_button_text": "Call My Clinician",
    "consent_form_text": "Synthetic consent text",
    "survey_submit_success_toast_text": "Thank you",
}
_CONSENT = (
    "welcome",
    "data_gathering",
    "privacy",
    "data_use",
    "time_commitment",
    "study_survey",
    "study_tasks",
    "withdrawing",
)


def default_device_settings() -> dict[str, Any]:
    """A fresh copy of the 51 device settings that a server of 2026 sends."""
    return {
        **_SWITCHES,
        **_NUMBERS,
        **_TEXTS,
        "consent_sections": {name: {"text": "synthetic", "more": "synthetic"} for name in _CONSENT},
        "heartbeat_message": "Please open the app",
        "heartbeat_timer_minutes": 45,
        "resend_period_minutes": 180,
    }
