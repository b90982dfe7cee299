"""Show how far a command is, on standard error: a bar on a terminal, else a line now and then."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from time import monotonic
from typing import Final

from dagster_beiwe.cli.messages import MANNER, is_terminal, say
from dagster_beiwe.progress import MeasuredProgress, Reached

_BAR_SECONDS: Final = 0.2
_LINE_SECONDS: Final = 10.0


@contextmanager
def progress(units: str, *, clock: Callable[[], float] = monotonic) -> Iterator[MeasuredProgress]:
    """Show the progress of a block whose work is counted in ``units``, such as "files".

    With ``-q`` nothing is shown, and with ``--json`` only with ``-v``, as objects.
    """
    if MANNER.quiet or (MANNER.as_json and not MANNER.verbose):
        yield MeasuredProgress(units, _say, every_seconds=math.inf, clock=clock)
    elif MANNER.as_json or not is_terminal(sys.stderr):
        yield MeasuredProgress(units, _say, every_seconds=_LINE_SECONDS, clock=clock)
    else:
        with _bar() as tell:
            yield MeasuredProgress(units, tell, every_seconds=_BAR_SECONDS, clock=clock)


def _say(reached: Reached) -> None:
    say("progress", str(reached), **asdict(reached))


@contextmanager
def _bar() -> Iterator[Callable[[Reached], None]]:
    """A line at the bottom of the terminal, gone at the end. What else is printed meanwhile appears above it."""
    from rich.console import Console
    from rich.live import Live
    from rich.progress_bar import ProgressBar
    from rich.table import Table

    console = Console(file=sys.stderr)
    with Live(console=console, auto_refresh=False, transient=True) as live:

        def tell(reached: Reached) -> None:
            line = Table.grid(padding=(0, 1), expand=True)
            line.add_column(ratio=1)
            line.add_column(no_wrap=True)
            line.add_row(ProgressBar(total=1, completed=reached.share), f"{reached.share:4.0%}  {reached.short}")
            live.update(line, refresh=True)

        yield tell
