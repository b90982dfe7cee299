"""How far work on files is, for people at a terminal and for logs."""

from __future__ import annotations

import io
import itertools

import pytest

from dagster_beiwe.file_progress import FileProgress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(stream: io.StringIO, *, seconds: float) -> str:
    """What is written of ten files, each of which takes so long."""
    clock = itertools.count(step=seconds)
    progress = FileProgress(10, 200_000_000, stream, clock=lambda: next(clock))
    for _ in range(10):
        progress.advance(1, 20_000_000)
    progress.end()
    return stream.getvalue()


def test_a_log_has_plain_lines_now_and_then() -> None:
    """With rate and time left; none for what takes a moment."""
    lines = shown(io.StringIO(), seconds=20).splitlines()
    assert lines[0] == "1 of 10 files, 20.0 MB of 200.0 MB, 1.0 MB/s, 3 min 0 s left"
    assert len(lines) == 10
    assert len(shown(io.StringIO(), seconds=5).splitlines()) == 5
    assert shown(io.StringIO(), seconds=0.1) == ""


@pytest.mark.parametrize(("seconds", "left"), [(3, "27 s"), (4_000, "10 h 0 min")])
def test_a_terminal_has_one_line_that_is_cleared_at_the_end(seconds: float, left: str) -> None:
    first, *_, last = shown(Terminal(), seconds=seconds).split("\r\x1b[K")[1:]
    assert first.startswith("1 of 10 files, 20.0 MB of 200.0 MB, ")
    assert first.endswith(f"/s, {left} left")
    assert last == ""
