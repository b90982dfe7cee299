"""The command line, ``dagster-beiwe``.

Exit status: 0 for success, 1 if the command found a problem or something failed, 2 if the arguments or the
configuration are wrong, 130 after Ctrl-C, 143 after SIGTERM, 129 after SIGHUP.

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

from dagster_beiwe.cli.messages import begin, say
from dagster_beiwe.errors import BeiweError, ConfigurationError
from dagster_beiwe.text import as_typed

_TERMINATING = ("SIGTERM", "SIGHUP")
_INTERRUPTED = ("Interrupted", 130)


class _TerminatedError(KeyboardInterrupt):
    """SIGTERM, or SIGHUP of a closed terminal: the command ends as after Ctrl-C."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.status = 128 + number


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status. An error becomes one line on standard error."""
    words = [as_typed(each) for each in (sys.argv[1:] if arguments is None else arguments)]
    begin(as_json="--json" in words)  # also if the call is wrong
    _escape_unknown_characters()
    hook = sys.unraisablehook
    try:
        with _terminable():
            from dagster_beiwe.cli.commands import run

            status = run(words)
        if sys.stdout is not None:
            sys.stdout.flush()
    except BeiweError as error:
        name, status = type(error).__name__, 2 if isinstance(error, ConfigurationError) else 1
        return _complain(name, str(error), status, label=f"{name}:")
    except KeyboardInterrupt as interrupt:
        name, status = ("Terminated", interrupt.status) if isinstance(interrupt, _TerminatedError) else _INTERRUPTED
        sys.unraisablehook = lambda _: None  # what it has left half made may complain when it is released
        return _complain(name, str(interrupt) or "What was done so far is kept.", status, label=f"{name}.")
    except EOFError:
        return _complain("EOFError", "The input ended before the question was answered. Nothing was changed.", 2)
    except BrokenPipeError:  # whoever read the output has seen enough; the interpreter would complain when it ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        place = f"Cannot use {error.filename}" if error.filename else "Cannot read or write"
        return _complain(
            type(error).__name__,
            f"{place}: {error.strerror or type(error).__name__}. The command did not finish. Correct the path, "
            "its permissions or the space on its disk, and run it again.",
            1,
        )
    finally:
        sys.unraisablehook = hook
    return status


def _escape_unknown_characters() -> None:
    """Escape characters that a terminal, a pipe, or a log does not support: a study's name must not end a command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


@contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end a command like Ctrl-C, so that it leaves nothing half done."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def terminate(number: int, frame: object) -> None:  # noqa: ARG001 - the signature of a signal handler
        raise _TerminatedError(number)

    numbers = [number for name in _TERMINATING if (number := getattr(signal, name, None))]  # Windows has no SIGHUP
    ignored = (None, signal.SIG_IGN)  # as under nohup
    before = {number: handler for number in numbers if (handler := signal.getsignal(number)) not in ignored}
    for number in before:
        signal.signal(number, terminate)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _complain(error: str, message: str, status: int, *, label: str = "Error:") -> int:
    say("error", message, label=label, error=error, status=status)
    return status
