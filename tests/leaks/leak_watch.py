"""See every byte that goes into a file, also into files that are gone a moment later: by strace, and without it.

``strace`` sees the writes of a process and its children, whatever library makes them. ``Guard`` is for machines without
strace: inside the process, it looks into each file just before Python removes, renames or truncates it, and notes
files that never had a name. What strace does not see is memory mapped into a file; what neither sees is looked for on
the disk afterwards.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
from collections import defaultdict
from pathlib import Path
from typing import Any

from leak_needles import Needles
from leak_search import Leak

_TRACED = "write,pwrite64,writev,pwritev,pwritev2"
_CALL = re.compile(rb"(?:write|pwrite64|writev|pwritev2?)\(\d+<([^>]*)>(?:\(deleted\))?, (.*)")
_STRING = re.compile(rb'"((?:\\x[0-9a-f]{2})*)"')
_NO_FILES = (b"socket:", b"pipe:", b"anon_inode:", b"TCP", b"UNIX", b"UDP", b"NETLINK", b"/dev/")


def strace_works(folder: Path) -> bool:
    """Whether strace is there and this process may use it."""
    if shutil.which("strace") is None:
        return False
    command = ["strace", "-o", str(folder / "try"), "true"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def strace_command(output: Path) -> list[str]:
    """What to put in front of a command. Every write is recorded whole, in hexadecimal, with the file's path."""
    options = ["-f", "--seccomp-bpf", "-qq", "-y", "-xx", "-s", "4194304", "-e", f"trace={_TRACED}"]
    return ["strace", *options, "-o", str(output)]


def search_strace(output: Path, needles: Needles) -> tuple[list[Leak], int, int]:
    """Leaks in what was written to files; how many files there were, and how many bytes."""
    written: dict[bytes, bytearray] = defaultdict(bytearray)
    with output.open("rb") as lines:
        for line in lines:
            call = _CALL.search(line)
            if call is None:
                continue
            path = _unhexed(call[1])
            if not path.startswith(_NO_FILES):
                for text in _STRING.findall(call[2]):
                    written[path] += _unhexed(text)
    found = [
        Leak(name, f"written to {path.decode(errors='replace')}")
        for path, data in written.items()
        for name in sorted(needles.found_in(data))
    ]
    return found, len(written), sum(map(len, written.values()))


def _unhexed(text: bytes) -> bytes:
    """What ``-xx`` shows as \\x2f\\x74\\x6d...; paths may be shown plainly."""
    return bytes.fromhex(text.replace(b"\\x", b"").decode()) if text.startswith(b"\\x") else text


class Guard:
    """Watches the files that this process writes, from inside; once installed it stays until the process ends."""

    def __init__(self, needles: Needles) -> None:
        self.leaks: list[Leak] = []
        self.anonymous: list[str] = []
        self.opened: set[str] = set()
        self._needles = needles
        self._busy = threading.local()

    def install(self) -> None:
        sys.addaudithook(self._hook)

    def _hook(self, event: str, args: tuple[Any, ...]) -> None:
        if event not in ("open", "os.remove", "os.rename", "os.truncate") or getattr(self._busy, "now", False):
            return
        self._busy.now = True
        try:
            if event == "open":
                self._opened(*args)
            else:
                self._look_into(args[0], event)
        finally:
            self._busy.now = False

    def _opened(self, path: Any, mode: Any, flags: int) -> None:
        if not flags & (os.O_WRONLY | os.O_RDWR) or not isinstance(path, (str, bytes)):
            return
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            self.anonymous.append(os.fsdecode(path))
        else:
            self.opened.add(os.path.realpath(os.fsdecode(path)))
            self._look_into(path, "open")  # opened again for writing: what was in it may be gone soon

    def _look_into(self, path: Any, event: str) -> None:
        if not isinstance(path, (str, bytes, os.PathLike)):
            return
        try:
            data = Path(os.fsdecode(path)).read_bytes()
        except (OSError, ValueError):
            return
        self.leaks += [Leak(name, f"{os.fsdecode(path)} before {event}") for name in self._needles.found_in(data)]
