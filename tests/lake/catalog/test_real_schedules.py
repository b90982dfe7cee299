"""The log's invariants on real files and on the S3 server, with real processes that fail."""

from __future__ import annotations

from pathlib import Path

import pytest
from object_helpers import S3
from real_schedules import play

ON_DISK = 194
IN_S3 = 6
"""A store takes ten times as long."""


def test_the_invariants_hold_on_a_disk(tmp_path: Path) -> None:
    """Processes are killed before and in the middle of writes, and stopped past every age."""
    play(range(ON_DISK), str(tmp_path / "lake"), at_once=4)


def test_the_invariants_hold_in_s3(url: str, s3: S3) -> None:
    """Besides, answers are lost and doubled, and requests arrive late."""
    play(range(IN_S3), url, s3)


def test_a_broken_rule_is_found(tmp_path: Path) -> None:
    """Whoever comes later replaces what came earlier."""
    with pytest.raises(AssertionError, match="planned before its window's last one"):
        play(range(30), str(tmp_path / "lake"), rules="no conflict", at_once=2)


def test_two_hundred_schedules_are_played() -> None:
    assert ON_DISK + IN_S3 == 200
