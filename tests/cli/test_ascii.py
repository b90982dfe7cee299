"""Names with accents on a terminal, in a pipe or in a log that knows ASCII only: escaped, and never a traceback."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import dagster as dg
import pytest
from coverage_frames import coverage_frame
from filled_lake import END, PASSPHRASE, START, fill

from dagster_beiwe.cli import main
from dagster_beiwe.cli.commands import COMMANDS
from dagster_beiwe.credentials import credentials_from_keyring
from dagster_beiwe.lake import BeiweLake
from dagster_beiwe.partitions.definitions import participants_name
from dagster_beiwe.simulator import SimulatedServer, StudyPlan, World
from dagster_beiwe.tables.store import TableStore

NAME = "Étude Schmerz → 睡眠 😴"
SLIP = "anna1l11"
ESCAPED = r"\xc9tude Schmerz \u2192"
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}
RUNS = {
    "init": ["init", "Büro", "--study", NAME],
    "check": ["check"],
    "keyring": ["keyring", "list"],
    "verify": ["-v", "verify", "--study", NAME],
    "status": ["status", "--study", NAME],
    "show": ["show", "--study", NAME],
    "report": ["report", "--study", NAME, "--to", f"{NAME}.html"],
    "history": ["history", "--study", NAME],
    "snapshot": ["snapshot", "list", "--study", NAME],
    "export": ["export", "--study", "Étude", "--to", "Ordner für später"],
    "adopt": ["adopt", "--study", NAME, "--dry-run", "Études"],
    "partitions": ["partitions", "remove", "--study", NAME, "--participant", SLIP, "--yes"],
    "purge": ["purge", "--study", NAME, "--participant", "anna1111", "--yes"],
    "rekey": ["-v", "rekey", "--study", NAME, "--to", "Schlüssel"],
}
IN_A_PROCESS = {"demo"}  # of which tests/packaging/test_wheel.py runs the whole in an environment of ASCII


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[SimulatedServer, Path, str]]:
    """A server with one study, and a lake that holds it."""
    plan = StudyPlan(name=NAME, participants=["anna1111"], start=START, end=END, hours=(9,), streams=("gps",))
    with SimulatedServer(World.build(plan, now=END)) as server:
        (study_id,) = server.world.studies
        folder = tmp_path_factory.mktemp("ascii") / "lake"
        lake = BeiweLake(folder).study(study_id, passphrase=PASSPHRASE)
        fill(server, lake)
        TableStore.of_study(lake).write(["beiwe", "sleep", "coverage"], coverage_frame({"anna1111": "#+.#"}))
        yield server, folder, study_id


@pytest.fixture
def desk(site: tuple[SimulatedServer, Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, and a copy of the lake."""
    server, filled, _ = site
    for name in [name for name in os.environ if name.startswith(("BEIWE_", "NRG_"))]:
        monkeypatch.delenv(name)
    shutil.copytree(filled, tmp_path / "lake")
    for name, value in {
        "BEIWE_URL": server.url,
        "BEIWE_ACCESS_KEY": server.access_key,
        "BEIWE_SECRET_KEY": server.secret_key,
        "BEIWE_LAKE": str(tmp_path / "lake"),
        "BEIWE_LAKE_PASSPHRASE": PASSPHRASE,
        "BEIWE_LAKE_PASSPHRASE_NEW": "another passphrase",
        "BEIWE_KEYRING_FILE": str(tmp_path / "ring"),
        "NRG_KEYRING_PASS": "ring",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def shown_by(arguments: list[str]) -> tuple[int, str]:
    """The status of a command, and what it writes to a terminal that knows no accents."""
    shown = io.BytesIO()
    out, err = (io.TextIOWrapper(shown, encoding="ascii", write_through=True) for _ in range(2))
    with redirect_stdout(out), redirect_stderr(err):
        status = main(arguments)
    return status, shown.getvalue().decode("ascii")


def ring(server: SimulatedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A keyring with accents in it."""
    section = {"URL": server.url, "ACCESS_KEY": server.access_key, "SECRET_KEY": server.secret_key}
    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps(section)))
    assert main(["keyring", "set", "Zürich"]) == 0
    monkeypatch.setattr(sys, "stdin", io.StringIO(PASSPHRASE))
    assert main(["keyring", "passphrase", "Zürich", NAME]) == 0


def mistype(study_id: str, desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A partition of nobody in Dagster's history."""
    (home := desk / "home").mkdir()
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}")
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    with dg.DagsterInstance.get() as instance:
        instance.add_dynamic_partitions(participants_name(study_id), [SLIP])


@pytest.mark.parametrize("command", RUNS)
def test_a_name_with_accents_is_escaped(
    site: tuple[SimulatedServer, Path, str],
    desk: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
) -> None:
    """Each command does its work, and what it tells of the study can be read."""
    if command == "keyring":
        ring(site[0], monkeypatch)
    if command == "adopt":
        (old := desk / "Études" / "anna1111" / "gps").mkdir(parents=True)
        (old / f"{START:%Y-%m-%d} 09_00_00+00_00.csv").touch()
    if command == "partitions":
        mistype(site[2], desk, monkeypatch)
    arguments = [site[2] if each == "Étude" else each for each in RUNS[command]]
    status, shown = shown_by(arguments)
    assert status == 0
    assert (r"Ordner f\xfcr sp\xe4ter" if command == "export" else ESCAPED) in shown


def test_every_command_is_tried() -> None:
    """Also the next one; `runs` shows ids of runs, `sql` rows, as `show` does, and `forest` installs for a minute."""
    assert {*COMMANDS} == {*RUNS, *IN_A_PROCESS, "forest", "runs", "sql"}


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["verify", "--study", "Ètude"], 2),
        (["export", "--study", "Sömmer", "--to", "out"], 2),
        (["keyring", "list", "--file", "Schlüssel"], 2),
        (["export", "--study", NAME, "--to", "x", "--stream", "gpß"], 2),
        (["verify", "--participant", "Jürgen"], 2),
    ],
)
def test_an_error_that_repeats_accents_is_a_line(desk: Path, arguments: list[str], status: int) -> None:
    """Of what was typed, and of the lake's studies."""
    got, shown = shown_by(arguments)
    assert got == status
    assert len(shown.splitlines()) == 1


