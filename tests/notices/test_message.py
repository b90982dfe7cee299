"""What a message says, and that it says nothing else."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone

from dagster_beiwe.notices.message import message_of
from dagster_beiwe.notices.problems import WHOLE_CHECK, Check, Problem

EIGHT = datetime(2026, 3, 4, 8, 0, tzinfo=timezone.utc).timestamp()
SILENT = Check("sleep", "beiwe/sleep/coverage", "silent")
COMPLETE = Check("sleep", "beiwe/sleep/coverage", "complete")

ANNA = Problem(check=SILENT, participant="anna0001", severity="WARN", at=EIGHT)
BERT = replace(ANNA, participant="bert0002", resolved=True)
CLEO = replace(ANNA, participant="cleo0003", severity="ERROR")
WHOLE = Problem(check=COMPLETE, participant=WHOLE_CHECK, severity="ERROR", at=EIGHT, resolved=True)


def test_a_message_names_checks_and_participants() -> None:
    """By study and check, errors first."""
    message = message_of([ANNA, BERT, WHOLE, CLEO], dagster_url="https://dagster.example.org/")
    assert message.subject == "Beiwe: 4 new problems in sleep"
    link = "https://dagster.example.org/assets/beiwe/sleep/coverage?view=checks&checkDetail="
    assert message.text == (
        "sleep: complete (error), 2026-03-04 08:00 UTC\n"
        "Resolved since.\n"
        f"{link}complete\n"
        "\n"
        "sleep: silent (error), 2026-03-04 08:00 UTC\n"
        "1 participant: cleo0003\n"
        f"{link}silent\n"
        "\n"
        "sleep: silent (warning), 2026-03-04 08:00 UTC\n"
        "2 participants: anna0001, bert0002 (resolved since)\n"
        f"{link}silent\n"
        "\n"
        "Each problem is reported once, and again if it comes back after it was resolved.\n"
    )


def test_many_participants_are_counted() -> None:
    """A message stays one that can be read; the facts name everybody."""
    everybody = [replace(ANNA, participant=f"p{number:07}") for number in range(80)]
    message = message_of(everybody)
    assert "80 participants: p0000000, " in message.text
    assert "p0000049 and 30 more\n" in message.text
    assert len(message.facts["problems"]) == 80


def test_the_facts_are_those_of_the_text() -> None:
    """For programs."""
    assert message_of([BERT]).facts == {
        "problems": [
            {
                "study": "sleep",
                "asset": "beiwe/sleep/coverage",
                "check": "silent",
                "participant": "bert0002",
                "severity": "WARN",
                "at": "2026-03-04T08:00:00+00:00",
                "resolved": True,
            }
        ]
    }
    assert message_of([WHOLE]).facts["problems"][0]["participant"] is None


def test_a_message_has_the_identity_of_its_problems() -> None:
    """In any order, and resolved or not: a receiver can tell the second attempt."""
    assert message_of([ANNA, BERT]).identity == message_of([replace(BERT, resolved=False), ANNA]).identity
    assert message_of([ANNA]).identity != message_of([BERT]).identity
