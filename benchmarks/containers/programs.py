"""Programs that run for a while, beside each other."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.containers.settings import ROOT


@contextmanager
def program(name: str, *arguments: str, log: Path, environment: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """One of the programs of this Python's environment, on this project; ended with the ``with``.

    Nothing of the caller's own Beiwe and Dagster reaches it.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("BEIWE_", "DAGSTER_"))}
    command = [str(Path(sys.executable).with_name(name)), *arguments]
    with running(command, log=log, environment={**kept, "PYTHONPATH": str(ROOT), **environment}) as process:
        yield process


@contextmanager
def running(command: Sequence[str], *, log: Path, environment: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """Any program with exactly this environment; ended with the ``with``."""
    with log.open("wb") as output:
        process = subprocess.Popen(list(command), cwd=ROOT, stdout=output, stderr=output, env=dict(environment))
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
