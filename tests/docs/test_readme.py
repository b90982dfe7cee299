"""What the README shows works, and what it points to is there."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from pathlib import Path

import dagster as dg
import pytest

from dagster_beiwe.simulator import SimulatedServer, StudyPlan, World

REPOSITORY = Path(__file__).parents[2]
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
PAGES = sorted([REPOSITORY / "README.md", *(REPOSITORY / "docs").glob("*.md")])

pytestmark = [
    pytest.mark.filterwarnings("ignore:InitResourceContext.dagster_run is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Property .ScheduleDefinition:DeprecationWarning"),
]


def test_project_of_the_readme_has_its_studies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The definitions shown load against a server that has these studies, and so does the analyst's asset."""
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    now = datetime.now(timezone.utc).replace(minute=0, second=0, microsecond=0)
    plans = (
        StudyPlan(name=name, participants=1, start=now - timedelta(days=1), hours=(9,))
        for name in ("Sleep and Mood", "Étude")
    )
    with SimulatedServer(World.build(*plans, now=now)) as server:
        monkeypatch.setenv("BEIWE_URL", server.url)
        monkeypatch.setenv("BEIWE_ACCESS_KEY", server.access_key)
        monkeypatch.setenv("BEIWE_SECRET_KEY", server.secret_key)
        shown: dict[str, object] = {}
        for block in BLOCKS:
            exec(compile(block, "README.md", "exec"), shown)
        definitions = shown["defs"]()  # type: ignore[operator]
    keys = {key.to_user_string() for key in definitions.resolve_all_asset_keys()}
    assert {"beiwe/sleep_and_mood/raw_data", "beiwe/etude/raw_data", "beiwe/studies"} <= keys
    fixes = shown["fixes_per_day"]
    assert isinstance(fixes, dg.AssetsDefinition)
    assert dg.AssetKey(["beiwe", "sleep_and_mood", "raw_data"]) in fixes.dependency_keys


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


def test_pages_do_not_tell_where_they_were_written() -> None:
    """No path of a machine stands in a page."""
    for page in PAGES:
        assert not re.search(r"(?<![\w.])/(?:root|home|work|Users)/", page.read_text(encoding="utf-8")), page.name
