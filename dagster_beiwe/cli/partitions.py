"""``dagster-beiwe partitions``: remove partitions of participants who never were, such as mistyped ids."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dagster_beiwe.cli.context import add_study_option, confirmed, dagster_history, load_credentials, open_lake
from dagster_beiwe.client import BeiweClient
from dagster_beiwe.client.studies import find_study
from dagster_beiwe.errors import ConfigurationError
from dagster_beiwe.ids import is_participant_id
from dagster_beiwe.text import one_line

if TYPE_CHECKING:
    import dagster as dg

_ACTIVE_BACKFILLS = ("REQUESTED", "CANCELING", "FAILING")


def add_parser(commands: Any) -> None:
    parser = commands.add_parser("partitions", help="remove a mistyped participant from Dagster's partitions")
    actions = parser.add_subparsers(title="actions", required=True, metavar="ACTION")
    remove = actions.add_parser("remove", help="remove a participant who is neither on the server nor in the lake")
    add_study_option(remove, required=True)
    remove.add_argument("--participant", required=True, type=str)
    remove.add_argument("--yes", action="store_true", help="remove without asking")
    remove.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from dagster_beiwe.partitions.definitions import participants_name

    participant = str(options.participant)
    with dagster_history() as instance:
        with BeiweClient(load_credentials()) as client:
            study = find_study(client.studies(), options.study)
            on_the_server = client.participants(study.id)
        name = participants_name(study.id)
        _check_partition(participant, instance.get_dynamic_partitions(name))
        if participant in on_the_server:
            raise _refusal(participant, "The server lists this participant, and the next roster would add it again.")
        _check_lake(study.id, participant)
        _check_dagster(instance, participant)
        question = f"{participant} of {one_line(study.name)} will be no partition any more."
        if not confirmed(question, yes=options.yes):
            print("Nothing was changed.")
            return 1
        instance.delete_dynamic_partition(name, participant)
    print(f"Removed {participant} from the partitions of {one_line(study.name)}.")
    return 0


def _check_partition(participant: str, partitions: Sequence[str]) -> None:
    if participant not in partitions:
        close = difflib.get_close_matches(participant, partitions, n=3)
        hint = f" Similar ones are: {', '.join(map(one_line, close))}." if close else ""
        raise ConfigurationError(f"{one_line(participant)} is no partition of the study. Nothing was changed.{hint}")


def _check_lake(study_id: str, participant: str) -> None:
    from dagster_beiwe.maintenance.purge import holds_anything

    if is_participant_id(participant) and holds_anything(open_lake().storage, study_id, participant):
        raise _refusal(
            participant,
            "The lake holds data of this participant, so the partition is part of its history. To remove the data too, "
            "run `dagster-beiwe purge` first.",
        )


def _check_dagster(instance: dg.DagsterInstance, participant: str) -> None:
    """A backfill, or a run whose range begins or ends with the partition, could not go on without it."""
    from dagster import DagsterRunStatus, RunsFilter

    from dagster_beiwe.partitions.definitions import PARTITION_TAG, RANGE_END_TAG, RANGE_START_TAG

    active = [each.backfill_id for each in instance.get_backfills() if each.status.value in _ACTIVE_BACKFILLS]
    if active:
        raise _refusal(
            participant,
            f"Dagster fails backfills whose partitions are removed, and {len(active)} are active ({active[0]}). Wait "
            "for them or cancel them.",
        )
    ended = (DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED)
    statuses = [status for status in DagsterRunStatus if status not in ended]
    tags = (PARTITION_TAG, RANGE_START_TAG, RANGE_END_TAG)
    for run in instance.get_runs(filters=RunsFilter(statuses=statuses)):
        if any(participant in run.tags.get(tag, "").split("|") for tag in tags):
            raise _refusal(participant, f"Run {run.run_id} is about this partition. Wait for it or terminate it.")


def _refusal(participant: str, why: str) -> ConfigurationError:
    return ConfigurationError(f"The partition {one_line(participant)} was not removed. {why}")
