"""Lock a lake anew in a process that dies at its nth change of the new lake: order on standard input."""

from __future__ import annotations

import itertools
import json
import os
import signal
import sys
from typing import BinaryIO

from dagster_beiwe.encryption import CrypteaseCipher
from dagster_beiwe.lake import BeiweLake, StudyLake
from dagster_beiwe.lake.rekey import rekey_study
from dagster_beiwe.lake.storage import LocalStorage


class DyingStorage(LocalStorage):
    """A folder in which only so many changes are made before the process is killed."""

    count = itertools.count()
    last = 0

    def for_run(self, token: str) -> DyingStorage:
        return DyingStorage(self.root, run=token)

    def create(self, path: str) -> BinaryIO:
        self._live()
        return super().create(path)

    def move(self, source: str, target: str) -> None:
        self._live()
        super().move(source, target)

    def delete(self, path: str) -> None:
        self._live()
        super().delete(path)

    def _live(self) -> None:
        if next(self.count) >= self.last:
            os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    order = json.load(sys.stdin)
    DyingStorage.last = order["last"]
    old = BeiweLake(order["old"]).study(order["study_id"], passphrase=order["passphrase"])
    passphrase, storage = order["new_passphrase"], DyingStorage(order["new"])
    new = StudyLake(storage, order["study_id"], passphrase=passphrase, cipher=CrypteaseCipher(passphrase))
    rekey_study(old, new, run_id="killed")
