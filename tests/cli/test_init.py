"""``dagster-beiwe init``: a project that starts, with nothing secret in it, from an empty folder."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml

from dagster_beiwe.cli import main
from dagster_beiwe.cli.new_project import NewProject
from dagster_beiwe.cli.project_environment import project_environment
from dagster_beiwe.client import StudyListing
from dagster_beiwe.credentials import read_keyring, write_keyring
from dagster_beiwe.partitions.definitions import window_partitions
from dagster_beiwe.simulator import SimulatedServer, StudyPlan, World

RING = "canary of the keyring"
VARIABLES = ("BEIWE_LAKE", "BEIWE_LAKE_PASSPHRASE", "BEIWE_KEYRING_FILE", "BEIWE_KEYRING_SECTION", "BEIWE_KEYCHAIN")


@pytest.fixture(scope="session")
def two_studies() -> Iterator[SimulatedServer]:
    plans = [StudyPlan(name=name, participants=1, streams=("gps",), hours=(9,)) for name in ("Sleep", "Mood")]
    with SimulatedServer(World.build(*plans)) as running:
        yield running


@pytest.fixture
def server(two_studies: SimulatedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimulatedServer:
    """The keys are in the environment; everything else is not."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("BEIWE_URL", two_studies.url)
    monkeypatch.setenv("BEIWE_ACCESS_KEY", two_studies.access_key)
    monkeypatch.setenv("BEIWE_SECRET_KEY", two_studies.secret_key)
    monkeypatch.setenv("NRG_KEYRING_PASS", RING)
    monkeypatch.chdir(tmp_path)
    return two_studies


def study_of(server: SimulatedServer, name: str = "Sleep") -> str:
    return next(study.id for study in server.world.studies.values() if study.name == name)


