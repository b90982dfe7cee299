"""What a command says beside its output, on standard error: errors, warnings, notes and progress.

With ``--json`` each is an object on a line, so that a program can read it. A process runs one command.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal, TextIO

from dagster_beiwe.text import as_typed, one_line

Kind = Literal["error", "warning", "note", "progress"]

_DUMB: Final = ("dumb", "unknown")


@dataclass
class Manner:
    """How the command speaks: as JSON, logging each step, or without progress."""

    as_json: bool = False
    verbose: bool = False
    quiet: bool = False


MANNER: Final = Manner()


def begin(*, as_json: bool) -> None:
    """Begin a command, with no options yet."""
    MANNER.as_json, MANNER.verbose, MANNER.quiet = as_json, False, False


def say(kind: Kind, text: str, *, label: str = "", **facts: Any) -> None:
    """Say one line: to a program as an object with ``facts``, to a person after a ``label``."""
    if sys.stderr is None:  # closed; what is printed to nowhere would go to standard output
        return
    line = one_line(as_typed(text))
    if MANNER.as_json:
        print(json.dumps({"kind": kind, "message": line, **facts}), file=sys.stderr)
        return
    print(f"{red(label, sys.stderr)} {line}" if label else line, file=sys.stderr)


@contextmanager
def when_interrupted(text: Callable[[], str]) -> Iterator[None]:
    """Say what stands, and how to go on, if a signal ends the block."""
    try:
        yield
    except KeyboardInterrupt as interrupt:
        interrupt.args = (text(),)
        raise


def start_log() -> None:
    """Show warnings, or with ``-v`` each step, even while a run in this process gives its own log more."""
    level = logging.INFO if MANNER.verbose else logging.WARNING
    handler = _Handler(level)
    logging.basicConfig(level=level, format="%(message)s", handlers=[handler])


class _Handler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        if MANNER.as_json or sys.stderr is None:
            say("warning" if record.levelno >= logging.WARNING else "note", self.format(record))
        else:
            print(self.format(record), file=sys.stderr)


def is_terminal(stream: TextIO | None) -> bool:
    """Whether a person sees ``stream`` on a terminal that can rewrite a line."""
    return stream is not None and stream.isatty() and os.environ.get("TERM", "") not in _DUMB


def red(text: str, stream: TextIO) -> str:
    """The text in red, for what needs attention, if ``stream`` shows colors; see https://no-color.org."""
    return f"\x1b[31m{text}\x1b[0m" if is_terminal(stream) and not os.environ.get("NO_COLOR") else text
