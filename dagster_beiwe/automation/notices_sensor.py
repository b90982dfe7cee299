"""The sensor that reports new failed checks and the participants that they name, once each."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict

import dagster as dg

from dagster_beiwe.automation.notices import Notices
from dagster_beiwe.errors import ConfigurationError
from dagster_beiwe.notices.message import message_of
from dagster_beiwe.notices.problems import Check, Followed, Problem, Result, follow
from dagster_beiwe.runs.check_history import Recorded, before_newest, failing_participants, results_since
from dagster_beiwe.studies.study import Study
from dagster_beiwe.text import counted
from dagster_beiwe.typed_json import read_json

logger = logging.getLogger("dagster_beiwe")


def build_notices_sensors(notices: Sequence[Notices]) -> list[dg.SensorDefinition]:
    """A sensor for each. Raises ``ConfigurationError`` for two with the same name."""
    names = [each.sensor_name for each in notices]
    if doubled := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigurationError(
            f"Two of the notices have the sensor {doubled[0]}. Nothing was built. Give each a `name`."
        )
    return [_sensor(each) for each in notices]


def _sensor(notices: Notices) -> dg.SensorDefinition:
    """It is on: whoever configures notices wants them. It follows the checks of all studies in its code location.

    If a message cannot be sent, the evaluation fails, its cursor stays, and the next evaluation reports the same
    problems again, with those that came meanwhile. So that there is a cursor to stay, the first evaluation only notes
    where to begin: at the newest result of each check.
    """

    @dg.sensor(
        name=notices.sensor_name,
        minimum_interval_seconds=notices.seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Reports checks that begin to fail and the participants that they name, once each.",
    )
    def tell(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        before = _from_text(context.cursor)
        after = dict(before)
        problems: list[Problem] = []
        every = _checks(context)
        checks = {check: key for check, key in every.items() if notices.is_about(check)}
        for check, key in checks.items():
            name = f"{check.asset} {check.name}"
            if (followed := before.get(name)) is None:
                after[name] = Followed(at=before_newest(context.instance, key))
                continue
            results = [_result(each, notices) for each in results_since(context.instance, key, followed.at)]
            after[name], began = follow(check, followed, results)
            problems += began
        if problems:
            message = message_of(problems, dagster_url=notices.dagster_url)
            if refused := notices.send(message, os.environ):
                context.log.error("The mail server refuses these addresses: %s", ", ".join(refused))
        if after != before:
            context.update_cursor(_to_text(after))
        unknown = notices.unknown(every)
        return dg.SkipReason(
            f"{counted(len(problems), 'new problem')} reported; {counted(len(checks), 'check')} watched."
            f"{f' No such study or check: {unknown}.' if unknown else ''}"
        )

    return tell


def _checks(context: dg.SensorEvaluationContext) -> dict[Check, dg.AssetCheckKey]:
    """The checks of this code location on assets that belong to a study, those of a lab's own assets among them."""
    assert context.repository_def
    graph = context.repository_def.asset_graph
    found = {}
    for key in sorted(graph.asset_check_keys, key=lambda key: (key.asset_key, key.name)):
        study = Study.from_metadata(graph.get(key.asset_key).metadata) if graph.has(key.asset_key) else None
        if study:
            found[Check(study.key, key.asset_key.to_user_string(), key.name)] = key
    return found


def _result(recorded: Recorded, notices: Notices) -> Result:
    """A result, without warnings if they are not reported."""
    evaluation = recorded.evaluation
    people = failing_participants(evaluation)
    if not notices.warnings:
        people = {who: severity for who, severity in people.items() if severity == "ERROR"}
    is_error = evaluation.severity == dg.AssetCheckSeverity.ERROR
    return Result(
        at=recorded.at,
        passed=bool(evaluation.passed) or not (notices.warnings or is_error),
        severity="ERROR" if is_error else "WARN",
        participants=people,
    )


def _to_text(followed: Mapping[str, Followed]) -> str:
    return json.dumps({name: asdict(each) for name, each in followed.items()})


def _from_text(text: str | None) -> dict[str, Followed]:
    """What the last evaluation left. One that cannot be read is left out: all that fails is reported once more."""
    followed = read_json(text or "{}", dict[str, Followed])
    if followed is None:
        logger.warning("The cursor of the notices can't be read. Whatever fails now is reported again.")
        return {}
    return followed
