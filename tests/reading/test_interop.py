"""Both ways between this lake, ``crypt.py`` and mano 0.6, with the real tools on the other side."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import cryptease
import pandas as pd
import pytest
import zstandard
from old_trees import save_with_mano
from reading_helpers import ANDROID, IOS, NOW, PASSPHRASE, START, WEEKS, cells_of, fill, stored_files, study_lake

from dagster_beiwe.encryption import encrypt_bytes
from dagster_beiwe.errors import (
    ConfigurationError,
    LakeUnavailableError,
    PassphraseMissingError,
    UnknownStreamError,
    WrongPassphraseError,
)
from dagster_beiwe.lake import FileRecord, StudyLake
from dagster_beiwe.reading import BeiwePartitions
from dagster_beiwe.reading.mano_tree import ManoTree
from dagster_beiwe.simulator import SimulatedServer, World

END = NOW.isoformat()[:19]
LOCKED = ["gps", "survey_answers", "audio_recordings"]


@pytest.fixture(scope="session")
def tree(mano: Any, shared_world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study that mano downloaded and saved, three streams of it locked."""
    folder = tmp_path_factory.mktemp("mano")
    streams = ["gps", "power_state", "survey_answers", "audio_recordings"]
    with SimulatedServer(shared_world) as server:
        save_with_mano(
            mano,
            server,
            folder,
            (ANDROID, IOS),
            streams=streams,
            start=START.isoformat()[:19],
            end=NOW.isoformat()[:19],
            lock=LOCKED,
            passphrase=PASSPHRASE,
        )
    return folder


