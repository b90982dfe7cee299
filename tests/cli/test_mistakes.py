"""What a user gets wrong ends in one clear line and a status that a script notices."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest
from damage import flip

from dagster_beiwe.cli import main
from dagster_beiwe.lake import StudyLake

EXPORT = ["export", "--study", "Sleep", "--to", "out"]


def complaint(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line on standard error."""
    printed = capsys.readouterr()
    (line,) = printed.err.splitlines()
    assert "Error: " in line
    return line


@pytest.fixture(autouse=True)
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with a file in it and nobody at the terminal."""
    (folder := tmp_path / "desk").mkdir()
    (folder / "file").write_text("in the way")
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    return folder


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
    assert complaint(capsys).startswith(f"ConfigurationError: The lake at {environment} holds no study.")


def test_a_study_that_is_not_in_the_lake_is_named_with_those_that_are(
    lake: StudyLake, capsys: pytest.CaptureFixture[str]
) -> None:
    """The message speaks of the lake, not of what the keys may see."""
    assert main(["verify", "--study", "Sleeep"]) == 2
    line = complaint(capsys)
    assert "does not hold the study 'Sleeep'" in line
    assert f"The lake holds: Sleep ({lake.study_id})" in line


def test_participants_whom_the_lake_does_not_hold_are_named(
    lake: StudyLake, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A mistyped id is neither intact nor exported as nothing."""
    assert main(["verify", "--participant", "nobody"]) == 2
    assert "these participants: nobody." in complaint(capsys)
    assert main(["export", "--study", "Sleep", "--participant", "nobody", "--to", str(tmp_path / "out")]) == 2
    assert "these participants: nobody." in complaint(capsys)
    assert main(["verify", "--participant", "anna1111", "--participant", "nobody"]) == 2
    printed = capsys.readouterr()
    assert "intact; 1 participant," in printed.out
    assert "these participants: nobody." in printed.err


