"""How the files of an old tree are parted among processes."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest
from core_helpers import PERSON
from hypothesis import given
from hypothesis import strategies as st

from dagster_beiwe.adoption.jobs import held_bytes
from dagster_beiwe.adoption.old_tree import OldFile
from dagster_beiwe.lake.staging import FileForm
from dagster_beiwe.member_names import MemberName
from dagster_beiwe.parts import even_parts

KB, MB = 1 << 10, 1 << 20


def old_file(size_bytes: int, *, stream: str = "gps", compressed: bool = False) -> OldFile:
    time = datetime(2026, 3, 2, tzinfo=timezone.utc)
    member = MemberName(participant=PERSON, stream=stream, survey_id=None, name="2026-03-02 00_00_00.csv", time=time)
    return OldFile("path", member, encrypted=False, compressed=compressed, size_bytes=size_bytes, written_ns=0)


@pytest.mark.parametrize(
    ("facts", "compression", "held"),
    [
        ({"size_bytes": 900 * KB}, "zstd", 300 * KB),
        ({"size_bytes": 900 * KB}, "none", 900 * KB),
        ({"size_bytes": 300 * KB, "compressed": True}, "zstd", 300 * KB),
        ({"size_bytes": 300 * KB, "compressed": True}, "none", 900 * KB),
        ({"size_bytes": 900 * KB, "stream": "audio_recordings"}, "zstd", 900 * KB),
        ({"size_bytes": 2 * MB}, "none", MB),
        ({"size_bytes": 2048 * MB}, "zstd", 512 * MB),
        ({"size_bytes": 300}, "zstd", 96 * MB // 400),
    ],
)
def test_what_is_held_of_a_file_until_it_is_encrypted(facts: dict[str, Any], compression: Any, held: int) -> None:
    """As the lake stores it; of a large one a fourth, and no less than that of one of 400 files in a job of 96 MB."""
    assert held_bytes(old_file(**facts), FileForm(cipher=None, compression=compression)) == held


@given(sizes=st.lists(st.integers(0, 10**9), max_size=60), count=st.integers(1, 9))
def test_parts_are_even_and_hold_every_item_in_order(sizes: list[int], count: int) -> None:
    """No part is larger than its share and one item."""
    parts = [*even_parts(sizes, sizes, count=count)]
    assert [size for part in parts for size in part] == sizes
    assert len(parts) <= count
    total = sum(max(1, size) for size in sizes)
    assert all(sum(max(1, size) for size in part) <= total / count + max(1, *sizes, 1) for part in parts)
