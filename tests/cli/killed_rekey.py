"""Lock a lake anew in a process that dies at its nth change of the new lake: order on standard input."""

from __future__ import annotations

import itertools
import json
import os
import signal
import sys

from dagster_beiwe.encryption import CrypteaseCipher
from dagster_beiwe.lake import BeiweLake, StudyLake
from dagster_beiwe.lake.storage.base import NewFile
from dagster_beiwe.lake.storage.local import LocalStorage
from dagster_beiwe.maintenance.rekey import rekey_study


class DyingStorage(LocalStorage):
    """A folder in which only so many changes are made before the process is killed."""

    count = itertools.count()
    last = 0

    def create(self, path: str, *, otherwise: str | None = None) -> NewFile:
        self._live()
        return super().create(path, otherwise=otherwise)

    def create_new(self, path: str, data: bytes, *, staging: str | None = None) -> None:
        self._live()
        super().create_new(path, data, staging=staging)

    def sync_folder(self, path: str) -> None:
        self._live()
        super().sync_folder(path)

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
    rekey_study(old, new)
