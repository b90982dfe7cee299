"""The command line, ``dagster-beiwe``.

Exit status: 0 for success, 1 if the command found a problem or something failed, 2 if the arguments or the
configuration are wrong, 130 after Ctrl-C, 143 after SIGTERM.

This module imports little, because Ctrl-C is understood only from ``main`` on: ``commands`` imports the rest.
"""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from dagster_beiwe.errors import BeiweError, ConfigurationError
from dagster_beiwe.text import as_typed, one_line


class _TerminatedError(KeyboardInterrupt):
    """SIGTERM: the command ends as after Ctrl-C."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status. An error becomes one line on standard error."""
    _escape_unknown_characters()
    try:
        with _terminable():
            from dagster_beiwe.cli.commands import run

            status = run([as_typed(each) for each in (sys.argv[1:] if arguments is None else arguments)])
        if sys.stdout is not None:
            sys.stdout.flush()
    except BeiweError as error:
        return _complain(f"{type(error).__name__}: {error}", 2 if isinstance(error, ConfigurationError) else 1)
    except KeyboardInterrupt as interrupt:
        name, status = ("Terminated", 143) if isinstance(interrupt, _TerminatedError) else ("Interrupted", 130)
        return _complain(f"{name}. What was done so far is kept.", status)
    except EOFError:
        return _complain("Error: The input ended before the question was answered. Nothing was changed.", 2)
    except BrokenPipeError:  # whoever read the output has seen enough; the interpreter would complain when it ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        place = f"Cannot use {error.filename}" if error.filename else "Cannot read or write"
        return _complain(
            f"Error: {place}: {error.strerror or type(error).__name__}. The command did not finish. Correct the path, "
            "its permissions or the space on its disk, and run it again.",
            1,
        )
    return status


def _escape_unknown_characters() -> None:
    """Escape characters that a terminal, a pipe, or a log does not support: a study's name must not end a command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


@contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM end a command like Ctrl-C, so that it leaves nothing half done."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) is signal.SIG_IGN:
        yield
        return

    def terminate(number: int, frame: object) -> None:  # noqa: ARG001 - the signature of a signal handler
        raise _TerminatedError

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _complain(message: str, status: int) -> int:
    print(one_line(as_typed(message)), file=sys.stderr)
    return status
