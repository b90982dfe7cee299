"""``.env`` in the current folder: its variables hold for commands as for Dagster, and must not contradict others."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dagster_beiwe.cli import main
from dagster_beiwe.cli.project_environment import as_line, project_environment
from dagster_beiwe.environment import own_names
from dagster_beiwe.errors import ConfigurationError


@pytest.fixture(autouse=True)
def _nothing_else_is_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in own_names(os.environ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    "name",
    ["BEIWE_LAKE", "DAGSTER_HOME", "NRG_KEYRING_PASS", "AWS_ENDPOINT_URL", "STORAGE_EMULATOR_HOST", "CLINIC_URL"],
)
def test_a_variable_that_is_exported_otherwise_is_refused(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dagster would use the file's, and whoever exports it means the other: the wrong lake would be proven."""
    (tmp_path / ".env").write_text(as_line(name, "canary of the file"))
    monkeypatch.setenv(name, "canary of the shell")
    monkeypatch.setenv("CLINIC_ACCESS_KEY_FILE", "/run/secrets/clinic")
    assert main(["verify"]) == 2
    said = capsys.readouterr().err
    assert f"{tmp_path / '.env'} have different values of {name}" in said
    assert f"`unset {name}`" in said
    assert "canary" not in said
    assert main(["verify", "--help"]) == 0
    for value in ("", "canary of the file"):
        monkeypatch.setenv(name, value)
        with project_environment():
            assert os.environ[name] == "canary of the file"


def test_a_variable_that_is_exported_otherwise_and_decides_nothing_is_not_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another name of another tool, or another way to write the same path."""
    place = str(tmp_path / "home")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    lines = {"DAGSTER_HOME": place, "BEIWE_LAKE": "~/home", "DAGSTER_GRPC_PORT": "1", "GOOGLE_MAPS": "1", "X_URL": "1"}
    (tmp_path / ".env").write_text("\n".join(as_line(name, value) for name, value in lines.items()))
    exported = {"DAGSTER_HOME": f"{place}//", "BEIWE_LAKE": place, **dict.fromkeys([*lines][2:], "2")}
    for name, value in exported.items():
        monkeypatch.setenv(name, value)
    with project_environment():
        assert {name: os.environ[name] for name in lines} == lines
    monkeypatch.setenv("DAGSTER_HOME", f"{place}/elsewhere/..")  # which may lead through a link
    with pytest.raises(ConfigurationError, match=r"values of DAGSTER_HOME\. Nothing"), project_environment():
        pass


@pytest.mark.parametrize("content", [b"A=canary\xff\n", b"A=canary\0\n", b"'A=B'=canary\n"])
def test_an_env_file_that_sets_no_variables_is_refused(
    content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / ".env").write_bytes(content)
    assert main(["status"]) == 2
    said = capsys.readouterr().err
    assert "The file .env in this folder cannot be used" in said
    assert "canary" not in said


def test_a_value_in_the_env_file_is_what_was_written(tmp_path: Path) -> None:
    """dotenv takes ``${HOME}`` for a variable, even between quotes."""
    value = "/data/${HOME}/${}/it's $HOME\\n"
    (tmp_path / ".env").write_text(as_line("BEIWE_LAKE", value))
    with project_environment():
        assert os.environ["BEIWE_LAKE"] == value
