"""A lab's day in a process of its own: everything runs, some of it fails, all of it is logged. See test_leaks.py.

    python leak_lab.py <folder for answers> [--plant]

Besides what Dagster stores, it writes what a person would see: the UI's GraphQL answers, objects as text and pickled.
With ``--plant`` it also does what a careless lab would do; each planted leak has a token of its own.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import pickle
import sys
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from leak_needles import Needles
from leak_watch import Guard

STUDIES = ("Canary One", "Canary Two")
SECTION = "lab"

QUERIES = (
    "{ runsOrError { ... on Runs { results { runId status runConfigYaml tags { key value } stepKeysToExecute } } } }",
    """{ assetNodes { id description groupName computeKind metadataEntries { ...entry }
         assetMaterializations { partition tags { key value } metadataEntries { ...entry } } } }""",
    "{ instance { info daemonHealth { id } } }",
    "{ sensorsOrError(repositorySelector: %(repository)s) { ... on Sensors { results { name description } } } }",
    """{ allTopLevelResourceDetailsOrError(repositorySelector: %(repository)s) { ... on ResourceDetailsList { results {
         name description resourceType configFields { name description defaultValueAsJson }
         configuredValues { key value type } } } } }""",
)
EVENTS = """{ logsForRun(runId: "%s") { ... on EventConnection { events { __typename
  ... on MessageEvent { message level stepKey }
  ... on DisplayableEvent { label description metadataEntries { ...entry } }
  ... on ErrorEvent { error { message className stack causes { message stack } } } } } } }"""
CAPTURED = """{ capturedLogs(logKey: %s) { stdout stderr } }"""
ENTRY = """fragment entry on MetadataEntry { label description __typename ... on TextMetadataEntry { text }
  ... on JsonMetadataEntry { jsonString } ... on MarkdownMetadataEntry { mdStr } ... on PathMetadataEntry { path }
  ... on UrlMetadataEntry { url } ... on FloatMetadataEntry { floatValue } ... on IntMetadataEntry { intRepr }
  ... on TableMetadataEntry { table { records } } }"""


def main(answers: Path, *, plant: bool) -> None:
    guard = Guard(Needles.from_environment())
    guard.install()
    logging.basicConfig(level=logging.DEBUG)  # all that libraries say goes to stderr, which the parent keeps

    import dagster as dg
    from cheap_dagster import cheap_dagster

    from beiwe_project.assets import lab_assets
    from dagster_beiwe import Automation, build_beiwe_definitions

    def per_study(study: Any) -> Sequence[dg.AssetsDefinition]:
        from leak_planted import planted_assets

        return [*lab_assets(study), *(planted_assets(study) if plant else ())]

    definitions = build_beiwe_definitions(
        per_study=per_study, automation=Automation(running=True), default_io_manager=True
    )
    if plant:
        from leak_planted import planted_resources

        definitions = dg.Definitions.merge(definitions, planted_resources())
    with cheap_dagster(alone=True), dg.DagsterInstance.get() as instance:
        for keys, tags in _work(definitions, instance, plant=plant):
            job = definitions.resolve_implicit_job_def_def_for_assets(keys)
            assert job is not None
            job.execute_in_process(instance=instance, asset_selection=keys, tags=tags, raise_on_error=False)
        if not plant:
            _look_at_sensors(definitions, instance, answers)
            _look_at_objects(answers)
            _ask_the_ui(instance, answers)
    report = {
        "leaks": [[leak.canary, leak.place] for leak in guard.leaks],
        "anonymous": guard.anonymous,
        "opened": len(guard.opened),
    }
    (answers / "guard.json").write_text(json.dumps(report))


def _work(definitions: Any, instance: Any, *, plant: bool) -> Iterator[tuple[list[Any], dict[str, str]]]:
    """Every asset, in an order that makes sense; all windows of all participants at once where there are any.

    Tables with partitions are made of the first study. To plant leaks, its data and the mistakes are enough.
    """
    import dagster as dg

    from dagster_beiwe.partitions.run_keys import rectangle_tags
    from dagster_beiwe.studies.study import Study

    specs = {spec.key: spec for spec in definitions.resolve_all_asset_specs()}
    if plant:
        specs = {key: spec for key, spec in specs.items() if key.path[1] == "canary_one"}
    first = [key for name in ("studies", "roster", "settings") for key in specs if key.path[-1] == name]
    yield first, {}
    raw_data = [key for key in specs if key.path[-1] == "raw_data"]
    mistakes = [key for key in specs if key.path[-1].startswith("planted_")]
    for key in raw_data:
        yield [key], dict(rectangle_tags(*_names(Study.from_metadata(specs[key].metadata), instance)))
    if plant:
        yield mistakes, {}
        return
    tables = [key for key in specs if key not in (*first, *raw_data)]
    yield [key for key in tables if specs[key].partitions_def is None], {}
    for key in tables:
        partitions, study = specs[key].partitions_def, Study.from_metadata(specs[key].metadata)
        if partitions is None or study is None or study.name != STUDIES[0]:
            continue
        people, windows = _names(study, instance)
        if hasattr(partitions, "partition_dimension_names"):
            yield [key], dict(rectangle_tags(people, windows))
        else:
            names = people if isinstance(partitions, dg.DynamicPartitionsDefinition) else windows
            yield [key], {"dagster/partition": names[0]}


def _names(study: Any, instance: Any) -> tuple[list[str], list[str]]:
    """All participants of a study, and all its windows."""
    from dagster_beiwe.partitions.definitions import participants_name, window_keys

    people = sorted(instance.get_dynamic_partitions(participants_name(study.id)))
    return people, list(window_keys(study, now=datetime.now(timezone.utc)))


def _look_at_sensors(definitions: Any, instance: Any, answers: Path) -> None:
    """What sensors and schedules answer, as the daemon would keep it."""
    import dagster as dg

    said = []
    repository = definitions.get_repository_def()
    for sensor in repository.sensor_defs:
        if isinstance(sensor, dg.AutomationConditionSensorDefinition):  # Dagster's own, which only its daemon evaluates
            continue
        resources = {name: definitions.resources[name] for name in sensor.required_resource_keys}
        with dg.build_sensor_context(instance=instance, definitions=definitions, resources=resources) as context:
            said.append(repr(sensor.evaluate_tick(context)))
    (answers / "sensors.txt").write_text("\n".join(said))


def _look_at_objects(answers: Path) -> None:
    """Everything that may end up in a notebook, a debugger or a log: as text, and pickled where that is allowed."""
    from dagster_beiwe import BeiweClient, BeiweResource, EnvCredentials, KeyringCredentials
    from dagster_beiwe.credentials import find_secret
    from dagster_beiwe.encryption import CrypteaseCipher

    resource = BeiweResource(credentials=KeyringCredentials())
    credentials = resource.credentials.load()
    client = BeiweClient(credentials)
    lake = resource.get_lake().study("x" * 24, passphrase=os.environ["BEIWE_LAKE_PASSPHRASE"])
    cipher = CrypteaseCipher(os.environ["BEIWE_LAKE_PASSPHRASE"])
    secret = find_secret("NRG_KEYRING_PASS", os.environ)
    things = [resource, resource.credentials, EnvCredentials(), credentials, secret, client, lake, lake.storage, cipher]
    texts, pickled, refused = [], [], []
    for thing in [*things, cipher.encryptor(), client.traffic, client.policy, lake.form("gps")]:
        texts += [repr(thing), str(thing), f"{thing}"]
        try:
            pickled.append(pickle.dumps(thing))
        except (TypeError, AttributeError, pickle.PicklingError) as error:
            refused.append(f"{type(thing).__name__}: {error}")
    (answers / "objects.txt").write_text("\n".join([*texts, "", "Not pickled:", *refused]))
    (answers / "objects.pickle").write_bytes(b"\n".join(pickled))


def _ask_the_ui(instance: Any, answers: Path) -> None:
    """What the webserver would answer to a browser."""
    from dagster._core.workspace.context import WorkspaceProcessContext
    from dagster._core.workspace.load_target import ModuleTarget
    from dagster_graphql.schema import create_schema

    schema = create_schema()
    root = Path(__file__).parents[2]
    target = ModuleTarget("beiwe_project.definitions", attribute=None, working_directory=str(root), location_name="lab")
    said: list[str] = []
    with WorkspaceProcessContext(instance, workspace_load_target=target) as process:
        context = process.create_request_context()

        def ask(query: str) -> None:
            text = f"{query}\n{ENTRY}" if "...entry" in query else query
            result = asyncio.run(schema.execute_async(text, context_value=process.create_request_context()))
            assert not result.errors, result.errors
            said.append(json.dumps(result.data))

        (location,) = context.code_locations
        (repository,) = location.get_repositories()
        selector = f'{{repositoryName: "{repository}", repositoryLocationName: "lab"}}'
        for query in QUERIES:
            ask(query.replace("%(repository)s", selector))
        for run in instance.get_runs():
            ask(EVENTS % run.run_id)
            for step in instance.get_run_step_stats(run.run_id):
                ask(CAPTURED % json.dumps([run.run_id, "compute_logs", step.step_key]))
    (answers / "graphql.json").write_text("\n".join(said))


if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1] / "support")]
    main(Path(sys.argv[1]), plant="--plant" in sys.argv)
