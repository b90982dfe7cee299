"""Whatever is changed in a lake is found, and damaged documents never break the readers."""

from __future__ import annotations

from pathlib import Path

from measured import rows as rows_of_the_document
from tampering import fill, fuzz, tamper


def test_every_kind_of_tampering_is_found(tmp_path: Path) -> None:
    """Flipped bits, files cut, longer, swapped, renamed, deleted and put back, participants and windows removed."""
    rows = tamper(fill(tmp_path), bits=25)
    assert [row.what for row in rows] == rows_of_the_document("tampering")[:17]
    assert {row.what: row.found for row in rows} == {row.what: row.tried for row in rows}
    assert all(row.tried for row in rows)


def test_damaged_documents_give_errors_of_this_package(tmp_path: Path) -> None:
    """Nothing else is raised by thousands of damaged archives and manifests."""
    rows = fuzz(fill(tmp_path), inputs=2000)
    assert [row.found for row in rows] == [2000, 2000]
    assert [row.what for row in rows] == rows_of_the_document("tampering")[17:]
