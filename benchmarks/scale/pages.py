"""Dagster's webserver over a long history: what the queries of its pages take."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

import yaml

from benchmarks.containers.postgres import Postgres, free_port
from benchmarks.containers.settings import documented_settings
from benchmarks.process import peak_bytes
from benchmarks.scale.process import measure
from benchmarks.scale.project import SETTINGS
from benchmarks.scale.server import STUDY_VARIABLE, WEEKS_VARIABLE, WINDOW_VARIABLE, Plan, ServerProcess
from dagster_beiwe.windows import Granularity

Facts = dict[str, Any]

_ROOT = Path(__file__).parents[2]
_PATIENCE_SECONDS = 120
_KEY = '{path: ["beiwe", "s0", "raw_data"]}'

QUERIES: Mapping[str, str] = {
    "the partitions' tab and the dialog to launch": f"""{{ assetNodeOrError(assetKey: {_KEY}) {{ ... on AssetNode {{
        partitionKeysByDimension {{ name partitionKeys }}
        assetPartitionStatuses {{ ... on MultiPartitionStatuses {{ primaryDimensionName ranges {{
            primaryDimStartKey primaryDimEndKey secondaryDim {{
                ... on TimePartitionStatuses {{ ranges {{ status startKey endKey }} }}
                ... on DefaultPartitionStatuses {{ materializedPartitions materializingPartitions failedPartitions }}
            }} }} }} }} }} }} }}""",
    "the state of the asset, on every page that shows it": f"""{{
        assetNodes(assetKeys: [{_KEY}], loadMaterializations: true) {{
            partitionStats {{ numMaterialized numMaterializing numPartitions numFailed }}
            assetMaterializations(limit: 1) {{ timestamp runId }}
        }}
        assetsLatestInfo(assetKeys: [{_KEY}]) {{ unstartedRunIds inProgressRunIds latestRun {{ status }} }} }}""",
    "the newest 100 events": f"""{{ assetOrError(assetKey: {_KEY}) {{ ... on Asset {{
        assetEventHistory(limit: 100, eventTypeSelectors: [MATERIALIZATION]) {{ results {{
            ... on MaterializationEvent {{
                partition timestamp runId tags {{ key value }} metadataEntries {{ label }}
            }} }} }} }} }} }}""",
    "a backfill of everything": """{ partitionBackfillOrError(backfillId: "everything") { ... on PartitionBackfill {
        status numPartitions partitionNames assetBackfillData {
            rootTargetedPartitions { partitionKeys ranges { start end } }
            assetBackfillStatuses { ... on AssetPartitionsStatusCounts {
                numPartitionsTargeted numPartitionsInProgress numPartitionsMaterialized numPartitionsFailed
            } } } } } }""",
}
"""The costly parts of what the pages ask, as seen in a browser with Dagster 1.13.27."""


def measure_pages(
    folder: Path, *, participants: int, weeks: int, window: Granularity = "weekly", postgres: bool = False
) -> Facts:
    """Fill a history, and ask for what the pages show: the first time, and again.

    The history is in ``postgres``, as deployments keep theirs, or in SQLite.
    """
    with ExitStack() as stack:
        own = stack.enter_context(tempfile.TemporaryDirectory(dir=folder, prefix="beiwe-pages-"))
        server = stack.enter_context(ServerProcess(Plan(days=7)))
        ((study, (person, *_)),) = server.studies.items()
        environment = server.environment(Path(own))
        if postgres:
            environment |= _database(stack.enter_context(Postgres()), Path(environment["DAGSTER_HOME"]))
        environment |= {STUDY_VARIABLE: study, WEEKS_VARIABLE: str(weeks), WINDOW_VARIABLE: window}
        filled = measure("fill", environment, study=study, person=person, participants=participants)
        with _webserver(environment | {"PYTHONPATH": str(_ROOT)}) as (process, url):
            pages = {name: _asked(process.pid, url, query) for name, query in QUERIES.items()}
            return filled | {"pages": pages, "webserver_bytes": peak_bytes(process.pid)}


def _database(postgres: Postgres, home: Path) -> Mapping[str, str]:
    """Keep Dagster's records in a database, with the settings of docs/deploy.md; the variables that these read."""
    postgres.create_database("dagster")
    storage = yaml.safe_load(documented_settings())["storage"]
    (home / "dagster.yaml").write_text(SETTINGS + yaml.safe_dump({"storage": storage}), encoding="utf-8")
    return postgres.environment("dagster")


def _asked(pid: int, url: str, query: str) -> Facts:
    """The first answer, and the median of three more."""
    first, *again = (_ask(pid, url, query) for _ in range(4))
    size = first.pop("bytes")
    return {"first": first, "next": {clock: median(each[clock] for each in again) for clock in first}, "bytes": size}


def _ask(pid: int, url: str, query: str) -> Facts:
    request = Request(f"{url}/graphql", json.dumps({"query": query}).encode(), {"Content-Type": "application/json"})
    began, spent = time.perf_counter(), _cpu_seconds(pid)
    with urlopen(request, timeout=_PATIENCE_SECONDS) as response:
        text = response.read()
    facts = {"seconds": time.perf_counter() - began, "cpu_seconds": _cpu_seconds(pid) - spent, "bytes": len(text)}
    answer = json.loads(text)
    if "errors" in answer or any(each is None for each in answer["data"].values()):
        raise RuntimeError(f"The webserver answered {text[:2000]!r}.")
    return facts


@contextmanager
def _webserver(environment: Mapping[str, str]) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    port = free_port()
    command = [str(Path(sys.executable).with_name("dagster-webserver")), "-m", "benchmarks.scale.served"]
    with subprocess.Popen(
        [*command, "-h", "127.0.0.1", "-p", str(port)],
        env=dict(environment),
        cwd=_ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            _wait(process, f"http://127.0.0.1:{port}")
            yield process, f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def _cpu_seconds(pid: int) -> float:
    """User's and system's seconds, which Linux counts in hundredths."""
    user, system = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def _wait(process: subprocess.Popen[bytes], url: str) -> None:
    end = time.monotonic() + _PATIENCE_SECONDS
    while process.poll() is None and time.monotonic() < end:
        try:
            urlopen(f"{url}/server_info", timeout=5).close()
            return
        except (URLError, TimeoutError):
            time.sleep(0.2)
    raise RuntimeError(f"The webserver did not answer at {url} within {_PATIENCE_SECONDS} s.")
