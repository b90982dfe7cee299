"""A lake whose study changed its cipher: all that was encrypted, files and tables, is read, copied and told apart."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest
from filled_lake import PASSPHRASE, fill

from dagster_beiwe.cli import main
from dagster_beiwe.encryption import AgeCipher, Cipher, CrypteaseCipher
from dagster_beiwe.errors import EncryptionError, IntegrityError
from dagster_beiwe.lake import BeiweLake, FileRecord, StudyLake
from dagster_beiwe.maintenance.exposure import find_exposures
from dagster_beiwe.resource import BeiweResource, EnvCredentials
from dagster_beiwe.simulator import SimulatedServer
from dagster_beiwe.studies.config import StudyConfig
from dagster_beiwe.studies.study import Study
from dagster_beiwe.tables.store import TableStore

x25519 = pytest.importorskip("pyrage").x25519

IDENTITY = str(x25519.Identity.generate())
RECIPIENT = str(x25519.Identity.from_str(IDENTITY).to_public())
STRANGER = str(x25519.Identity.generate())
BY_CIPHER = {"cryptease": "anna1111", "age": "bert2222"}
FRAME = pd.DataFrame({"who": ["anna1111"], "days": [14]})


@pytest.fixture(scope="session")
def two_ciphers(server: SimulatedServer, study_id: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake whose study went over from cryptease to age, to be copied."""
    folder = tmp_path_factory.mktemp("ciphers") / "lake"
    ciphers: list[Cipher] = [CrypteaseCipher(PASSPHRASE), AgeCipher(recipients=[RECIPIENT])]
    for cipher in ciphers:
        lake = BeiweLake(folder).study(study_id, passphrase=PASSPHRASE, cipher=cipher)
        fill(server, lake, [BY_CIPHER[cipher.name]])
        TableStore.of_study(lake).write(["lab", cipher.name], FRAME)
    return folder


