"""``dagster-beiwe`` in a process that is killed at its nth change of a lake: ``killed_command.py N COMMAND ...``."""

from __future__ import annotations

import itertools
import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any

from dagster_beiwe.cli import main

changes = itertools.count()


def changes_a_lake(event: str, arguments: Sequence[Any]) -> bool:
    """Files of a lake are made, linked, and renamed in a folder that is open, by their bare names."""
    match event, arguments:
        case "open", (str(path), _, int(flags)):
            return bool(flags & os.O_CREAT) and not os.path.isabs(path)
        case "os.link" | "os.rename", (*_, folder):
            return bool(folder != -1)
    return False


def die_at(last: int, victim: Callable[[], int] = os.getpid) -> None:
    """Kill this process, or another one, at this process's nth change of a lake."""

    def look(event: str, arguments: tuple[Any, ...]) -> None:
        if changes_a_lake(event, arguments) and next(changes) == last:
            os.kill(victim(), signal.SIGKILL)

    sys.addaudithook(look)


if __name__ == "__main__":
    die_at(int(sys.argv[1]))
    print(main(sys.argv[2:]), next(changes))
