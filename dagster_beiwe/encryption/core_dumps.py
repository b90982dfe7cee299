"""Keep memory with keys and rows off the disk when a process crashes."""

from __future__ import annotations

from contextlib import suppress


def forbid_core_dumps() -> None:
    """Set this process's limit for core files to zero, for good; if the system has no such limit, do nothing.

    Resources and the command line call it. The client, the lake and the keyring do not, because a library leaves the
    limits of its host alone: call it first in a script of your own.

    It holds for processes started from here too. A system that pipes dumps to a collector (``systemd-coredump``) is
    given the limit and keeps nothing; other collectors must be switched off by whoever runs the machine.
    """
    with suppress(ImportError):
        import resource  # not on Windows

        _, hard = resource.getrlimit(resource.RLIMIT_CORE)
        resource.setrlimit(resource.RLIMIT_CORE, (0, hard))
