"""See what goes into files, also into files that are gone a moment later: by strace, and without it.

``strace`` shows the bytes of every write of a process and its children, whatever library makes them. Bytes that come
into a file by another way are not shown: copied by the kernel, by memory that is mapped into a file for writing, by a
ring of requests. Every such call is reported instead, whatever it moves.

``Guard`` is for machines without strace: inside the process, it looks into each file just before Python removes,
renames or truncates it, and notes files that never had a name. What neither sees is looked for on the disk afterwards.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from leak_needles import Needles
from leak_search import Leak, search_bytes, search_unpacked

_COPYING = "sendfile,copy_file_range,splice,io_uring_setup"
_TRACED = f"write,pwrite64,writev,pwritev,pwritev2,mmap,{_COPYING}"
_FILE = rb"\d+<([^>]*)>(?:\(deleted\))?"
_CALL = re.compile(rb"(?:write|pwrite64|writev|pwritev2?)\(" + _FILE + rb", (.*)")
_UNSHOWN = (
    re.compile(rb"(sendfile)\(" + _FILE),
    re.compile(rb"(copy_file_range|splice)\([^,]*, [^,]*, " + _FILE),
    re.compile(rb"(mmap)\([^,]*, \d+, [A-Z_|]*PROT_WRITE[A-Z_|]*, MAP_SHARED[A-Z_|]*, " + _FILE),
    re.compile(rb"(io_uring_setup)\(()"),
)
_NO_FILES = (b"socket:", b"pipe:", b"anon_inode:", b"TCP", b"UNIX", b"UDP", b"NETLINK", b"/dev/null", b"/dev/tty")
_PAGE_BYTES = 4096
_NO_CONTENT = b".db-shm"
"""SQLite maps the index of its log for writing: numbers of pages and checksums, no value of any table."""


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


@dataclass
class Written:
    """What strace saw. ``unshown`` are the calls by which bytes came into a file that it does not show."""

    files: int = 0
    bytes: int = 0
    leaks: list[Leak] = field(default_factory=list)
    unshown: list[str] = field(default_factory=list)


def search_strace(output: Path, needles: Needles) -> Written:
    """Look into what was written to files: all of a file together, and what each write may hold when unpacked.

    A page that was written before is not looked into again: SQLite writes each to its log, and copies it from there.
    """
    written: dict[bytes, bytearray] = defaultdict(bytearray)
    pages: set[bytes] = set()
    result = Written()
    with output.open("rb") as lines:
        for line in lines:
            if call := _CALL.search(line):
                path, shown = _unhexed(call[1]), b"".join(call[2].split(b'"')[1::2])
                if path.startswith(_NO_FILES):
                    continue
                content, size = written[path], len(shown) // len(r"\x2f")
                result.bytes += size
                if size == _PAGE_BYTES and shown in pages:
                    continue
                pages.add(shown)
                data = _unhexed(shown)
                result.leaks += search_unpacked(data, _place(path), needles)
                content += data
            elif name := _unshown(line):
                result.unshown.append(name)
    for path, content in written.items():
        result.leaks += search_bytes(bytes(content), _place(path), needles)
    result.files = len(written)
    return result


def _place(path: bytes) -> str:
    return f"written to {path.decode(errors='replace')}"


def _unshown(line: bytes) -> str:
    """The call and its file; empty where it is another call, or what it writes to is no file."""
    for pattern in _UNSHOWN:
        if call := pattern.search(line):
            path = _unhexed(call[2])
            if not path.startswith(_NO_FILES) and not path.endswith(_NO_CONTENT):
                return f"{call[1].decode()} {path.decode(errors='replace')}".rstrip()
    return ""


def _unhexed(text: bytes) -> bytes:
    """What ``-xx`` shows as \\x2f\\x74\\x6d...; paths may be shown plainly."""
    return bytes.fromhex(text.replace(b"\\x", b"").decode()) if text.startswith(b"\\x") else text


def _found(event: str, args: tuple[Any, ...]) -> Any:
    """The path that an event is about, which may be relative to a folder's descriptor."""
    place = {"os.remove": 1, "os.rename": 2}.get(event)
    folder = -1 if place is None else args[place]
    return args[0] if folder < 0 else f"/proc/self/fd/{folder}/{os.fsdecode(args[0])}"


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
                self._look_into(_found(event, args), event)
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
        self.leaks += search_bytes(data, f"{os.fsdecode(path)} before {event}", self._needles)
