"""The command line: ``dagster-beiwe demo``, ``check``, ``keyring``, ``history``, ``snapshot``, ``verify``, ``export``,
``purge``, ``rekey``, ``partitions``, ``runs``.

Exit status: 0 when all is well, 1 when something was found or failed, 2 when the call or the configuration is wrong,
130 after Ctrl-C, 143 after SIGTERM.
"""

from __future__ import annotations

import argparse
import io
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from dagster_beiwe.cli import check, demo, export, history, keyring, partitions, purge, rekey, runs, snapshot, verify
from dagster_beiwe.encryption.core_dumps import forbid_core_dumps
from dagster_beiwe.errors import BeiweError, ConfigurationError
from dagster_beiwe.text import one_line

COMMANDS = (demo, check, keyring, history, snapshot, verify, export, partitions, purge, rekey, runs)


class _TerminatedError(KeyboardInterrupt):
    """SIGTERM: the command ends as after Ctrl-C."""


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands; each module adds its own."""
    parser = argparse.ArgumentParser(
        prog="dagster-beiwe", description="Encrypted data lakes of Beiwe studies, run by Dagster."
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="log what is done")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for module in COMMANDS:
        module.add_parser(commands)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command, without core dumps; what goes wrong becomes one message and an exit status."""
    forbid_core_dumps()
    _show_everything()
    try:
        options = build_parser().parse_args(arguments)
        _log_from(logging.INFO if options.verbose else logging.WARNING)
        with _terminable():
            status = int(options.run(options))
        if sys.stdout is not None:
            sys.stdout.flush()
    except BeiweError as error:
        return _complain(f"{type(error).__name__}: {error}", 2 if isinstance(error, ConfigurationError) else 1)
    except KeyboardInterrupt as interrupt:
        name, status = ("Terminated", 143) if isinstance(interrupt, _TerminatedError) else ("Interrupted", 130)
        return _complain(f"{name}; what was done so far stays.", status)
    except EOFError:
        return _complain("Expected an answer, got the end of the input; nothing was changed.", 2)
    except BrokenPipeError:  # whoever read the output has seen enough; the interpreter would complain when it ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        place = f"use {str(error.filename)!r}" if error.filename else "read and write"
        return _complain(
            f"Expected to {place}, got {error.strerror or type(error).__name__!r}; it was not finished. Correct the "
            "path, its permissions or the space on its disk, and call again.",
            1,
        )
    return status


def _log_from(level: int) -> None:
    """Show what is logged, from a level on, also while a run in this process lets its own log have more."""
    handler = logging.StreamHandler()
    handler.setLevel(level)
    logging.basicConfig(level=level, format="%(message)s", handlers=[handler])


def _show_everything() -> None:
    """Let characters that a terminal, a pipe or a log lacks be escaped: a study's name must not end a command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


@contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM end a command like Ctrl-C, so that it leaves nothing half."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) is signal.SIG_IGN:
        yield
        return

    def terminate(number: int, frame: object) -> None:  # noqa: ARG001 - the form of a handler
        raise _TerminatedError

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _complain(message: str, status: int) -> int:
    print(one_line(message), file=sys.stderr)
    return status