def test_a_locale_without_accents_still_finds_what_was_typed(
    site: tuple[SimulatedServer, Path, str], desk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a real process gets it: arguments, variables and paths in UTF-8, where the locale says C; its output piped."""
    ring(site[0], monkeypatch)
    monkeypatch.setenv("BEIWE_KEYRING_SECTION", "Zürich")
    assert credentials_from_keyring(passphrase="ring").secrets == {NAME: PASSPHRASE}
    (desk / "lake").rename(desk / "Schlaf-Übersicht")
    monkeypatch.setenv("BEIWE_LAKE", str(desk / "Schlaf-Übersicht"))
    monkeypatch.delenv("BEIWE_URL")
    monkeypatch.delenv("BEIWE_LAKE_PASSPHRASE")
    code = (
        "import sys; from dagster_beiwe.cli import main\n"
        "for command in (['verify', '--study', sys.argv[1]], ['export', '--study', sys.argv[1], '--to', sys.argv[2]], "
        "['verify', '--study', sys.argv[2]]): print(main(command), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, NAME, "später"], env={**os.environ, **ASCII}, capture_output=True, check=True
    )
    assert ESCAPED in done.stdout.decode("ascii")
    errors = done.stderr.decode("ascii")
    assert "Traceback" not in errors
    assert r"does not hold the study 'sp\xe4ter'" in errors
    assert r"udc" not in done.stdout.decode("ascii") + errors
    assert [line for line in errors.splitlines() if line.isdecimal()] == ["0", "0", "2"]
    assert list((desk / "später").rglob("*.csv"))
