"""Options that several commands share, and the values that they take."""

from __future__ import annotations

from datetime import datetime, timezone

import click

from dagster_beiwe.cli import completion

_STUDY = "Id, beginning of an id, or name of the study."
study_option = click.option("--study", required=True, metavar="STUDY", shell_complete=completion.studies, help=_STUDY)
optional_study_option = click.option(
    "--study", metavar="STUDY", shell_complete=completion.studies, help=f"{_STUDY} Default: all."
)
participants_option = click.option(
    "--participant",
    "participants",
    multiple=True,
    metavar="PARTICIPANT",
    shell_complete=completion.participants,
    help="Only this participant. Can be repeated. Default: all.",
)
silent_option = click.option(
    "--silent",
    "days",
    type=click.IntRange(min=1),
    help="Days without data after which somebody is silent. Default: the study's silent_days.",
)
yes_option = click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, one object per line.")


def utc_time(text: str) -> datetime:
    """A date or time as aware UTC. A naive one is taken as UTC."""
    try:
        moment = datetime.fromisoformat(text)
        return moment.replace(tzinfo=timezone.utc) if moment.tzinfo is None else moment.astimezone(timezone.utc)
    except (ValueError, OverflowError):
        raise click.BadParameter(
            f"{text[:40]!r} is not a time. Write a time like 2024-03-01 or 2024-03-01T13:00 (UTC)."
        ) from None


def past_state(text: str) -> int | datetime | str:
    """A past state: a record's number, a date or time, or else the name of a snapshot."""
    if text.isdecimal():
        return int(text)
    try:
        return utc_time(text)
    except click.BadParameter:
        return text


as_of_option = click.option(
    "--as-of", type=past_state, metavar="STATE", help="A past state: a record's number, a time (UTC) or a snapshot."
)