@pytest.mark.parametrize(
    ("command", "status", "said"),
    [
        ([*EXPORT, "--start", "yesterday"], 2, "a time like"),
        ([*EXPORT, "--end", "0001-01-01T00:00+05:00"], 2, "a time like"),
        ([*EXPORT, "--start", "2026-03-05", "--end", "2026-03-04"], 2, "is not before --end"),
        ([*EXPORT, "--start", "2026-03-05", "--end", "2026-03-05"], 2, "is not before --end"),
        ([*EXPORT, "--stream", "gpss"], 2, "gpss"),
        ([*EXPORT, "--stream", "audio_recordings", "--format", "csv"], 2, "No table can be made of audio_recordings"),
        ([*EXPORT, "--participant", "../x"], 2, "a participant id"),
        (["export", "--study", "", "--to", "out"], 2, "does not hold the study"),
        (["export", "--study", "Sleep", "--to", "file"], 2, "not a new or empty folder"),
        (["export", "--study", "Sleep", "--to", "file/below"], 1, "Not a directory"),
        (["export", "--study", "Sleep", "--to", "~nobody.here/out"], 2, "who is not known here"),
        (["export", "--study", "Sleep", "--to", "long" * 100], 1, "File name too long"),
        (["export", "--study", "Sleep", "--to", "../lake/export"], 2, "outside of the lake"),
        (["export", "--study", "Sleep", "--to", "/proc/export"], 1, "Cannot use /proc/export"),
        (["verify", "--share", "2"], 2, "--share"),
        (["verify", "--share", "nan"], 2, "--share"),
        (["verify", "--participant", "a b"], 2, "a participant id"),
        (["purge", "--study", "Sleep", "--participant", "anna1111"], 2, "Add --yes"),
        (["purge", "--study", "Sleep", "--participant", "../anna1111", "--yes"], 2, "a participant id"),
        (["keyring", "list", "--file", "nowhere"], 2, "does not exist"),
        (["keyring", "list", "--file", "file"], 2, "keyring"),
        (["keyring", "list", "--file", "."], 2, "is a folder, not a regular file"),
        (["keyring", "list", "--file", "~nobody.here/ring"], 2, "who is not known here"),
        (["keyring", "list", "--file", "long" * 100], 2, "File name too long"),
        (["keyring", "set", "lab", "--file", "file"], 2, "keyring"),
        (["keyring", "set", "lab", "--file", "."], 2, "folder"),
        (["keyring", "passphrase", "lab", "Sleep", "--file", "nowhere"], 2, "has no section"),
        (["demo", "--once", "--folder", "file"], 1, "Not a directory"),
        (["demo", "--once", "--scenario"], 2, "either --once or --scenario"),
        (["demo", "--port", "0"], 2, "Invalid value for '--port'"),
        (["demo", "--profile", "yesterday"], 2, "'yesterday' is neither"),
        (["purge", "--study", "Sleep", "--yes"], 2, "either --participant or --whole-study"),
        (["verify", "--as-of", "yesterday"], 2, "no snapshot 'yesterday'"),
        ([*EXPORT, "--as-of", "yesterday"], 2, "no snapshot 'yesterday'"),
        (["verify", "--as-of", "1", "--repair"], 2, "Leave out --repair"),
        (["verifi"], 2, "No such command 'verifi'. Did you mean 'verify'?"),
        (["snapshot"], 2, "Run `dagster-beiwe snapshot --help`"),
    ],
)
def test_a_mistake_in_a_command_is_one_line(
    lake: StudyLake,
    command: list[str],
    status: int,
    said: str,
    desk: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It says what was expected, and nothing was written."""
    monkeypatch.setenv("NRG_KEYRING_PASS", "ring")
    assert main(command) == status
    assert said in complaint(capsys)
    assert [path.name for path in desk.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("name", "value", "command", "status"),
    [
        ("BEIWE_URL", "studies.example.org", ["check"], 2),
        ("BEIWE_URL", "http://[::1", ["check"], 2),
        ("BEIWE_URL", "http://studies.example.org", ["check"], 2),
        ("BEIWE_URL", "https://me:secret@studies.example.org", ["check"], 2),
        ("BEIWE_URL", "http://127.0.0.1:9", ["check"], 1),
        ("BEIWE_ACCESS_KEY", '"quoted"', ["check"], 2),
        ("BEIWE_LAKE", "", ["verify"], 2),
        ("BEIWE_LAKE", "file", ["verify"], 2),
        ("BEIWE_LAKE", "nosuchstore://bucket/lake", ["verify"], 2),
        ("BEIWE_LAKE", "s3://me:secret@bucket/lake", ["verify"], 2),
        ("BEIWE_LAKE", "~nobody.here/lake", ["verify"], 2),
        ("BEIWE_LAKE_PASSPHRASE", "wrong", ["verify"], 1),
        ("BEIWE_LAKE_PASSPHRASE", "wrong", ["export", "--study", "Sleep", "--to", "out"], 1),
        ("BEIWE_LAKE_PASSPHRASE", "wrong", ["purge", "--study", "Sleep", "--participant", "anna1111", "--yes"], 1),
        ("BEIWE_LAKE_PASSPHRASE", "", ["verify"], 1),
    ],
)
def test_a_mistake_in_the_environment_is_one_line(
    lake: StudyLake,
    name: str,
    value: str,
    command: list[str],
    status: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Without any secret in it."""
    monkeypatch.setenv(name, value)
    assert main(command) == status
    assert "secret@" not in complaint(capsys)


def test_what_was_not_proven_is_not_left_in_an_export(lake: StudyLake, environment: Path, desk: Path) -> None:
    """A damaged file shows at its end, when its bytes are written already."""
    manifest = next(lake.manifests("anna1111"))
    victim = environment / lake.folder("anna1111", manifest.files[0].path)
    flip(victim)
    assert main(EXPORT) == 1
    assert not (desk / "out" / "anna1111" / manifest.files[0].member).exists()


@pytest.mark.parametrize(("error", "status"), [(KeyboardInterrupt, 130), (EOFError, 2)])
def test_ctrl_c_and_ctrl_d_at_a_question_end_without_a_traceback(
    lake: StudyLake,
    error: type[BaseException],
    status: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The participant is still there."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

        def readline(self, size: int = -1) -> str:  # type: ignore[override]
            raise error

    monkeypatch.setattr(sys, "stdin", Terminal())
    assert main(["purge", "--study", "Sleep", "--participant", "anna1111"]) == status
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert "anna1111" in lake.participants()


def test_a_reader_that_leaves_early_ends_without_a_traceback(lake: StudyLake) -> None:
    """As `head` does."""
    command = [sys.executable, "-m", "dagster_beiwe", "verify"]
    place = Path(__file__).parents[2]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=place) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 1


def test_a_selection_without_files_leaves_nothing(
    lake: StudyLake, desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is said, with a status that a script notices."""
    assert main([*EXPORT, "--start", "2026-03-30"]) == 1
    assert "no file of this selection" in capsys.readouterr().out
    assert [path.name for path in desk.iterdir()] == ["file"]
