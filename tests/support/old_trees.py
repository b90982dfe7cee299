"""Trees of files as mano, lochness, and scripts leave them, made from what a simulated server has."""

from __future__ import annotations

import locale
import os
import warnings
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import zstandard

from dagster_beiwe.encryption import CrypteaseCipher
from dagster_beiwe.simulator import SimulatedServer, World
from dagster_beiwe.simulator.files import StoredFile


@pytest.fixture(scope="session")
def mano() -> Iterator[ModuleType]:
    """The real mano, which sets a locale at import that not every machine has."""
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patch.setattr(locale, "setlocale", lambda *_: "")
        import mano.sync

        yield mano


def save_with_mano(
    mano: Any,
    server: SimulatedServer,
    folder: Path,
    participants: Collection[str],
    *,
    streams: Collection[str],
    start: str,
    end: str,
    lock: Collection[str] = (),
    passphrase: str | None = None,
) -> None:
    """What mano 0.6 downloads and saves."""
    (study_id,) = server.world.studies
    keyring = {"URL": server.url, "ACCESS_KEY": server.access_key, "SECRET_KEY": server.secret_key}
    umask = os.umask(0o022)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for participant in participants:
            archive = mano.sync.download(
                keyring, study_id, [participant], list(streams), time_start=start, time_end=end
            )
            mano.sync.save(keyring, archive, participant, str(folder), list(lock), passphrase)
    os.umask(umask)


def save_by_hand(
    world: World,
    folder: Path,
    *,
    streams: Collection[str],
    name: Callable[[StoredFile], str] = lambda file: f"{file.member_stem}.{file.extension}",
    compress: bool = False,
    passphrase: str | None = None,
) -> list[Path]:
    """Files of a study under names of one's own, as mano's develop branch stores them or a script unpacks them."""
    (study_id,) = world.studies
    cipher = CrypteaseCipher(passphrase) if passphrase else None
    written = []
    for file in world.files(study_id):
        if file.stream in streams:
            data = file.read()
            path = folder / (name(file) + ".zst" * compress + ".lock" * (passphrase is not None))
            path.parent.mkdir(parents=True, exist_ok=True)
            data = zstandard.ZstdCompressor().compress(data) if compress else data
            encryptor = cipher.encryptor() if cipher else None
            path.write_bytes(encryptor.update(data) + encryptor.finish() if encryptor else data)
            written.append(path)
    return written
