"""Files of several batches are hashed at the same time, and each is judged by its own hash."""

from __future__ import annotations

import hashlib
from pathlib import Path

from dagster_beiwe.lake.storage.local import LocalStorage
from dagster_beiwe.maintenance.stored_hashes import StoredHashes


def test_many_files_are_each_judged_by_their_own_hash(tmp_path: Path) -> None:
    """Among them one that was changed, one that is missing, and one that is no file."""
    wanted = {f"{number % 7}/{number}": f"content {number}".encode() for number in range(700)}
    for path, content in wanted.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(content)
    (tmp_path / "3/500").write_bytes(b"content 501")
    (tmp_path / "4/606").unlink()
    (tmp_path / "1/239").unlink()
    (tmp_path / "1/239").symlink_to(tmp_path / "1/1")
    hashes = StoredHashes(LocalStorage(tmp_path))
    hashes.read_ahead({path: len(content) for path, content in wanted.items()})
    assert hashes.files >= 256
    found = {
        path: wrong
        for path, content in wanted.items()
        if (wrong := hashes.wrong(path, len(content), hashlib.sha256(content).hexdigest()))
    }
    assert found == {"3/500": "file changed", "4/606": "file missing", "1/239": "file changed"}
    assert hashes.files == 698
