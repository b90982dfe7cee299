"""How far a command is: a bar on a terminal, lines in a log, objects for a program that asks for them."""

from __future__ import annotations

import io
import itertools
import json
import sys

import pytest

from dagster_beiwe.cli import messages, progress
from dagster_beiwe.cli.messages import MANNER


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def shown(monkeypatch: pytest.MonkeyPatch, stream: io.StringIO, **manner: bool) -> str:
    """What is written of ten files, each of which takes 20 seconds, and of what is printed meanwhile."""
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("COLUMNS", "80")
    messages.begin(as_json=False)
    for name, value in manner.items():
        monkeypatch.setattr(MANNER, name, value)
    clock = itertools.count(step=20)
    with progress.progress("files", clock=lambda: next(clock)) as work:
        work.expect(10, 200_000_000)
        for _ in range(10):
            work.advance(1, 20_000_000)
        print("meanwhile", file=sys.stderr)
    return stream.getvalue()


def test_a_log_has_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also on a terminal that cannot rewrite a line."""
    lines = shown(monkeypatch, io.StringIO()).splitlines()
    assert lines[1] == "1 of 10 files, 20.0 MB of 200.0 MB, 500.0 kB/s, 6 min 0 s left"
    assert (len(lines), lines[-1]) == (12, "meanwhile")
    monkeypatch.setenv("TERM", "dumb")
    assert shown(monkeypatch, Terminal()).splitlines() == lines


def test_a_terminal_has_a_bar_of_one_line_that_is_gone_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is printed meanwhile stays, above it."""
    monkeypatch.setenv("TERM", "xterm-256color")
    text = shown(monkeypatch, Terminal())
    assert " 50%  5 of 10 files, 100.0 MB, " in text
    assert "━" in text
    assert "\x1b[38" in text
    monkeypatch.setenv("NO_COLOR", "1")
    text = shown(monkeypatch, Terminal())
    assert "\x1b[38" not in text
    after = text.rpartition("meanwhile")[2]
    assert text.count("meanwhile") == 1
    assert after.endswith("\x1b[2K\x1b[?25h") or after.rstrip("\r").endswith("\x1b[2K")


def test_a_program_gets_objects_if_it_asks_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """With -v."""
    assert shown(monkeypatch, io.StringIO(), as_json=True) == "meanwhile\n"
    first, second, *_ = map(json.loads, shown(monkeypatch, io.StringIO(), as_json=True, verbose=True).splitlines()[:-1])
    assert first["kind"] == "progress"
    assert second == {
        "kind": "progress", "message": "1 of 10 files, 20.0 MB of 200.0 MB, 500.0 kB/s, 6 min 0 s left",
        "units": "files", "done": 1, "total": 10, "bytes_done": 20_000_000, "bytes_total": 200_000_000,
        "bytes_per_second": 500_000, "seconds_left": 360,
    }  # fmt: skip


def test_nothing_is_shown_to_whom_wants_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the place."""
    assert shown(monkeypatch, io.StringIO(), quiet=True) == "meanwhile\n"
    monkeypatch.setenv("TERM", "xterm")
    assert shown(monkeypatch, Terminal(), quiet=True) == "meanwhile\n"