def decrypted_by_crypt_py(path: Path, passphrase: str = PASSPHRASE) -> bytes:
    """What the command of cryptease makes of a file, without a terminal."""
    script = Path(sys.executable).with_name("crypt.py")
    result = subprocess.run(
        [sys.executable, str(script), "--decrypt", str(path)],
        env={**os.environ, "ENCRYPT_PASS": passphrase, "PYTHONWARNINGS": "ignore"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=300,
        check=True,
    )
    return result.stdout


def first_file(lake: StudyLake, stream: str) -> tuple[FileRecord, Path]:
    manifest = lake.manifest(ANDROID, WEEKS[0])
    assert manifest is not None
    record = next(record for record in manifest.files if record.stream == stream)
    return record, Path(lake.storage.describe()) / lake.study_id / ANDROID / record.path


@pytest.mark.parametrize("stream", ["gps", "survey_answers", "audio_recordings"])
def test_crypt_py_opens_our_files(server: SimulatedServer, tmp_path: Path, stream: str) -> None:
    """Without compression the file is the server's, byte for byte, under mano's name for it."""
    lake = study_lake(tmp_path / "lake", server.world, compression="none")
    fill(server, lake, cells_of(ANDROID, weeks=1))
    record, path = first_file(lake, stream)
    assert path.name.endswith((".csv.lock", ".mp4.lock", ".wav.lock"))
    assert path.name == f"{Path(record.member).name}.lock"
    assert decrypted_by_crypt_py(path) == stored_files(server.world, ANDROID, stream)[record.moment]


def test_crypt_py_and_zstd_open_our_compressed_files(shared_lake: StudyLake, shared_world: World) -> None:
    """Decrypted, it is a frame that any zstd reads."""
    record, path = first_file(shared_lake, "gps")
    assert path.name.endswith(".csv.zst.lock")
    with zstandard.ZstdDecompressor().stream_reader(io.BytesIO(decrypted_by_crypt_py(path))) as reader:
        assert reader.read() == stored_files(shared_world, ANDROID, "gps")[record.moment]


@pytest.mark.filterwarnings("ignore:CFB8 has been moved")  # cryptease's use of cryptography
def test_the_functions_that_mano_uses_open_our_files(server: SimulatedServer, tmp_path: Path, mano: Any) -> None:
    """``key_from_file`` and ``decrypt`` of cryptease, as mano imports it."""
    lake = study_lake(tmp_path / "lake", server.world, compression="none")
    fill(server, lake, cells_of(ANDROID, weeks=1))
    record, path = first_file(lake, "gps")
    assert mano.sync.crypt is cryptease
    with path.open("rb") as file:
        key = mano.sync.crypt.key_from_file(file, PASSPHRASE)
        plain = b"".join(mano.sync.crypt.decrypt(file, key))
    assert plain == stored_files(server.world, ANDROID, "gps")[record.moment]


def test_a_lake_without_compression_is_manos_tree(
    server: SimulatedServer, tmp_path: Path, tree: Path, shared_lake: StudyLake
) -> None:
    """The same names in the same folders, beside the manifests; and the reader of mano's trees reads it."""
    lake = study_lake(tmp_path / "lake", server.world, compression="none", plain_streams=("power_state",))
    fill(server, lake)
    ours = tmp_path / "lake" / lake.study_id
    names = {
        path.relative_to(tree).as_posix()
        for path in tree.rglob("*")
        if path.is_file() and not path.name.startswith(".") and "survey" not in path.as_posix()
    }
    assert len(names) > 60
    assert all((ours / name).is_file() for name in names)
    frame = ManoTree(ours, passphrase=PASSPHRASE).read("gps")
    pd.testing.assert_frame_equal(frame, BeiwePartitions.of(shared_lake).read("gps"))


@pytest.mark.parametrize("stream", ["gps", "power_state", "survey_answers"])
def test_manos_tree_reads_like_the_lake(tree: Path, shared_lake: StudyLake, stream: str) -> None:
    """The same frame, from locked and plain files."""
    frame = ManoTree(tree, passphrase=PASSPHRASE).read(stream)
    expected = BeiwePartitions.of(shared_lake).read(stream)
    order = ["participant", "file time", "question id"] if stream == "survey_answers" else ["participant", "timestamp"]
    pd.testing.assert_frame_equal(
        frame.sort_values(order, ignore_index=True), expected.sort_values(order, ignore_index=True)
    )


def test_manos_tree_has_the_same_view(tree: Path, shared_world: World) -> None:
    """Files, participants, recordings, windows, times."""
    mano_tree = ManoTree(tree, passphrase=PASSPHRASE)
    assert mano_tree.participants == [ANDROID, IOS]
    assert mano_tree.unknown == []
    recording = next(mano_tree.files("audio_recordings"))
    with mano_tree.open(recording) as file:
        assert file.read() == stored_files(shared_world, recording.participant, "audio_recordings")[recording.time]
    assert [(who, week) for who, week, _ in mano_tree.iter_frames("gps")] == [
        (who, week) for who in (ANDROID, IOS) for week in WEEKS
    ]
    day = list(mano_tree.files("gps", start=START, end=START + timedelta(hours=12)))
    assert [file.participant for file in day] == [ANDROID, IOS]
    assert all(file.sha256 is None for file in day), "nobody has recorded a hash"
    assert ManoTree(tree, participants=[ANDROID]).participants == [ANDROID]


def test_plain_files_of_manos_tree_need_no_passphrase(tree: Path) -> None:
    """The locked ones do, and a wrong one is told from data."""
    assert len(ManoTree(tree).read("power_state")) > 0
    with pytest.raises(PassphraseMissingError, match="SECRETS"):
        ManoTree(tree).read("gps")
    with pytest.raises(WrongPassphraseError):
        ManoTree(tree, passphrase="another").read("gps")


def test_of_a_plain_and_a_locked_copy_the_later_one_counts(tree: Path, tmp_path: Path) -> None:
    """As when mano's ``lock`` was changed between two runs."""
    name = next(file.identity for file in ManoTree(tree).files("power_state"))
    folder = tmp_path / "copy" / Path(name).parent
    folder.mkdir(parents=True)
    plain = tmp_path / "copy" / name
    plain.write_bytes((tree / name).read_bytes())
    locked = plain.with_name(f"{plain.name}.lock")
    locked.write_bytes(encrypt_bytes(plain.read_bytes(), PASSPHRASE))
    for newer, older in ((plain, locked), (locked, plain)):
        os.utime(older, (1, 1))
        os.utime(newer, (2, 2))
        (file,) = ManoTree(tmp_path / "copy", passphrase=PASSPHRASE).files()
        assert file.identity == newer.relative_to(tmp_path / "copy").as_posix()


def test_what_is_no_file_of_beiwe_is_named(tree: Path, tmp_path: Path) -> None:
    """And not read."""
    other = tmp_path / "copy" / ANDROID / "gps" / "notes.txt"
    other.parent.mkdir(parents=True)
    other.write_text("not data")
    (other.parent.parent / ".registry").write_text("{}")
    copy = ManoTree(tmp_path / "copy")
    assert copy.unknown == [f"{ANDROID}/gps/notes.txt"]
    assert list(copy.files()) == []


def test_wrong_questions_to_manos_tree_are_refused(tree: Path, tmp_path: Path) -> None:
    """The folder, the participant, the stream."""
    with pytest.raises(LakeUnavailableError, match="output_dir"):
        ManoTree(tmp_path / "absent")
    with pytest.raises(ConfigurationError, match="nobody99"):
        ManoTree(tree, participants=["nobody99"])
    with pytest.raises(UnknownStreamError, match="'gps'"):
        ManoTree(tree).files("gsp")
