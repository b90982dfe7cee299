"""The deployment of docs/deploy.md on one machine."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any
from unittest import mock

import dagster as dg
import requests
import yaml
from typing_extensions import Self

from benchmarks.containers.engines import Engine, Place
from benchmarks.containers.postgres import Postgres, free_port
from benchmarks.containers.programs import program

_LAUNCH = """mutation ($params: ExecutionParams!) { launchPipelineExecution(executionParams: $params) {
  __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""
_REEXECUTE = """mutation ($params: ReexecutionParams!) { launchPipelineReexecution(reexecutionParams: $params) {
  __typename ... on PythonError { message } } }"""
_BACKFILL = """mutation ($params: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $params) {
  __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }"""


class Deployment:
    """Dagster's webserver and daemon, and the project on an engine; all of it ends with the ``with``.

    ``variables`` are those that the page names, and ``elsewhere`` what only this machine needs (where its stand-ins
    are). Those of Postgres are there already; code server, daemon and runs may be given others.
    """

    def __init__(
        self,
        folder: Path,
        engine: Engine,
        *,
        postgres: Postgres,
        variables: Mapping[str, str],
        elsewhere: Mapping[str, str],
    ) -> None:
        postgres.create_database(folder.name)
        self._postgres = postgres.environment(folder.name)
        self._home = folder
        folder.joinpath("dagster.yaml").write_text(engine.settings())
        self.engine = engine
        own = {**self._postgres, **variables}
        self._place = Place(home=folder, variables=own, elsewhere=elsewhere, code_port=free_port())
        self._port = free_port()
        self._ends = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as ends:
            location = {"host": "127.0.0.1", "port": self._place.code_port, "location_name": "beiwe"}
            workspace = self._home / "workspace.yaml"
            workspace.write_text(yaml.safe_dump({"load_from": [{"grpc_server": location}]}))
            launching = {**self.engine.start(ends, self._place), "DAGSTER_HOME": str(self._home)}
            with mock.patch.dict(os.environ, {**self._postgres, **launching}):
                self.history = ends.enter_context(dg.DagsterInstance.from_config(str(self._home)))
            for name, arguments, environment in (
                ("dagster-webserver", ("-h", "127.0.0.1", "-p", str(self._port)), self._postgres),
                ("dagster-daemon", ("run",), self._place.variables),
            ):
                log = self._home / f"{name}.log"
                whole = {**environment, **launching}
                ends.enter_context(program(name, *arguments, "-w", str(workspace), log=log, environment=whole))
            self.wait_until(self._serves, what="the webserver to know the project")
            self._ends = ends.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ends.close()

    @property
    def url(self) -> str:
        """The webserver's."""
        return f"http://127.0.0.1:{self._port}"

    def launch(self, asset: dg.AssetKey) -> str:
        """Materialize an asset, as the button in the UI does. Returns the id of the run."""
        selector = {
            "repositoryLocationName": "beiwe",
            "repositoryName": "__repository__",
            "jobName": "__ASSET_JOB",
            "assetSelection": [{"path": asset.path}],
        }
        answer = self._query(_LAUNCH, {"selector": selector, "runConfigData": {}, "mode": "default"})
        return str(answer["launchPipelineExecution"]["run"]["runId"])

    def backfill(self, asset: dg.AssetKey) -> str:
        """Materialize all partitions of an asset, as the button in the UI does. Returns the id of the backfill."""
        answer = self._query(_BACKFILL, {"assetSelection": [{"path": asset.path}], "allPartitions": True})
        return str(answer["launchPartitionBackfill"]["backfillId"])

    def reexecute(self, run_id: str) -> None:
        """Run again what failed, as the button in the UI does."""
        self._query(_REEXECUTE, {"parentRunId": run_id, "strategy": "FROM_FAILURE", "useParentRunTags": True})

    def wait_until(self, condition: Callable[[], bool], *, what: str, seconds: float = 600) -> None:
        """Wait for something that a program is expected to do. Raises ``AssertionError`` with what they have said."""
        pause = threading.Event()
        for _ in range(int(seconds / 2)):
            if condition():
                return
            pause.wait(2)
        logs = "\n".join(path.read_text(errors="replace")[-4000:] for path in self._home.glob("*.log"))
        raise AssertionError(f"Expected {what} within {seconds:.0f} s.\n{logs}")

    def _serves(self) -> bool:
        try:
            answer = self._post("{ repositoriesOrError { __typename ... on RepositoryConnection { nodes { name } } } }")
        except requests.ConnectionError:
            return False
        return bool(answer["data"]["repositoriesOrError"].get("nodes"))

    def _query(self, mutation: str, params: Mapping[str, Any]) -> dict[str, Any]:
        answer = self._post(mutation, {"params": params})
        assert "errors" not in answer, answer["errors"]
        data: dict[str, Any] = answer["data"]
        return data

    def _post(self, query: str, variables: Mapping[str, Any] | None = None) -> dict[str, Any]:
        answer: dict[str, Any] = requests.post(
            f"{self.url}/graphql", json={"query": query, "variables": variables or {}}, timeout=300
        ).json()
        return answer


def recorded_partitions(history: dg.DagsterInstance, asset: dg.AssetKey) -> Iterator[tuple[str, str]]:
    """(run id, partition) of each materialization."""
    cursor = None
    while True:
        page = history.fetch_materializations(asset, limit=1000, cursor=cursor)
        for record in page.records:
            yield record.run_id, str(record.partition_key)
        cursor = page.cursor
        if not page.has_more:
            return


def runs_in(history: dg.DagsterInstance, statuses: Sequence[dg.DagsterRunStatus]) -> list[dg.DagsterRun]:
    return list(history.get_runs(dg.RunsFilter(statuses=list(statuses))))
