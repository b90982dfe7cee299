"""A cipher that a lab adds: one class, registered by its name, which everything else takes as it takes the others."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import pytest
from filled_lake import PASSPHRASE, fill

from dagster_beiwe.cli import main
from dagster_beiwe.component import BeiweComponent
from dagster_beiwe.encryption import CIPHERS, Bytes, Cipher, CipherKeys, Decryptor, Encryptor
from dagster_beiwe.errors import EncryptionError
from dagster_beiwe.lake import BeiweLake, FileRecord, StudyLake
from dagster_beiwe.maintenance.exposure import find_exposures
from dagster_beiwe.resource import BeiweResource, EnvCredentials
from dagster_beiwe.simulator import SimulatedServer
from dagster_beiwe.studies.study import Study
from dagster_beiwe.tables.store import TableStore

if TYPE_CHECKING:
    from typing_extensions import Self

FRAME = pd.DataFrame({"day": ["Monday"], "hours": [3]})


class ToyCipher(Cipher):
    """XORs with the passphrase's hash: no cipher, but nobody reads it by accident."""

    name = "toy"
    key_name = "passphrase"
    HEAD = b"TOY\x01"

    def __init__(self, passphrase: str) -> None:
        self._pad = hashlib.sha256(passphrase.encode()).digest()

    @classmethod
    def from_keys(cls, keys: CipherKeys) -> Self:
        return cls(keys.passphrase or "")

    @classmethod
    def can_decrypt_with(cls, keys: CipherKeys) -> bool:
        return bool(keys.passphrase)

    @classmethod
    def recognizes(cls, head: bytes) -> bool:
        return head.startswith(cls.HEAD)

    def encryptor(self) -> Encryptor:
        return _ToyFile(self._pad, begins=self.HEAD)

    def decryptor(self) -> Decryptor:
        return _ToyFile(self._pad, ends=self.HEAD)


class _ToyFile:
    def __init__(self, pad: bytes, *, begins: bytes = b"", ends: bytes = b"") -> None:
        self._pad, self._place = pad, 0
        self._begins, self._ends = begins, ends

    def update(self, data: Bytes) -> bytes:
        head, self._begins = self._begins, b""
        skipped = min(len(self._ends), len(data))
        if bytes(data[:skipped]) != self._ends[:skipped]:
            raise EncryptionError("This file is not of the toy cipher.")
        self._ends = self._ends[skipped:]
        plain = bytes(data[skipped:])
        pad = (self._pad * (len(plain) // len(self._pad) + 2))[self._place :][: len(plain)]
        self._place = (self._place + len(plain)) % len(self._pad)
        return head + (int.from_bytes(plain, "big") ^ int.from_bytes(pad, "big")).to_bytes(len(plain), "big")

    def finish(self) -> bytes:
        return self.update(b"")


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CIPHERS, ToyCipher.name, ToyCipher)


@pytest.fixture
def lake(environment: Path, server: SimulatedServer, study_id: str) -> StudyLake:
    """A study that YAML configures with the new cipher, fetched, and with a table."""
    component = BeiweComponent.resolve_from_yaml(f"studies: [{{study: {study_id}, encryption: toy}}]")
    (config,) = component.studies
    study = Study(id=study_id, name="Sleep", key="sleep", config=config)
    lake = BeiweResource(credentials=EnvCredentials()).study_lake(study)
    fill(server, lake)
    TableStore.of_study(lake).write(["lab", "hours"], FRAME)
    return lake


def records(lake: StudyLake) -> list[tuple[str, FileRecord]]:
    return [(name, file) for name in lake.participants() for each in lake.manifests(name) for file in each.files]


def contents(lake: StudyLake) -> set[bytes]:
    return {lake.read(participant, record) for participant, record in records(lake)}


def encryptions(lake: StudyLake) -> set[str]:
    return {record.encryption for _, record in records(lake)}


def test_the_schema_lists_it() -> None:
    """So that an editor offers it, and `dg check yaml` accepts it."""
    model = BeiweComponent.get_model_cls()
    assert model is not None
    schema = model.model_json_schema()["$defs"]["StudyInYamlModel"]["properties"]["encryption"]
    assert schema["else"]["enum"] == ["cryptease", "age", "toy", "none"]


def test_all_is_fetched_and_read(lake: StudyLake, server: SimulatedServer, study_id: str) -> None:
    """Files and tables; on the disk nothing is readable, as the check ``protected`` finds."""
    assert encryptions(lake) == {"toy"}
    assert contents(lake) == {file.read() for file in server.world.files(study_id)}
    pd.testing.assert_frame_equal(TableStore.of_study(lake).read(["lab", "hours"]), FRAME)
    found = find_exposures(lake)
    assert (found.findings, found.tables) == ([], 1)


def test_a_file_that_is_not_of_it_is_exposed(lake: StudyLake, environment: Path) -> None:
    """The cipher knows its files by their first bytes."""
    (participant, record) = records(lake)[0]
    (environment / lake.folder(participant, record.path)).write_bytes(b"timestamp,UTC time,x\n")
    assert [each.path for each in find_exposures(lake).findings] == [lake.folder(participant, record.path)]


def test_commands_take_it(
    lake: StudyLake, environment: Path, server: SimulatedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """`check` accepts the passphrase, `verify` reads all, `rekey` copies into another cipher."""
    assert main(["check"]) == 0
    assert "passphrase accepted" in capsys.readouterr().out
    assert main(["verify", "--json"]) == 0
    (study, *_) = map(json.loads, capsys.readouterr().out.splitlines())
    assert study["intact"]


def test_rekey_takes_it(
    lake: StudyLake, environment: Path, server: SimulatedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the new cipher to the default one."""
    monkeypatch.setenv("BEIWE_LAKE_PASSPHRASE_NEW", "new")
    assert main(["rekey", "--to", str(environment.parent / "new")]) == 0
    new = BeiweLake(environment.parent / "new").study(lake.study_id, passphrase="new")
    assert encryptions(new) == {"cryptease"}
    assert contents(new) == contents(lake)
    pd.testing.assert_frame_equal(TableStore.of_study(new).read(["lab", "hours"]), FRAME)


def test_a_wrong_passphrase_is_an_error(lake: StudyLake, environment: Path) -> None:
    """As with the other ciphers: what was read is not used."""
    wrong = BeiweLake(environment).study(lake.study_id, passphrase=PASSPHRASE, cipher=ToyCipher("wrong"))
    with pytest.raises(EncryptionError, match="passphrase that was given does not decrypt"):
        wrong.read(*records(lake)[0])