@pytest.fixture
def folder(environment: Path, two_ciphers: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The lake's folder. Passphrase and identity are in the environment."""
    shutil.copytree(two_ciphers, environment)
    (tmp_path / "key").write_text(f"# created: long ago\n{IDENTITY}\n")
    monkeypatch.setenv("BEIWE_AGE_IDENTITY", str(tmp_path / "key"))
    return environment


def opened(folder: Path, study_id: str, *, identity: str | None = IDENTITY, cipher: Cipher | None = None) -> StudyLake:
    writer = cipher or AgeCipher(recipients=[RECIPIENT])
    return BeiweLake(folder).study(study_id, passphrase=PASSPHRASE, cipher=writer, identity=identity)


def records(lake: StudyLake) -> list[tuple[str, FileRecord]]:
    return [(name, file) for name in lake.participants() for each in lake.manifests(name) for file in each.files]


def contents(lake: StudyLake) -> set[bytes]:
    return {lake.read(participant, record) for participant, record in records(lake)}


def served(server: SimulatedServer, study_id: str) -> set[bytes]:
    return {file.read() for file in server.world.files(study_id)}


@pytest.mark.parametrize("encryption", ["age", "cryptease", "none"])
def test_whatever_a_study_is_encrypted_with_now_all_is_read(
    folder: Path, server: SimulatedServer, study_id: str, encryption: str
) -> None:
    """Files and tables, by what the environment gives."""
    config = StudyConfig(study_id, encryption=encryption, recipients=[RECIPIENT])
    study = Study(id=study_id, name="Sleep", key="sleep", config=config)
    lake = BeiweResource(credentials=EnvCredentials()).study_lake(study)
    assert lake.form("gps").encryption == encryption
    assert contents(lake) == served(server, study_id)
    for name in BY_CIPHER:
        pd.testing.assert_frame_equal(TableStore.of_study(lake).read(["lab", name]), FRAME)


def test_a_run_encrypts_anew_what_another_cipher_encrypted(
    folder: Path, server: SimulatedServer, study_id: str
) -> None:
    """Also back from age to cryptease, with the identity still there."""
    lake = opened(folder, study_id, cipher=CrypteaseCipher(PASSPHRASE))
    fill(server, lake)
    assert {record.encryption for _, record in records(lake)} == {"cryptease"}
    assert contents(opened(folder, study_id, identity=None)) == served(server, study_id)


@pytest.mark.parametrize("recipients", [[], ["--recipient", RECIPIENT]], ids=["cryptease", "age"])
def test_rekey_takes_all_ciphers_and_writes_one(
    folder: Path, server: SimulatedServer, study_id: str, recipients: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tables included; a second call finds nothing left to copy, though nobody there can read what age encrypts."""
    monkeypatch.setenv("BEIWE_LAKE_PASSPHRASE_NEW", "new")
    place = folder.parent / "new"
    for _ in range(2):
        assert main(["rekey", "--to", str(place), *recipients]) == 0
    new = BeiweLake(place).study(study_id, passphrase="new", identity=IDENTITY)
    assert {record.encryption for _, record in records(new)} == {"age" if recipients else "cryptease"}
    assert contents(new) == served(server, study_id)
    for name in BY_CIPHER:
        pd.testing.assert_frame_equal(TableStore.of_study(new).read(["lab", name]), FRAME)


def test_rekey_to_age_needs_no_private_key(lake: StudyLake, environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that has the passphrase only makes a lake that it cannot read."""
    monkeypatch.setenv("BEIWE_LAKE_PASSPHRASE_NEW", "new")
    TableStore.of_study(lake).write(["lab", "daily"], FRAME)
    place = environment.parent / "new"
    assert main(["rekey", "--to", str(place), "--recipient", RECIPIENT]) == 0
    new = TableStore.of_study(BeiweLake(place).study(lake.study_id, passphrase="new"))
    with pytest.raises(EncryptionError, match="identity was not given"):
        new.read(["lab", "daily"])


def test_protected_tells_every_cipher_from_what_is_readable(folder: Path, study_id: str) -> None:
    """Whatever a study is encrypted with now, what its former cipher encrypted is not readable."""
    lakes = [opened(folder, study_id), opened(folder, study_id, cipher=CrypteaseCipher(PASSPHRASE))]
    for lake in lakes:
        found = find_exposures(lake)
        assert (found.findings, found.tables) == ([], 2)
    (participant, record) = records(lakes[0])[0]
    victims = [folder / lakes[0].folder(participant, record.path), next(folder.glob("*/.tables/lab/age~*.parquet"))]
    victims[0].write_bytes(b"timestamp,UTC time,x\n")
    victims[1].write_bytes(b"PAR1 and some rows")
    for lake in lakes:
        assert {folder / each.path for each in find_exposures(lake).findings} == set(victims)


@pytest.mark.parametrize(("encryption", "key"), [("age", "identity"), ("cryptease", "passphrase")])
def test_a_wrong_key_is_called_that_and_damage_is_called_damage(
    folder: Path, study_id: str, encryption: str, key: str
) -> None:
    """Of files and of tables; what is damaged is so with every key."""
    right = opened(folder, study_id)
    wrong = opened(folder, study_id, identity=STRANGER, cipher=CrypteaseCipher("another"))
    person = BY_CIPHER[encryption]
    record = next(record for participant, record in records(right) if participant == person)
    for read in (
        lambda: wrong.read(person, record),
        lambda: TableStore.of_study(wrong).read(["lab", encryption]),
    ):
        with pytest.raises(EncryptionError, match=f"the {key} that was given does not decrypt it"):
            read()
    path = folder / right.folder(person, record.path)
    path.write_bytes(path.read_bytes()[:-1])
    for lake in (right, wrong):
        with pytest.raises(IntegrityError, match="changed or damaged"):
            lake.read(person, record)


def test_a_missing_identity_is_asked_for(folder: Path, study_id: str) -> None:
    """By the name of what is missing and of where to set it."""
    lake = opened(folder, study_id, identity=None)
    (participant, record) = next(each for each in records(lake) if each[1].encryption == "age")
    with pytest.raises(EncryptionError, match=r"identity was not given.*BEIWE_AGE_IDENTITY"):
        lake.read(participant, record)


@pytest.mark.parametrize("content", [None, "age1" + "q" * 58, "AGE-SECRET-KEY-1" + "Q" * 58, ""])
def test_check_tells_of_a_private_key_that_cannot_be_used(
    lake: StudyLake,
    tmp_path: Path,
    content: str | None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A file that is not there, or that holds none; and says when it can be used."""
    monkeypatch.setenv("BEIWE_AGE_IDENTITY", str(tmp_path / "key"))
    if content is not None:
        (tmp_path / "key").write_text(content)
    assert main(["check"]) == 1
    assert "Identity    BEIWE_AGE_IDENTITY names" in capsys.readouterr().out
    (tmp_path / "key").write_text(IDENTITY)
    assert main(["check"]) == 0
    assert "Identity    the private key of age can be read" in capsys.readouterr().out


@pytest.mark.parametrize("form", ["tree", "csv"])
def test_export_that_cannot_decrypt_leaves_nothing(
    folder: Path, form: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither without an identity nor with a wrong one."""
    command = ["export", "--study", "Sleep", "--participant", BY_CIPHER["age"], "--format", form, "--to"]
    (tmp_path / "key").write_text(STRANGER)
    for _ in range(2):
        assert main([*command, str(tmp_path / "plain")]) == 1
        assert "EncryptionError" in capsys.readouterr().err
        assert not (tmp_path / "plain").exists()
        monkeypatch.delenv("BEIWE_AGE_IDENTITY", raising=False)
