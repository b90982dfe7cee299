"""The words that phones write into files of surveys, and how far apart the times of one submission may be."""

from __future__ import annotations

from typing import Final

UNKNOWN_SURVEYS: Final = frozenset({"", "unknown_survey_id"})
"""In place of a survey's id: the phone or the server lost it."""

OPENED: Final = "Survey first rendered and displayed to user"
"""In place of a question, on Android: the survey was opened anew, and earlier answers are gone."""

SUBMIT_ROWS: Final = frozenset({"User hit submit", "submitted"})
"""How Android (as a question) and iOS (as an event) write that a survey was submitted."""

EXPIRED: Final = "expired"
"""An event on iOS: the survey was taken away before it was submitted."""

PRESENT: Final = "present"
LEFT: Final = frozenset({"unpresent", "dismissing question"})
"""Events on iOS: a question comes onto the screen, and leaves it."""

NOT_PRESENTED: Final = "NOT_PRESENTED"
NOT_RECORDED: Final = "ERROR_QUESTION_NOT_RECORDED"
NO_ANSWERS: Final = frozenset({"", "NO_ANSWER_SELECTED", NOT_PRESENTED, NOT_RECORDED})
"""What phones write in place of an answer that was not given."""

ANDROID_TYPES: Final = frozenset(
    {"Slider Question", "Radio Button Question", "Checkbox Question", "Open Response Question", "Info Text Box"}
)
IOS_TYPES: Final = frozenset({"slider", "radio_button", "checkbox", "free_response", "info_text_box"})
"""Types of questions as only one of the systems writes them. Both write ``date``, ``time``, and ``date_time``."""

SAME_SUBMISSION_MINUTES: Final = 30
"""How far apart the two times of one submission may be."""

LONGEST_SITTING_MINUTES: Final = 24 * 60
"""How long before it is submitted a survey may have been begun."""
