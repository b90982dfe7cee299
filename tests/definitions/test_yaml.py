"""What ``dg check yaml`` says about a project in YAML: the field that is wrong and its line."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from dagster_dg_cli.cli import create_dg_cli

from dagster_beiwe import BeiweComponent
from dagster_beiwe.encryption import CIPHERS
from dagster_beiwe.forest.analyses import ANALYSES
from dagster_beiwe.stream_tables.catalog import TABLES
from dagster_beiwe.streams import STREAM_GROUPS, STREAM_NAMES, misspelled_streams

OURS = ("StudyInYaml", "Deployment", "Automation", "Notices")
PROJECT = """
[project]
name = "lab"
version = "0.1"
[tool.dg]
directory_type = "project"
[tool.dg.project]
root_module = "lab"
"""

RIGHT = """
type: dagster_beiwe.BeiweComponent
attributes:
  studies:
    - study: Sleep
      start: 2024-03-01
      window: daily
      streams: [gps, "{{ env.STREAM }}", ai_chat_logs]
      encryption: age
      recipients: "{{ env.RECIPIENTS }}"
      silent_groups: {phone use: 5, surveys: 14}
  automation: {running: true, roster_seconds: 60}
  translation: {group_name: "{{ data.name }}", owners: ["team:data"], tags: {domain: health}}
"""

WRONG = """
type: dagster_beiwe.BeiweComponent
attributes:
  studies:
    - study: Sleep
      windows: daily
    - study: Mood
      window: hourly
      streams: [gps, powerstate]
      plain_streams:
        - survey_answer
      encryption: cryptaese
      compression: gzip
      refresh_windows: [3]
      silent_groups: {survey: 14}
  automation:
    runing: true
  translation:
    group: lab
"""


@pytest.fixture
def check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], tuple[int, str]]:
    """Status and output of ``dg check yaml`` in a project with this component."""

    def run(text: str) -> tuple[int, str]:
        package = tmp_path / "src" / "lab"
        (package / "defs" / "beiwe").mkdir(parents=True)
        for each in (package, package / "defs"):
            (each / "__init__.py").touch()
        (tmp_path / "pyproject.toml").write_text(PROJECT)
        (package / "defs" / "beiwe" / "defs.yaml").write_text(text)
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("DAGSTER_IS_DEV_CLI", "1")  # `dg` sets it for good
        done = CliRunner().invoke(create_dg_cli(), ["check", "yaml"])
        return done.exit_code, done.output

    return run


def test_what_is_right_passes(check: Callable[[str], tuple[int, str]]) -> None:
    """Also templates, and a stream that only this server has."""
    status, output = check(RIGHT)
    assert status == 0, output


def test_each_mistake_is_named_with_its_line(check: Callable[[str], tuple[int, str]]) -> None:
    """A field, a choice or a stream that is misspelled, in any study, all at once."""
    status, output = check(WRONG)
    assert status == 1
    lines = WRONG.splitlines()
    found = {
        (lines[int(number) - 1].split(":")[0].strip(" -"), problem)
        for number, problem in re.findall(r"defs\.yaml:(\d+) - \S+ \S+ (.*)", output)
    }
    groups = ", ".join(map(repr, STREAM_GROUPS))
    choices = ", ".join(repr(name) for name in (*CIPHERS, "none"))
    assert found == {
        ("windows", "Additional properties are not allowed ('windows' was unexpected)"),
        ("window", "'hourly' is not one of ['daily', 'weekly', 'monthly']"),
        ("streams", "'power_state' was expected"),
        ("survey_answer", "'survey_answers' was expected"),
        ("encryption", f"'cryptaese' is not one of [{choices}]"),
        ("compression", "'gzip' is not one of ['zstd', 'none']"),
        ("refresh_windows", "[3] is not valid under any of the given schemas"),
        ("silent_groups", f"'survey' is not one of [{groups}]"),
        ("runing", "Additional properties are not allowed ('runing' was unexpected)"),
        ("group", "Additional properties are not allowed ('group' was unexpected)"),
    }


def test_every_setting_is_explained_and_has_its_choices() -> None:
    """In the schema, which editors and ``dg utils inspect-component`` show."""
    model = BeiweComponent.get_model_cls()
    assert model is not None
    schema = model.model_json_schema()
    parts = {name: part for name, part in schema["$defs"].items() if name.removesuffix("Model") in OURS}
    assert len(parts) == len(OURS)
    for part in (schema, *parts.values()):
        for name, field in part["properties"].items():
            assert len(field.get("description", "")) > 15, name
            assert "DAGSTER" not in str(field.get("default")), name
    study = parts["StudyInYamlModel"]["properties"]
    assert study["window"]["else"]["enum"] == ["daily", "weekly", "monthly"]
    assert study["tables"]["else"]["items"]["enum"] == sorted(TABLES)
    assert study["compression"]["else"]["enum"] == ["zstd", "none"]
    assert study["forest"]["else"]["items"]["enum"] == list(ANALYSES)


@pytest.mark.parametrize("known", STREAM_NAMES)
def test_the_schema_refuses_what_is_one_typing_error_away(known: str) -> None:
    """And only what a warning would name when the project is loaded."""
    model = BeiweComponent.get_model_cls()
    assert model is not None
    study = model.model_json_schema()["$defs"]["StudyInYamlModel"]["properties"]
    rules = study["streams"]["else"]["items"]["allOf"]

    def meant(name: str) -> set[str]:
        near = [rule for rule in rules if any(re.search(each["pattern"], name) for each in rule["if"]["anyOf"])]
        return {rule["then"]["const"] for rule in near if name not in rule["if"]["not"]["enum"]}

    assert meant(known) == set()
    wrong = [known[:at] + known[at + 1 :] for at in range(len(known))]
    wrong += [known[:at] + "x" + known[at + 1 :] for at in range(len(known))]
    for name in {*wrong, known.replace("_", ""), f"{known}{known[-1]}"} - {*STREAM_NAMES}:
        assert known in meant(name) or len(known) < 5
        assert not meant(name) or misspelled_streams([name])
