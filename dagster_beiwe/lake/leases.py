"""Locks and signs of life for object stores, which have neither.

A lock is a row of numbered objects, ``.lease/<n>``. Whoever creates the next number, which the store lets only one do,
holds the lock; an emptied one is free, and one that was not renewed in time counts as free. Numbers only grow, and only
the lower ones are removed, so a holder that was thought dead can't take the lock from, or give it back for, another.

Whether a lease has run out is judged by the store's clock alone: when it was last written, and what time it is there.
Whether to go on is judged by the holder with its own clock, and earlier.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Protocol

from dagster_beiwe.errors import LakeUnavailableError

if TYPE_CHECKING:
    from typing_extensions import Self

logger = logging.getLogger("dagster_beiwe")

_FOLDER = ".lease"
_SAFE_SHARE = 0.75
"""Of the time after which others may take over, the share in which a holder still acts: the rest is for requests that
are on their way."""
_RENEWAL_SHARE = 0.25
_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 2.0


@dataclass(frozen=True, kw_only=True)
class Timing:
    """How long things last, and the clocks they are measured with.

    A lock that was not renewed for ``lease_seconds`` may be taken over; ``wait_seconds`` is how long to wait for one
    whose holder is alive. A run is taken for dead ``dead_seconds`` after its last sign of life. ``store_clock`` gives
    the store's time in seconds; without one it is read off an object written for that.
    """

    lease_seconds: float = 120
    wait_seconds: float = 1800
    beat_seconds: float = 60
    dead_seconds: float = 600
    clock: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep
    store_clock: Callable[[], float] | None = None


class Objects(Protocol):
    """What leases need of an object store. ``put`` with ``exclusive`` raises ``FileExistsError``."""

    def describe(self) -> str: ...
    def read(self, path: str) -> bytes: ...
    def list(self, path: str) -> list[str]: ...
    def put(self, path: str, data: bytes, *, exclusive: bool = False) -> None: ...
    def remove(self, path: str) -> None: ...
    def age_seconds(self, path: str) -> float | None: ...


class Lease:
    """The lock of one folder, for one holder."""

    def __init__(self, objects: Objects, folder: str, timing: Timing) -> None:
        self._objects, self._folder, self._timing = objects, folder, timing
        self._token = os.urandom(8).hex()
        self._number = 0
        self._renewals = 0
        self._renewed_at = 0.0
        self._older: list[int] = []

    def acquire(self) -> None:
        """Wait until the lock is free, and take it. Raises ``LakeUnavailableError`` if that takes too long."""
        clock, give_up_at = self._timing.clock, self._timing.clock() + self._timing.wait_seconds
        pause, seen, free_at = _FIRST_PAUSE_SECONDS, (0, b""), 0.0
        while True:
            numbers = self._numbers()
            highest = max(numbers, default=0)
            try:
                content = self._objects.read(self._path(highest)) if highest else b""
            except FileNotFoundError:  # superseded since it was listed
                continue
            if highest == self._number and self._token.encode() in content:
                return  # created, although the store's answer to that was lost
            if content and (highest, content) != seen:
                seen, free_at = (highest, content), clock() + self._left_seconds(highest, content)
            if content and clock() < free_at:
                if clock() >= give_up_at:
                    raise self._held_too_long()
                self._timing.sleep(pause)
                pause = min(pause * 1.5, _LONGEST_PAUSE_SECONDS)
            elif self._take(highest + 1):
                self._older = [number for number in numbers if number <= highest]
                return

    def check(self) -> None:
        """Raise ``LakeUnavailableError`` if the lock may have been taken over, so that nothing more is written."""
        passed = self._timing.clock() - self._renewed_at
        if passed >= self._timing.lease_seconds * _SAFE_SHARE:
            raise LakeUnavailableError(
                f"Expected to renew the lock on {self._folder!r} in the lake at {self._objects.describe()} every few "
                f"seconds, got {passed:.0f} s without it; nothing more was written under it, and a commit that was "
                "begun is finished by the next run. The machine was suspended, or the store did not answer. Run the "
                "same partitions again."
            )

    def keep(self) -> None:
        """Renew the lock if it is time. Raises like ``check``."""
        self.check()
        now = self._timing.clock()
        if now - self._renewed_at >= self._timing.lease_seconds * _RENEWAL_SHARE:
            self._renewals += 1
            self._objects.put(self._path(self._number), self._content())
            self._renewed_at = now

    def release(self) -> None:
        """Give the lock back. It runs out by itself where that fails."""
        try:
            self.check()
            self._objects.put(self._path(self._number), b"")
            for number in self._older:
                self._objects.remove(self._path(number))
        except LakeUnavailableError as error:
            logger.warning("A lock of the lake was not given back, it runs out by itself: %s", error)

    def prove_exclusive(self) -> None:
        """Check that the store refuses to create what is there. The lock is held."""
        try:
            self._objects.put(self._path(self._number), self._content(), exclusive=True)
        except FileExistsError:
            return
        raise LakeUnavailableError(
            f"Expected that the object store at {self._objects.describe()} refuses to create an object that is there, "
            "got that it replaced it; nothing was committed. Two runs could overwrite each other's work there. Use a "
            "store (or a newer version of it) with conditional writes: `If-None-Match` in S3's terms."
        )

    def _take(self, number: int) -> bool:
        self._number, self._renewed_at = number, self._timing.clock()
        try:
            self._objects.put(self._path(number), self._content(), exclusive=True)
        except FileExistsError:
            return False
        # The number may have been used and removed since the list was made; then there is a higher one.
        if max(self._numbers(), default=0) == number:
            return True
        self._objects.remove(self._path(number))
        return False

    def _numbers(self) -> list[int]:
        return [int(name) for name in self._objects.list(f"{self._folder}/{_FOLDER}") if name.isdecimal()]

    def _left_seconds(self, number: int, content: bytes) -> float:
        age = self._objects.age_seconds(self._path(number))
        try:
            seconds = float(json.loads(content)["seconds"])
        except (ValueError, KeyError, TypeError):
            seconds = self._timing.lease_seconds
        return 0.0 if age is None else seconds - age

    def _path(self, number: int) -> str:
        return f"{self._folder}/{_FOLDER}/{number:08}"

    def _content(self) -> bytes:
        document = {"token": self._token, "renewals": self._renewals, "seconds": self._timing.lease_seconds}
        return json.dumps(document).encode()

    def _held_too_long(self) -> LakeUnavailableError:
        return LakeUnavailableError(
            f"Expected the lock on {self._folder!r} in the lake at {self._objects.describe()} within "
            f"{self._timing.wait_seconds:.0f} s, got a run that holds it and is alive; nothing was written. Let the "
            "other run of this participant end, then run the same partitions again."
        )


class SignOfLife:
    """Rewrites an object again and again while the block runs, and removes it at the end."""

    def __init__(self, objects: Objects, path: str, timing: Timing) -> None:
        self._objects, self._path, self._timing = objects, path, timing
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="beiwe-sign-of-life", daemon=True)
        self._given_at = 0.0

    def __enter__(self) -> Self:
        self._give()
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        self._thread.join()
        self._objects.remove(self._path)

    def check(self) -> None:
        """Raise ``LakeUnavailableError`` if others may have taken this run for dead, and removed what it staged."""
        passed = self._timing.clock() - self._given_at
        if passed >= self._timing.dead_seconds * _SAFE_SHARE:
            raise LakeUnavailableError(
                f"Expected to give a sign of life to the lake at {self._objects.describe()} every "
                f"{self._timing.beat_seconds:.0f} s, got {passed:.0f} s without it; nothing more was written, because "
                "other runs may have removed this one's files. The machine was suspended, or the store did not "
                "answer. Run the same partitions again."
            )

    def _give(self) -> None:
        now = self._timing.clock()
        self._objects.put(self._path, datetime.now(timezone.utc).isoformat(timespec="seconds").encode())
        self._given_at = now

    def _run(self) -> None:
        while not self._stop.wait(self._timing.beat_seconds):
            try:
                self._give()
            except LakeUnavailableError as error:
                logger.warning("A sign of life could not be written, it is tried again: %s", error)
