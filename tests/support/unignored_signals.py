"""Signals as a service has them, also where a script starts the tests in the background."""

from __future__ import annotations

import signal


def take_back_ignored_signals() -> None:
    """Take back what such a script leaves: an ignored Ctrl-C, or an ignored end of the terminal.

    After each run in this process Dagster copies the handling of SIGINT to SIGTERM, and what is ignored here is ignored
    by every process that a test starts: nothing could stop them but SIGKILL.
    """
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, signal.SIGTERM)  # Windows lacks the last one
        usual = signal.default_int_handler if name == "SIGINT" else signal.SIG_DFL
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, usual)
