"""The benchmark of ``adopt`` runs: every file is adopted, and none travels."""

from __future__ import annotations

from pathlib import Path

from benchmarks.adopt import measure


def test_no_file_of_the_measured_tree_travels(tmp_path: Path) -> None:
    """An archive without files has 116 bytes."""
    taken = measure(tmp_path, participants=2, locked=False, days=2)
    assert taken.files == taken.adopted == 2 * 2 * 24 * 3
    assert taken.archive_bytes == taken.requests * 116
    assert "adopted" in str(taken)
