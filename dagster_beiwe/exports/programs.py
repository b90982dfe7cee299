"""Another program that works on an export, which is removed when the program ends."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from dagster_beiwe.errors import ConfigurationError
from dagster_beiwe.processes import uninterrupted

_PLACE: Final = "{}"
_GRACE_SECONDS: Final = 10
_SIGNALED: Final = 128


def parsed(command: str) -> list[str]:
    """The words of a command line. Raises ``ConfigurationError`` if it names no program that can be run."""
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise ConfigurationError(
            f"The command {command[:200]!r} cannot be taken apart into words: {error}. Nothing was decrypted. Correct "
            "its quotes."
        ) from None
    if not words or shutil.which(words[0]) is None:
        raise ConfigurationError(
            f"There is no program {words[0][:200] if words else ''!r} to run. Nothing was decrypted. Correct its name, "
            "or give its path."
        )
    return words


def run(words: Sequence[str], folder: Path) -> int:
    """Run a command, with the folder in place of ``{}``, or as its last word; returns its exit status.

    A command that was ended by a signal has 128 and the signal's number. Whatever ends this process ends the command
    first.
    """
    placed = [word.replace(_PLACE, str(folder)) for word in words]
    process: subprocess.Popen[bytes] | None = None
    try:
        with uninterrupted():  # else a signal could come while the command runs already, and nobody knows it yet
            process = subprocess.Popen(placed if placed != list(words) else [*words, str(folder)])  # noqa: S603
        status = process.wait()
    except BaseException:
        if process is not None:
            _end(process)
        raise
    return status if status >= 0 else _SIGNALED - status


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