def plain_text_of(folder: Path) -> bytes:
    return b"\n".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_a_project_is_made_from_options(
    server: SimulatedServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The keyring opens, Dagster finds the study, everything is private, and nothing secret is readable anywhere."""
    assert main(["init", "lab", "--study", "Sleep", "--generate-passphrase"]) == 0
    printed, folder = capsys.readouterr(), tmp_path / "lab"
    ring = read_keyring(folder / "keyring.enc", passphrase=RING)
    ((section, fields),) = ring.items()
    assert section == server.url.partition("//")[2]
    assert (fields["URL"], fields["ACCESS_KEY"], fields["SECRET_KEY"]) == (
        server.url,
        server.access_key,
        server.secret_key,
    )
    ((study_id, passphrase),) = fields["SECRETS"].items()
    assert study_id == study_of(server)
    assert len(passphrase) == 32
    component = yaml.safe_load((folder / "lab" / "defs" / "beiwe" / "defs.yaml").read_text())
    assert component["type"] == "dagster_beiwe.BeiweComponent"
    (study,) = component["attributes"]["studies"]
    assert (study["study"], study["name"], study["key"]) == (study_id, "Sleep", "sleep")
    assert study["start"].day == 1
    readable = plain_text_of(folder) + "".join(printed).encode()
    for secret in (server.access_key, server.secret_key, passphrase, RING):
        assert secret.encode() not in readable
    assert {stat.S_IMODE(path.stat().st_mode) & 0o077 for path in [folder, *folder.rglob("*")]} == {0}
    assert "Keep two copies" in printed.out
    assert f"dagster-beiwe check --study {study_id}" in (folder / "README.md").read_text()


def test_commands_in_the_project_use_what_its_env_file_names(
    server: SimulatedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Dagster's own commands do; that of another user is left alone, and nothing is set for longer than a
    command."""
    assert main(["init", "lab", "--study", "Sleep", "--generate-passphrase"]) == 0
    for name in ("BEIWE_URL", "BEIWE_ACCESS_KEY", "BEIWE_SECRET_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path / "lab")
    assert main(["check", "--study", "Sleep"]) == 0
    assert main(["check"]) == 1  # Mood has no passphrase
    assert "BEIWE_LAKE" not in os.environ
    monkeypatch.setattr(os, "geteuid", lambda: -1)
    with project_environment():
        assert "BEIWE_LAKE" not in os.environ


def test_a_new_project_names_what_is_not_installed(
    server: SimulatedServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """``dg`` comes in a package of its own."""
    made = ["--study", "Sleep", "--generate-passphrase"]
    assert main(["init", "whole", *made]) == 0
    assert "pip install" not in capsys.readouterr().out
    monkeypatch.setattr("dagster_beiwe.cli.init.find_spec", lambda name: None if name == "dagster_dg_cli" else name)
    assert main(["init", "lab", *made]) == 0
    assert '  pip install "dagster-beiwe[webserver]" dagster-dg-cli  #' in capsys.readouterr().out


def test_the_first_window_is_a_partition(server: SimulatedServer, capsys: pytest.CaptureFixture[str]) -> None:
    """A week is called by its Monday, whatever day the study began on."""
    start = date(2024, 3, 7)
    assert main(["init", "lab", "--study", "Sleep", "--generate-passphrase", "--start", str(start)]) == 0
    key = window_partitions("weekly", start).get_first_partition_key()
    assert f"starts on {start}, so the first window is the week of Monday, {key} (UTC)." in capsys.readouterr().out


def test_a_new_project_names_what_its_env_file_sets_otherwise(
    server: SimulatedServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its first command would refuse it."""
    monkeypatch.setenv("DAGSTER_HOME", "/elsewhere")
    assert main(["init", "lab", "--study", "Sleep", "--generate-passphrase"]) == 0
    assert "unset DAGSTER_HOME  #" in capsys.readouterr().out


def test_a_project_that_is_there_stays_as_it_is(
    server: SimulatedServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Run twice, it changes nothing, and asks no server; files of others are kept, and their projects refused."""
    (tmp_path / "lab").mkdir()
    (tmp_path / "lab" / ".gitignore").write_text("mine")
    made = ["init", "lab", "--study", "Sleep", "--generate-passphrase", "--json"]
    assert main(made) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["kept"] == [str(tmp_path / "lab" / ".gitignore")]
    assert (told["study"], told["passphrase_generated"], told["secrets"]) == ("Sleep", True, "keyring")
    before, requests = plain_text_of(tmp_path / "lab"), len(server.requests)
    assert main(made) == 0
    assert json.loads(capsys.readouterr().out)["written"] == []
    assert plain_text_of(tmp_path / "lab") == before
    assert len(server.requests) == requests
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "pyproject.toml").write_text("[project]")
    assert main(["init", "other"]) == 2
    assert "dg scaffold defs" in capsys.readouterr().err


def test_an_interrupted_call_is_continued(server: SimulatedServer, tmp_path: Path) -> None:
    """What was written stays, above all the passphrase."""
    made = ["init", "lab", "--study", "Sleep", "--generate-passphrase"]
    assert main(made) == 0
    ring = (tmp_path / "lab" / "keyring.enc").read_bytes()
    for name in ("pyproject.toml", "README.md"):
        (tmp_path / "lab" / name).unlink()
    assert main(made) == 0
    assert (tmp_path / "lab" / "README.md").exists()
    assert (tmp_path / "lab" / "keyring.enc").read_bytes() == ring


@pytest.mark.parametrize(
    ("removed", "arguments", "named"),
    [
        (
            ("BEIWE_URL", "BEIWE_SECRET_KEY", "NRG_KEYRING_PASS"),
            [],
            "--url, BEIWE_SECRET_KEY (or BEIWE_SECRET_KEY_FILE",
        ),
        (("NRG_KEYRING_PASS",), [], "BEIWE_LAKE_PASSPHRASE"),
        ((), ["--generate-passphrase"], "Add --study: Mood ("),
        ((), ["--study", "Dreams", "--generate-passphrase"], "Dreams"),
        ((), ["--secrets", "elsewhere"], "BEIWE_LAKE_PASSPHRASE"),
        ((), ["--secrets", "elsewhere", "--stdin"], "choose another --secrets"),
    ],
)
def test_without_a_terminal_what_is_missing_is_named(
    server: SimulatedServer,
    tmp_path: Path,
    removed: tuple[str, ...],
    arguments: list[str],
    named: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """All of it at once, nobody is asked, and nothing is written."""
    for name in removed:
        monkeypatch.delenv(name)
    assert main(["init", "lab", *arguments]) == 2
    assert named in capsys.readouterr().err
    assert not (tmp_path / "lab").exists()


def test_nothing_is_written_where_a_check_fails(
    server: SimulatedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Keys that the server refuses, and a lake that cannot be made."""
    (tmp_path / "file").write_text("")
    asked = ["init", "lab", "--study", "Sleep", "--generate-passphrase"]
    assert main([*asked, "--lake", "file/lake"]) == 1
    assert f"{tmp_path / 'file' / 'lake'}: not there yet. It cannot be created" in capsys.readouterr().err
    monkeypatch.setenv("BEIWE_SECRET_KEY", "A" * 64)
    assert main(asked) == 1
    assert "AccessDeniedError" in capsys.readouterr().err
    assert not (tmp_path / "lab").exists()


def test_secrets_come_from_standard_input(
    server: SimulatedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a password manager pipes them; what is no object of texts is refused unread."""
    secrets = {name: os.environ[name] for name in ("BEIWE_ACCESS_KEY", "BEIWE_SECRET_KEY", "NRG_KEYRING_PASS")} | {
        "BEIWE_LAKE_PASSPHRASE": "canary of the lake"
    }
    for name in secrets:
        monkeypatch.delenv(name, raising=False)
    for wrong in ("", "{", '["canary"]', '{"BEIWE_ACCESS_KEY": 7}'):
        monkeypatch.setattr(sys, "stdin", io.StringIO(wrong))
        assert main(["init", "lab", "--study", "Sleep", "--stdin"]) == 2
        assert "canary" not in capsys.readouterr().err
    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps(secrets)))
    assert main(["init", "lab", "--study", "Sleep", "--stdin"]) == 0
    (section,) = read_keyring(tmp_path / "lab" / "keyring.enc", passphrase=RING).values()
    assert section["SECRETS"] == {study_of(server): "canary of the lake"}


def test_a_keyring_that_is_there_is_used(
    server: SimulatedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As labs have it that used mano: the keys are in it, what it holds of other servers and studies stays."""
    section = {"URL": server.url, "ACCESS_KEY": server.access_key, "SECRET_KEY": server.secret_key}
    lab: dict[str, Any] = {**section, "USERNAME": "me", "SECRETS": {"Mood": "old"}}
    sections = {"lab": lab, "other": section}
    write_keyring(tmp_path / "ring.enc", sections, RING)
    for name in ("BEIWE_URL", "BEIWE_ACCESS_KEY", "BEIWE_SECRET_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("BEIWE_KEYRING_FILE", str(tmp_path / "ring.enc"))
    monkeypatch.setenv("BEIWE_KEYRING_SECTION", "lab")
    monkeypatch.setenv("BEIWE_LAKE_PASSPHRASE", "new")
    assert main(["init", "sleep", "--study", "Sleep", "--url", "https://other.example.org"]) == 2
    assert not (tmp_path / "sleep").exists()
    assert main(["init", "sleep", "--study", "Sleep"]) == 0
    ring = read_keyring(tmp_path / "ring.enc", passphrase=RING)
    assert ring["lab"] == {**lab, "SECRETS": {study_of(server): "new", "Mood": "old"}}
    assert ring["other"] == section
    assert main(["init", "mood", "--study", "Mood"]) == 0  # its passphrase is known by its name
    assert read_keyring(tmp_path / "ring.enc", passphrase=RING)["lab"]["SECRETS"]["Mood"] == "old"
    assert not list(tmp_path.glob("*/keyring.enc"))


def fake_keychain(monkeypatch: pytest.MonkeyPatch) -> dict[tuple[str, str], str]:
    """What a keychain holds, which is as good as the system's, {(service, name): secret}."""
    held: dict[tuple[str, str], str] = {}
    place = "dagster_beiwe.cli.init_secrets"
    monkeypatch.setattr(f"{place}.write_keychain", lambda service, name, value: held.update({(service, name): value}))
    monkeypatch.setattr(f"{place}.read_keychain", lambda *key: held.get(key))
    return held


def test_other_places_keep_the_secrets(
    server: SimulatedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The keychain holds them under the project's name; elsewhere, the project only names the files."""
    held = fake_keychain(monkeypatch)
    assert main(["init", "kept", "--study", "Sleep", "--generate-passphrase", "--secrets", "keychain"]) == 0
    assert {name for _, name in held} == {"BEIWE_ACCESS_KEY", "BEIWE_SECRET_KEY", "BEIWE_LAKE_PASSPHRASE"}
    assert "BEIWE_KEYCHAIN='dagster-beiwe kept'" in (tmp_path / "kept" / ".env").read_text()
    file = tmp_path / "passphrase"
    file.write_text("canary of the lake\n")
    file.chmod(0o600)
    monkeypatch.setenv("BEIWE_LAKE_PASSPHRASE_FILE", str(file))
    assert main(["init", "mounted", "--study", "Sleep", "--secrets", "elsewhere"]) == 0
    assert f"BEIWE_LAKE_PASSPHRASE_FILE='{file}'" in (tmp_path / "mounted" / ".env").read_text()
    for folder in ("kept", "mounted"):
        readable = plain_text_of(tmp_path / folder)
        for secret in (*held.values(), "canary of the lake"):
            assert secret.encode() not in readable


def test_no_passphrase_in_the_keychain_is_replaced(
    server: SimulatedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another project whose folder has the same name has its lake encrypted with it."""
    held = fake_keychain(monkeypatch)
    command = ["--study", "Sleep", "--generate-passphrase", "--secrets", "keychain"]
    assert main(["init", "one/lab", *command]) == 0
    before = dict(held)
    assert main(["init", "two/lab", *command]) != 0
    assert "holds another passphrase under 'dagster-beiwe lab'" in capsys.readouterr().err
    assert held == before
    assert not any(path.is_file() for path in (tmp_path / "two").rglob("*"))


def converse(command: list[str], answers: dict[str, str], **options: Any) -> tuple[int, str]:
    """Run a command on a terminal of its own, and answer its questions in order. Returns status and what was seen."""
    terminal, other_end = pty.openpty()
    process = subprocess.Popen(command, stdin=other_end, stdout=other_end, stderr=other_end, **options)
    os.close(other_end)
    seen, waiting = "", list(answers.items())
    while True:
        try:
            seen += os.read(terminal, 65536).decode()
        except OSError:  # the other end was closed
            break
        if waiting and re.search(waiting[0][0], seen.rpartition("\n")[2]):
            os.write(terminal, f"{waiting.pop(0)[1]}\n".encode())
    os.close(terminal)
    return process.wait(), seen


def test_somebody_at_a_terminal_is_asked(
    server: SimulatedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Secrets are typed without echo; the generated passphrase is shown, once."""
    answers = {
        "Address": server.url,
        "Access key: $": server.access_key,
        "Secret key: $": server.secret_key,
        "Which study": "2",
        "Folder or URL": "",
        "New passphrase": "",
        "keyring file: $": RING,
        "keyring file, again: $": RING,
    }
    for name in ("BEIWE_URL", "BEIWE_ACCESS_KEY", "BEIWE_SECRET_KEY", "NRG_KEYRING_PASS"):
        monkeypatch.delenv(name)
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-m", "dagster_beiwe", "init", "lab"]
    status, seen = converse(command, answers, cwd=tmp_path, env=environ, start_new_session=True)
    assert status == 0, seen
    (section,) = read_keyring(tmp_path / "lab" / "keyring.enc", passphrase=RING).values()
    assert section["SECRETS"].keys() == {study_of(server)}
    assert f"    {section['SECRETS'][study_of(server)]}\r\n" in seen
    for secret in (server.access_key, server.secret_key, RING):
        assert secret not in seen


def test_the_settings_of_dagster_are_the_repositorys(server: SimulatedServer, tmp_path: Path) -> None:
    """One text, in two places; and what belongs to one machine is not for git."""
    assert main(["init", "lab", "--study", "Sleep", "--generate-passphrase"]) == 0
    shipped = yaml.safe_load((Path(__file__).parents[2] / "dagster.yaml").read_text())
    assert yaml.safe_load((tmp_path / "lab" / "dagster_home" / "dagster.yaml").read_text()) == shipped
    assert {"/.env", "/keyring.enc", "/lake/"} <= set((tmp_path / "lab" / ".gitignore").read_text().splitlines())


def test_a_name_that_dagster_would_take_for_a_template_is_left_out(tmp_path: Path) -> None:
    study = StudyListing(id="5873fe38644ad7557b168e43", name="Sleep {{ env.HOME }}")
    project = NewProject(study=study, start=date(2024, 3, 1), variables={}, advice="")
    text = project.files(tmp_path)["lab/defs/beiwe/defs.yaml"]
    assert "{{" not in text
    assert yaml.safe_load(text)["attributes"]["studies"] == [
        {"study": study.id, "key": "sleep_env_home", "start": date(2024, 3, 1)}
    ]


@pytest.mark.usefixtures("server")
def test_a_start_that_dagster_would_refuse_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "lab", "--study", "Sleep", "--generate-passphrase", "--start", "2999-01-01"]) == 2
    assert "not in the past" in capsys.readouterr().err
    assert not (tmp_path / "lab").exists()


@pytest.mark.parametrize("name", ["Sleep\x7f", "Sleep\ufffe", "# Sleep\n```sh\nrm -r lake\n```"])
def test_a_name_with_control_characters_is_no_part_of_a_file(name: str, tmp_path: Path) -> None:
    """YAML refuses some, and in the README a line break would begin text that looks like ours."""
    study = StudyListing(id="5873fe38644ad7557b168e43", name=name)
    files = NewProject(study=study, start=date(2024, 3, 1), variables={}, advice="").files(tmp_path)
    assert "name" not in yaml.safe_load(files["lab/defs/beiwe/defs.yaml"])["attributes"]["studies"][0]
    assert files["README.md"].splitlines()[0].startswith("# `")
    assert files["README.md"].count("```") == 2
