"""Damage to files on disk that is certain to be damage: one bit is the other one afterwards."""

from __future__ import annotations

from pathlib import Path


def flip(path: Path, position: int = -1) -> None:
    """Flip the lowest bit of one byte. Writing a fixed byte would change nothing where that byte is there already."""
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)
