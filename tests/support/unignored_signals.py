"""Signals as a service has them, also where a script starts the tests in the background."""

from __future__ import annotations

import signal


def take_back_ignored_signals() -> None:
    """Take back what such a script leaves: an ignored Ctrl-C.

    After each run in this process Dagster copies the handling of SIGINT to SIGTERM, and what is ignored here is ignored
    by every process that a test starts: nothing could stop them but SIGKILL.
    """
    for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, usual)
