"""A private folder in memory for the plain files that another program needs, gone when the run is.

Plain files must not touch a disk. Each run locks a folder of its own: a killed process loses its lock, and the next run
removes what it left.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dagster_beiwe.errors import ConfigurationError
from dagster_beiwe.private_files import OTHERS, lock_folder, make_folder
from dagster_beiwe.processes import uninterrupted

MEMORY = "/dev/shm"  # noqa: S108  # a file system in memory on every Linux
_MOUNTS = Path("/proc/self/mounts")
_IN_MEMORY = frozenset({"tmpfs", "ramfs"})


@contextmanager
def memory_folder(purpose: str, *, disk: str | None = None, otherwise: str) -> Iterator[Path]:
    """A new private folder in memory, removed at the end, as are those that killed runs of the same purpose left.

    ``disk`` names a folder on a disk to use instead; ``otherwise`` tells, for a message, how the user names one. Raises
    ``ConfigurationError`` if there is no file system in memory and no disk is named, or if the place belongs to another
    user.
    """
    above = _above(Path(disk).expanduser().absolute() if disk else _memory(otherwise), purpose)
    with _locked(above, wait=True):
        _remove_abandoned(above)
        folder = Path(tempfile.mkdtemp(dir=above, prefix="run-"))
        descriptor = lock_folder(folder, wait=False)
    assert descriptor is not None
    try:
        yield folder
    finally:
        remove_folder(folder)
        os.close(descriptor)


def remove_folder(folder: Path) -> None:
    """Remove a folder with all that is in it. A signal that would end the process waits until that is done."""
    with uninterrupted():
        shutil.rmtree(folder)


def _memory(otherwise: str) -> Path:
    found = Path(MEMORY)
    if found.is_dir() and _kind_of_mount(found) in _IN_MEMORY:
        return found
    raise ConfigurationError(
        f"There is no file system in memory at {MEMORY}, and plain files must not touch a disk. Nothing was decrypted. "
        f"Run on Linux, mount a tmpfs there, or {otherwise} a folder on a disk where plain files of participants may "
        "be."
    )


def _kind_of_mount(path: Path) -> str:
    """The type of the file system that is mounted exactly there; empty if none is."""
    with suppress(OSError):
        for line in _MOUNTS.read_text(encoding="utf-8", errors="replace").splitlines():
            _, place, kind = line.split(" ")[:3]
            if place == str(path):
                return kind
    return ""


def _above(place: Path, purpose: str) -> Path:
    """This user's folder there."""
    folder = place / f"dagster-beiwe-{purpose}-{os.getuid()}"
    make_folder(folder)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & OTHERS:
        raise ConfigurationError(
            f"{folder} is not a folder of this user alone. Nothing was decrypted. Remove it, after a look at who made "
            "it."
        )
    return folder


def _remove_abandoned(above: Path) -> None:
    """Remove the folders that no living process has locked."""
    for each in above.iterdir():
        with suppress(FileNotFoundError):  # its process has ended and removed it
            descriptor = lock_folder(each, wait=False)
            if descriptor is not None:
                shutil.rmtree(each)
                os.close(descriptor)


@contextmanager
def _locked(folder: Path, *, wait: bool) -> Iterator[None]:
    descriptor = lock_folder(folder, wait=wait)
    assert descriptor is not None
    try:
        yield
    finally:
        os.close(descriptor)
