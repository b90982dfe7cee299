"""Trees of mano as they grew over the years: what their files are called, and what is no tree at all."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest
import zstandard

from dagster_beiwe.encryption import encrypt_bytes
from dagster_beiwe.errors import ConfigurationError, EncryptionError, IntegrityError, WrongPassphraseError
from dagster_beiwe.reading.mano_tree import ManoTree

PASSPHRASE = "a passphrase for tests only"
HEADER = b"timestamp,UTC time,latitude,longitude,altitude,accuracy\n"
ROW = b"1529125200100,2018-06-16T05:00:00.100,1,2,3,"
NEW, OLD = "2018-06-16 05_00_00+00_00.csv", "2018-06-16 05_00_00.csv"


@pytest.fixture
def gps(tmp_path: Path) -> Path:
    """A participant's folder of GPS files."""
    folder = tmp_path / "tree" / "aaaa1111" / "gps"
    folder.mkdir(parents=True)
    return folder


def tree(gps: Path, passphrase: str | None = None) -> ManoTree:
    return ManoTree(gps.parents[1], passphrase=passphrase)


def accuracies(gps: Path, passphrase: str | None = None) -> list[float]:
    return list(tree(gps, passphrase).read("gps")["accuracy"])


def test_names_of_old_servers_are_read(gps: Path) -> None:
    """Before mid 2018 they named no zone; the time was UTC already."""
    (gps / OLD).write_bytes(HEADER + ROW + b"4")
    frame = tree(gps).read("gps")
    assert frame["accuracy"].tolist() == [4.0]
    assert frame.attrs["beiwe"]["unknown_files"] == 0
    (file,) = tree(gps).files("gps")
    assert file.time.isoformat() == "2018-06-16T05:00:00+00:00"


def test_an_hour_under_its_old_and_its_new_name_counts_once(gps: Path) -> None:
    """As when mano fetched it again from a newer server: the file written last holds more."""
    (gps / OLD).write_bytes(HEADER + ROW + b"4")
    (gps / NEW).write_bytes(HEADER + ROW + b"5\n" + ROW + b"6")
    os.utime(gps / OLD, (1, 1))
    assert accuracies(gps) == [5.0, 6.0]


@pytest.mark.parametrize("content", [b"", b"not what mano locks", b"\x10\0"])
def test_an_encrypted_file_that_is_damaged_is_named(gps: Path, content: bytes) -> None:
    """Whoever reads a stream must know which file to replace."""
    (gps / f"{NEW}.lock").write_bytes(content)
    with pytest.raises(EncryptionError, match=rf"{NEW[:13]}.* is damaged\. .*written by cryptease"):
        accuracies(gps, PASSPHRASE)


@pytest.mark.parametrize("ending", [".zst", ""])
@pytest.mark.parametrize("encrypted", [False, True])
def test_compressed_files_are_read(gps: Path, encrypted: bool, ending: str) -> None:
    """Newer versions of mano keep the server's compression; scripts may have dropped the ending."""
    data = zstandard.compress(HEADER + ROW + b"4")
    (gps / f"{NEW}{ending}{'.lock' if encrypted else ''}").write_bytes(
        encrypt_bytes(data, PASSPHRASE) if encrypted else data
    )
    assert accuracies(gps, PASSPHRASE) == [4.0]
    if encrypted:
        with pytest.raises((IntegrityError, WrongPassphraseError), match="passphrase"):
            accuracies(gps, "another")


@pytest.mark.parametrize("data", [b"", zstandard.compress((HEADER + ROW + b"4\n") * 50_000)[:-9], b"no frame"])
def test_a_compressed_file_that_is_cut_is_no_shorter_file(gps: Path, data: bytes) -> None:
    """A frame that ends in the middle would pass for fewer rows."""
    (gps / f"{NEW}.zst").write_bytes(data)
    with pytest.raises(IntegrityError, match="zstd frame"):
        accuracies(gps)


def test_files_that_are_not_understood_are_told(gps: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Beside others in the log and in the counts; alone they are an error and not an empty frame."""
    (gps / "2018-06-16T05h.csv").write_bytes(HEADER + ROW + b"4")
    with pytest.raises(ConfigurationError, match=r"None of the 1 files of gps .*2018-06-16T05h"):
        tree(gps).read("gps")
    (gps / NEW).write_bytes(HEADER + ROW + b"5")
    with caplog.at_level(logging.WARNING, logger="dagster_beiwe"):
        frame = tree(gps).read("gps")
    assert frame["accuracy"].tolist() == [5.0]
    assert frame.attrs["beiwe"]["unknown_files"] == 1
    assert "1 file without a Beiwe name" in caplog.text
    assert len(tree(gps).read("power_state")) == 0


def test_a_folder_with_nothing_of_beiwe_is_no_tree(tmp_path: Path, gps: Path) -> None:
    """An empty one, a home directory, one level too high or too low."""
    empty = tmp_path / "empty"
    (empty / "Documents" / "letters").mkdir(parents=True)
    (empty / "notes").write_text("text")
    for folder in (tmp_path, empty, empty / "Documents" / "letters", gps.parent, gps):
        with pytest.raises(ConfigurationError, match="no Beiwe data"):
            ManoTree(folder)
    (gps.parents[1] / "README").write_text("not a participant")
    assert tree(gps).participants == ["aaaa1111"]
