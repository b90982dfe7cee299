"""What a user gets wrong ends in one clear line and a status that a script notices."""

from __future__ import annotations

from pathlib import Path

import pytest

from dagster_beiwe.cli import main
from dagster_beiwe.lake import StudyLake


def complaint(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line on standard error."""
    printed = capsys.readouterr()
    (line,) = printed.err.splitlines()
    assert not printed.out
    return line


@pytest.mark.parametrize(
    "command", [["verify"], ["verify", "--study", "Sleep"], ["export", "--study", "Sleep", "--to", "out"]]
)
@pytest.mark.parametrize("made", [True, False])
def test_a_lake_that_is_empty_or_absent_is_an_error(
    environment: Path, command: list[str], made: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing found wrong in nothing is no good news, and the server's administrator can't help."""
    if made:
        environment.mkdir()
    assert main(command) == 2
    assert complaint(capsys).startswith(
        f"ConfigurationError: Expected a lake at {environment}, got a place without any"
    )


def test_a_study_that_is_not_in_the_lake_is_named_with_those_that_are(
    lake: StudyLake, capsys: pytest.CaptureFixture[str]
) -> None:
    """The message speaks of the lake, not of what the keys may see."""
    assert main(["verify", "--study", "Sleeep"]) == 2
    line = complaint(capsys)
    assert "'Sleeep', which it does not hold" in line
    assert f"The lake holds: 'Sleep' ({lake.study_id})" in line


def test_participants_whom_the_lake_does_not_hold_are_named(
    lake: StudyLake, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A mistyped id is neither intact nor exported as nothing."""
    assert main(["verify", "--participant", "nobody"]) == 2
    assert "got nobody;" in complaint(capsys)
    assert main(["export", "--study", "Sleep", "--participant", "nobody", "--to", str(tmp_path / "out")]) == 2
    assert "got nobody;" in complaint(capsys)
    assert main(["verify", "--participant", "anna1111", "--participant", "nobody"]) == 2
    printed = capsys.readouterr()
    assert "intact; 1 participants" in printed.out
    assert "got nobody;" in printed.err
