"""Beiwe's files are found by the end of their path, whatever folders a tool made above them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import zstandard

from dagster_beiwe.adoption.old_files import OldFiles
from dagster_beiwe.adoption.old_tree import OldTree

STUDY = "CoreCoreCoreCoreCoreCore"
NAME = "2018-06-16 05_00_00"
KEY = f"{STUDY}/p1/gps/2018-06-16T05:00:00.csv"


def read(folder: Path, *paths: str) -> OldTree:
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(b"timestamp")
    streams = ("gps", "survey_answers", "audio_recordings")
    return OldTree.read(folder, study_id=STUDY, participants=["p1"], streams=streams)


@pytest.mark.parametrize("above", ["", "PHOENIX/GENERAL/BLS/S001/phone/raw/", "PROTECTED/BLS/S001/phone/raw/p1/"])
@pytest.mark.parametrize("zone", ["", "+00_00"])
@pytest.mark.parametrize("ending", [".csv", ".csv.lock", ".csv.zst", ".csv.zst.lock"])
def test_a_file_is_the_servers_member_of_that_name(tmp_path: Path, above: str, zone: str, ending: str) -> None:
    """Of mano, a script, or lochness; with and without the zone, which servers before mid 2018 did not write."""
    (file,) = read(tmp_path, f"{above}p1/gps/{NAME}{zone}{ending}").files["p1"]
    assert (file.member.name, file.key) == (f"{NAME}+00_00.csv", KEY)
    assert (file.compressed, file.encrypted) == (".zst" in ending, ending.endswith(".lock"))


def test_both_folders_of_a_subject_are_one_participant(tmp_path: Path) -> None:
    """Lochness keeps what it locks under PROTECTED."""
    found = read(
        tmp_path,
        f"GENERAL/BLS/S001/phone/raw/p1/gps/{NAME}.csv",
        "PROTECTED/BLS/S001/phone/raw/p1/gps/2018-06-16 06_00_00.csv.lock",
        "GENERAL/BLS/S001/phone/raw/p1/.backfill",
        "GENERAL/BLS/S001/phone/processed/p1/summary.csv",
    )
    assert [file.member.time.hour for file in found.files["p1"]] == [5, 6]
    assert found.unknown == ["GENERAL/BLS/S001/phone/processed/p1/summary.csv"]


def test_a_recording_counts_once_in_any_form(tmp_path: Path) -> None:
    """The one that was written last."""
    path = f"p1/audio_recordings/s1/{NAME}+00_00.mp4"
    found = read(tmp_path, path, f"{path}.lock")
    assert ([file.path for file in found.files["p1"]], found.duplicates) == ([f"{path}.lock"], [path])


def test_hidden_files_are_named(tmp_path: Path) -> None:
    """Unless mano or lochness keep in them what they have done. One may be the copy of a file."""
    found = read(tmp_path, "p1/gps/.tmpx8s1k2", "p1/.backfill", "p1/.registry", ".study")
    assert found.unknown == ["p1/.registry", "p1/gps/.tmpx8s1k2"], "and this registry is damaged"


def test_keys_of_recordings_come_from_manos_registry(tmp_path: Path) -> None:
    """Their milliseconds are nowhere else. If two files may have a key, neither does."""
    listed = {
        f"CHUNKED_DATA/{KEY}": "hash",
        f"{STUDY}/p1/voiceRecording/s1/1529125200017.mp4": "",
        f"{STUDY}/p1/voiceRecording/s2/1529125200018.mp4": "",
        f"{STUDY}/p1/surveyAnswers/s1/1529125200100.csv": "",
        f"{STUDY}/p1/surveyAnswers/s1/1529125200200.csv": "",
    }
    (tmp_path / "p1").mkdir()
    (tmp_path / "p1" / ".registry").write_text(json.dumps(listed))
    files = read(tmp_path, f"p1/audio_recordings/s1/{NAME}+00_00.mp4", f"p1/survey_answers/s1/{NAME}+00_00.csv")
    assert [file.key for file in files.files["p1"]] == [f"{STUDY}/p1/voiceRecording/s1/1529125200017.mp4", None]


def test_a_participant_may_lie_elsewhere(tmp_path: Path) -> None:
    """Behind a link in the folder itself."""
    (tmp_path / "disk" / "gps").mkdir(parents=True)
    (tmp_path / "disk" / "gps" / f"{NAME}.csv").touch()
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "p1").symlink_to(tmp_path / "disk")
    others: dict[str, str | Path] = {
        "notes.txt": "/etc/passwd",
        "gone": tmp_path / "unmounted",
        "here": tmp_path / "old",
        "all": tmp_path,
    }
    others |= {"circle": "circle", "long": "x" * 300}
    for name, target in others.items():
        (tmp_path / "old" / name).symlink_to(target)
    found = read(tmp_path / "old")
    assert [file.path for file in found.files["p1"]] == [f"p1/gps/{NAME}.csv"]
    assert (found.unknown, found.duplicates) == (sorted(others), [])


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    """It is named as what is not understood."""
    (tmp_path / "p1" / "gps").mkdir(parents=True)
    (tmp_path / "p1" / "gps" / f"{NAME}.csv").symlink_to("/etc/passwd")
    found = read(tmp_path)
    assert (found.files, found.unknown) == ({}, [f"p1/gps/{NAME}.csv"])


def test_the_size_of_a_compressed_file_is_not_guessed(tmp_path: Path) -> None:
    """What was compressed as a stream does not tell it."""
    (file,) = read(tmp_path, f"p1/gps/{NAME}.csv.zst").files["p1"]
    content = b"timestamp,UTC time\n"
    opener = OldFiles(tmp_path, [])
    for told, size_bytes in ((True, len(content)), (False, None)):
        compressor = zstandard.ZstdCompressor(write_content_size=told)
        (tmp_path / file.path).write_bytes(compressor.compress(content))
        assert opener.size(file) == size_bytes
