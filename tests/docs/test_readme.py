"""What the README shows works, and what it points to is there."""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from dagster_beiwe.partitions.definitions import participants_name
from dagster_beiwe.simulator import SimulatedServer, StudyPlan, World

REPOSITORY = Path(__file__).parents[2]
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
PAGES = sorted([REPOSITORY / "README.md", *(REPOSITORY / "docs").glob("*.md")])

pytestmark = [
    pytest.mark.filterwarnings("ignore:InitResourceContext.dagster_run is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Property .ScheduleDefinition:DeprecationWarning"),
]


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SimulatedServer]:
    """A server with the studies of the pages, and the environment that points to it, a lake and a Dagster home."""
    now = datetime.now(timezone.utc).replace(minute=0, second=0, microsecond=0)
    plans = (
        StudyPlan(name=name, participants=1, start=now - timedelta(days=1), hours=(9,), streams=("gps",))
        for name in ("Sleep and Mood", "Étude")
    )
    for name in ("lake", "home"):
        (tmp_path / name).mkdir(mode=0o700)
    with SimulatedServer(World.build(*plans, now=now)) as running:
        for name, value in {
            "BEIWE_URL": running.url,
            "BEIWE_ACCESS_KEY": running.access_key,
            "BEIWE_SECRET_KEY": running.secret_key,
            "BEIWE_LAKE": str(tmp_path / "lake"),
            "BEIWE_LAKE_PASSPHRASE": "a passphrase for tests only",
            "DAGSTER_HOME": str(tmp_path / "home"),
        }.items():
            monkeypatch.setenv(name, value)
        yield running


def shown_definitions() -> dg.Definitions:
    """What the README's code makes."""
    shown: dict[str, Any] = {}
    for block in BLOCKS:
        exec(compile(block, "README.md", "exec"), shown)
    definitions: dg.Definitions = shown["defs"]()
    return definitions


def test_project_of_the_readme_has_its_studies(server: SimulatedServer) -> None:
    """The definitions shown load against a server that has these studies, and so does the analyst's asset."""
    definitions = shown_definitions()
    keys = {key.to_user_string() for key in definitions.resolve_all_asset_keys()}
    assert {"beiwe/sleep_and_mood/raw_data", "beiwe/etude/raw_data", "beiwe/studies", "fixes_per_day"} <= keys
    fixes = definitions.resolve_assets_def("fixes_per_day")
    assert dg.AssetKey(["beiwe", "sleep_and_mood", "raw_data"]) in fixes.dependency_keys


def test_the_readmes_asset_leaves_nothing_readable_on_disk(server: SimulatedServer, tmp_path: Path) -> None:
    """It is run as a data manager would, with Dagster's history in files: no pickle, no plain table, no open file."""
    definitions = shown_definitions()
    (study_id,) = (each.id for each in server.world.studies.values() if each.name == "Sleep and Mood")
    with dg.DagsterInstance.local_temp(str(tmp_path / "home")) as instance:

        def run(key: list[str], **options: Any) -> Any:
            job = definitions.resolve_implicit_job_def_def_for_assets([dg.AssetKey(key)])
            assert job is not None
            return job.execute_in_process(instance=instance, asset_selection=[dg.AssetKey(key)], **options)

        run(["beiwe", "sleep_and_mood", "roster"])
        (participant,) = instance.get_dynamic_partitions(participants_name(study_id))
        raw_data = definitions.resolve_assets_def(["beiwe", "sleep_and_mood", "raw_data"]).partitions_def
        assert raw_data
        keys = raw_data.get_partition_keys(dynamic_partitions_store=instance)
        for key in keys[-2:]:
            run(["beiwe", "sleep_and_mood", "raw_data"], partition_key=key)
        table = run(["fixes_per_day"]).asset_value("fixes_per_day")
    assert set(table["participant"]) == {participant}
    assert table["fixes"].sum() > 0
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert [file for file in files if file.match("fixes_per_day~*.parquet")]
    assert not [file for file in files if "fixes_per_day" in file.parts or b"PAR1" in file.read_bytes()]
    in_lake = [file for file in files if tmp_path / "lake" in file.parents]
    assert {stat.S_IMODE(file.stat().st_mode) for file in in_lake} == {0o600}


def test_the_page_about_assets_shows_what_works(server: SimulatedServer) -> None:
    """Each of its projects loads."""
    page = (REPOSITORY / "docs" / "assets.md").read_text(encoding="utf-8")
    projects = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(projects) == 3
    for project in projects:
        shown: dict[str, Any] = {}
        exec(compile(project, "docs/assets.md", "exec"), shown)
        made = shown["defs"] if isinstance(shown["defs"], dg.Definitions) else shown["defs"]()
        assert any(key.path[-1] == "raw_data" for key in made.resolve_all_asset_keys())
        dg.Definitions.validate_loadable(made)


def test_commands_of_the_readme_exist() -> None:
    """The two commands are those of run.py, and CI runs the second."""
    for command in ("python3 run.py demo", "python3 run.py test"):
        assert f"```bash\n{command}\n```" in README
    assert "run.py test" in (REPOSITORY / ".ci" / "run").read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Each relative link of a page names a file of the repository."""
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}, which is not there"


def anchors(page: Path) -> set[str]:
    """The anchors that its headings get."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    titles = (re.sub(r"[^\w\- ]", "", title.lower()) for title in re.findall(r"^#+ (.*)$", text, re.MULTILINE))
    return {title.strip().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_headings_that_are_there(page: Path) -> None:
    """Where a link names a heading of a page."""
    for target, anchor in re.findall(r"\]\(([^)#\s]*)#([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            linked = page.parent / target if target else page
            assert anchor in anchors(linked), f"{page.name} links to {target}#{anchor}, which is not there"


def test_pages_do_not_tell_where_they_were_written() -> None:
    """No path of a machine stands in a page."""
    for page in PAGES:
        assert not re.search(r"(?<![\w.])/(?:root|home|work|Users)/", page.read_text(encoding="utf-8")), page.name
