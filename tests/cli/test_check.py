"""`dagster-beiwe check`: what every run would fail for is found before one does."""

from __future__ import annotations

from pathlib import Path

import pytest
from filled_lake import PASSPHRASE, fill

from dagster_beiwe.cli import main
from dagster_beiwe.lake import BeiweLake, StudyLake
from dagster_beiwe.lake.catalog.opening import Opening
from dagster_beiwe.lake.storage.local import LocalStorage
from dagster_beiwe.simulator import SimulatedServer


def test_check_names_studies_and_counts_participants(
    environment: Path, study_id: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A researcher learns in one call whether the keys work, what they see, and that the lake can be written."""
    assert main(["check"]) == 0
    printed = capsys.readouterr().out
    assert f"{study_id}      2 participants  Sleep" in printed
    assert "the keys are accepted" in printed
    assert f"{environment}: not there yet. The first run creates it." in printed
    assert f"{study_id}  new study: there is nothing to compare the passphrase with" in printed
    assert not environment.exists()


def test_check_finds_a_wrong_passphrase_without_writing(
    lake: StudyLake, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A passphrase that differs from the lake's is told, with a status that a script notices."""
    monkeypatch.setenv("BEIWE_LAKE_PASSPHRASE", "another one")
    assert main(["check"]) == 1
    assert "The passphrase is not the one that study" in capsys.readouterr().out


def test_check_accepts_what_the_lake_was_written_with(lake: StudyLake, capsys: pytest.CaptureFixture[str]) -> None:
    """Only where there is something to compare the passphrase with is it called accepted; nothing is left behind."""
    before = sorted(lake.storage.scan(""))
    assert main(["check"]) == 0
    printed = capsys.readouterr().out
    assert "can be written" in printed
    assert f"{lake.study_id}  passphrase accepted" in printed
    assert sorted(lake.storage.scan("")) == before


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("BEIWE_LAKE_PASSPHRASE", "no passphrase: runs fail. Set BEIWE_LAKE_PASSPHRASE"),
        ("BEIWE_LAKE", "set BEIWE_LAKE"),
    ],
)
def test_check_tells_what_every_run_would_fail_for(
    environment: Path, name: str, remedy: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A check that passes is followed by a run that passes."""
    monkeypatch.delenv(name)
    assert main(["check"]) == 1
    assert remedy in capsys.readouterr().out


def test_check_accepts_a_study_that_was_written_without_passphrase(
    environment: Path, study_id: str, server: SimulatedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `encryption: none` leaves it."""
    fill(server, BeiweLake(environment).study(study_id, passphrase=None, cipher=None))
    monkeypatch.delenv("BEIWE_LAKE_PASSPHRASE")
    assert main(["check"]) == 0


def test_check_finds_a_lake_that_cannot_be_made(
    environment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file in the way."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("BEIWE_LAKE", str(tmp_path / "file" / "lake"))
    assert main(["check"]) == 1
    assert "It cannot be created" in capsys.readouterr().out


def test_check_reads_the_witness(
    lake: StudyLake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A lake that lost what the witness has seen fails, as every run would; so does a place that is none."""
    monkeypatch.setenv("BEIWE_WITNESS", str(tmp_path / "witness"))
    assert main(["check"]) == 0
    assert "witness: can be read; studies in it: 0" in capsys.readouterr().out
    assert not (tmp_path / "witness").exists()
    log = Opening(lake.storage, lake.study_id, PASSPHRASE, witness=LocalStorage(tmp_path / "witness"))
    log.begun().prepare()  # as a run does before it writes
    assert main(["check"]) == 0
    assert "witness: can be read; studies in it: 1" in capsys.readouterr().out
    records = sorted((tmp_path / "lake" / lake.study_id / ".beiwe" / "log" / "000000").iterdir())
    records[-1].unlink()
    assert main(["check"]) == 1
    assert "was cut or rolled back" in capsys.readouterr().out
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("BEIWE_WITNESS", str(tmp_path / "file" / "witness"))
    assert main(["check"]) == 1
    assert "\nWitness     " in (out := capsys.readouterr().out)
    assert "Not a directory" in out


def test_wrong_keys_end_in_one_clear_line(
    environment: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No traceback, and no key in the message."""
    monkeypatch.setenv("BEIWE_SECRET_KEY", "A" * 64)
    assert main(["check"]) == 1
    message = capsys.readouterr().err
    assert message.startswith("AccessDeniedError: ")
    assert "A" * 64 not in message


def test_missing_variables_are_a_usage_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing configured: exit status 2 and the names of what to set."""
    for name in ("BEIWE_URL", "BEIWE_ACCESS_KEY", "BEIWE_SECRET_KEY", "BEIWE_KEYRING_SECTION"):
        monkeypatch.delenv(name, raising=False)
    assert main(["check"]) == 2
    assert "BEIWE_ACCESS_KEY" in capsys.readouterr().err


def test_names_of_studies_can_not_draw_on_the_terminal(
    lake: StudyLake, server: SimulatedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """A name with escapes and line breaks can fake no line of ours."""
    server.world.rename_study(lake.study_id, "Sleep\x1b[2J\n\rLake        all is well")
    try:
        for command in (["check"], ["verify"], ["verify", "--study", "nothing"], ["purge", "--study", "Sl"]):
            main([*command, *(["--participant", "nobody", "--yes"] if command[0] == "purge" else [])])
    finally:
        server.world.rename_study(lake.study_id, "Sleep")
    printed = "".join(capsys.readouterr())
    assert "all is well" in printed
    assert "\x1b" not in printed
    assert "\r" not in printed
    assert "\nLake        all is well" not in printed
