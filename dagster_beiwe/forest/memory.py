"""A private folder in memory for the plain files that Forest needs, gone when the run is.

Forest reads and writes plain files, which must not touch a disk. Each run locks a folder of its own: a killed process
loses its lock, and the next run removes what it left.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dagster_beiwe.environment import BEIWE_FOREST_DISK
from dagster_beiwe.errors import ConfigurationError
from dagster_beiwe.private_files import OTHERS, make_folder

MEMORY = "/dev/shm"  # noqa: S108  # a file system in memory on every Linux
_MOUNTS = Path("/proc/self/mounts")
_IN_MEMORY = frozenset({"tmpfs", "ramfs"})


@contextmanager
def memory_folder(*, disk: str | None = None) -> Iterator[Path]:
    """A new private folder in memory, removed at the end, as are those that killed runs left.

    ``disk`` names a folder on a disk to use instead. Raises ``ConfigurationError`` if there is no file system in
    memory and no disk is named, or if the place belongs to another user.
    """
    above = _above(Path(disk) if disk else _memory())
    with _locked(above, wait=True):
        _remove_abandoned(above)
        folder = Path(tempfile.mkdtemp(dir=above, prefix="run-"))
        descriptor = _lock(folder, wait=False)
    assert descriptor is not None
    try:
        yield folder
    finally:
        shutil.rmtree(folder)
        os.close(descriptor)


def _memory() -> Path:
    found = Path(MEMORY)
    if found.is_dir() and _kind_of_mount(found) in _IN_MEMORY:
        return found
    raise ConfigurationError(
        f"There is no file system in memory at {MEMORY}, and Forest needs plain files, which must not touch a disk. "
        f"Nothing was decrypted. Run on Linux, mount a tmpfs there, or name in {BEIWE_FOREST_DISK} a folder on a disk "
        "where plain files of participants may be."
    )


def _kind_of_mount(path: Path) -> str:
    """The type of the file system that is mounted exactly there; empty if none is."""
    with suppress(OSError):
        for line in _MOUNTS.read_text(encoding="utf-8", errors="replace").splitlines():
            _, place, kind = line.split(" ")[:3]
            if place == str(path):
                return kind
    return ""


def _above(place: Path) -> Path:
    """This user's folder there."""
    folder = place / f"dagster-beiwe-forest-{os.getuid()}"
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
        descriptor = _lock(each, wait=False)
        if descriptor is not None:
            shutil.rmtree(each)
            os.close(descriptor)


@contextmanager
def _locked(folder: Path, *, wait: bool) -> Iterator[None]:
    descriptor = _lock(folder, wait=wait)
    assert descriptor is not None
    try:
        yield
    finally:
        os.close(descriptor)


def _lock(folder: Path, *, wait: bool) -> int | None:
    """A descriptor that holds the lock of a folder until it is closed; None if another process holds it."""
    import fcntl  # not on Windows, where there is no such place either

    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor
