"""``dagster-beiwe partitions``: remove partitions of participants who never existed, such as mistyped ids."""

from __future__ import annotations

import difflib
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from dagster_beiwe.cells import dimensions
from dagster_beiwe.cli.command import Group
from dagster_beiwe.cli.context import confirmed, dagster_history, open_lake
from dagster_beiwe.cli.options import json_option, study_option, yes_option
from dagster_beiwe.cli.output import print_json
from dagster_beiwe.client import BeiweClient
from dagster_beiwe.client.studies import find_study
from dagster_beiwe.errors import ConfigurationError
from dagster_beiwe.ids import is_participant_id
from dagster_beiwe.opening import load_credentials
from dagster_beiwe.text import counted, one_line

if TYPE_CHECKING:
    import dagster as dg

_ACTIVE_BACKFILLS = ("REQUESTED", "CANCELING", "FAILING")


@click.group(cls=Group, no_args_is_help=False)
def command() -> None:
    """Remove a mistyped participant from Dagster's partitions."""


@command.command("remove", examples=['partitions remove --study "Sleep and Mood" --participant abcd1l34'])
@study_option
@click.option("--participant", required=True, metavar="PARTICIPANT", help="The participant whose partition to remove.")
@yes_option
@json_option
def _remove(*, study: str, participant: str, yes: bool, as_json: bool) -> int:
    """Remove a participant who is neither on the server nor in the lake."""
    from dagster_beiwe.partitions.definitions import participants_name

    with dagster_history() as instance:
        with BeiweClient(load_credentials(os.environ, prompt=True)) as client:
            found = find_study(client.studies(), study)
            on_the_server = client.participants(found.id)
        name = participants_name(found.id)
        _check_partition(participant, instance.get_dynamic_partitions(name))
        if participant in on_the_server:
            raise _refusal(participant, "The server lists this participant, and the next roster would add it again.")
        _check_lake(found.id, participant)
        _check_dagster(instance, participant)
        question = f"The partition {participant} of {one_line(found.name)} will be removed."
        removed = confirmed(question, yes=yes)
        if removed:
            instance.delete_dynamic_partition(name, participant)
    if as_json:
        print_json({"study_id": found.id, "participant": participant, "removed": removed})
    elif removed:
        print(f"Removed {participant} from the partitions of {one_line(found.name)}.")
    else:
        print("Nothing was changed.")
    return 0 if removed else 1


def _check_partition(participant: str, partitions: Sequence[str]) -> None:
    if participant not in partitions:
        close = difflib.get_close_matches(participant, partitions, n=3)
        hint = f" Similar partitions: {', '.join(map(one_line, close))}." if close else ""
        raise ConfigurationError(f"{one_line(participant)} is not a partition of the study. Nothing was changed.{hint}")


def _check_lake(study_id: str, participant: str) -> None:
    from dagster_beiwe.maintenance.purge import holds_anything

    if is_participant_id(participant) and holds_anything(open_lake().storage, study_id, participant):
        raise _refusal(
            participant,
            "The lake holds data of this participant, so the partition is part of its history. To remove the data too, "
            "run `dagster-beiwe purge` first.",
        )


def _check_dagster(instance: dg.DagsterInstance, participant: str) -> None:
    """A backfill, or a run whose range begins or ends with the partition, could not continue without it."""
    from dagster import DagsterRunStatus, RunsFilter

    from dagster_beiwe.runs.dagster_private import PARTITION_TAG, RANGE_END_TAG, RANGE_START_TAG

    active = [each.backfill_id for each in instance.get_backfills() if each.status.value in _ACTIVE_BACKFILLS]
    if active:
        raise _refusal(
            participant,
            f"Dagster fails backfills whose partitions are removed. Still active: "
            f"{counted(len(active), 'backfill')} ({active[0]}). Wait for it, or cancel it.",
        )
    ended = (DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED)
    statuses = [status for status in DagsterRunStatus if status not in ended]
    tags = (PARTITION_TAG, RANGE_START_TAG, RANGE_END_TAG)
    for run in instance.get_runs(filters=RunsFilter(statuses=statuses)):
        if any(participant in dimensions(run.tags.get(tag, "")) for tag in tags):
            raise _refusal(participant, f"Run {run.run_id} covers this partition. Wait for it, or terminate it.")


def _refusal(participant: str, why: str) -> ConfigurationError:
    return ConfigurationError(f"The partition {one_line(participant)} was not removed. {why}")
