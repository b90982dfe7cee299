"""A cipher is found by its name, and no name means that files are stored unencrypted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dagster_beiwe import StudyConfig
from dagster_beiwe.encryption import CIPHERS, Cipher, CipherKeys, CrypteaseCipher, cipher_by_name
from dagster_beiwe.errors import BeiweError, ConfigurationError, PassphraseMissingError
from dagster_beiwe.lake import BeiweLake
from dagster_beiwe.resource import BeiweResource, EnvCredentials
from dagster_beiwe.studies.study import Study

STUDY = "CoreCoreCoreCoreCoreCore"
PASSPHRASE = "correct horse battery staple"


def study_with(config: StudyConfig) -> Study:
    return Study(id=STUDY, name=STUDY, key="core", config=config)


MISSPELT = ["", "none", "None", "plain", "no", "Cryptease", "cryptease ", "cryptaese", "aes", "age\0"]


class Nameless(CrypteaseCipher):
    """Manifests would call its files unencrypted, and nobody could read them."""

    name = "none"


class Empty(CrypteaseCipher):
    """As a cipher with no recipients might be: nothing, as far as ``if`` can tell."""

    name = "empty"

    def __len__(self) -> int:
        return 0


@pytest.mark.parametrize("name", MISSPELT)
def test_no_misspelled_name_stores_plain_text(tmp_path: Path, name: str) -> None:
    """It raises, names the ciphers, and says how plain files are asked for; nothing is made."""
    with pytest.raises(ConfigurationError, match=r"cryptease, age.*`cipher=None`"):
        BeiweLake(tmp_path / "lake").study(STUDY, passphrase=PASSPHRASE, cipher=name)
    assert not (tmp_path / "lake").exists()


def test_age_by_name_says_how_recipients_are_given(tmp_path: Path) -> None:
    """A passphrase is not enough for it."""
    with pytest.raises(ConfigurationError, match=r"AgeCipher\(recipients="):
        BeiweLake(tmp_path).study(STUDY, passphrase=PASSPHRASE, cipher="age")


@pytest.mark.parametrize(
    "wrong", [False, 0, b"cryptease", CrypteaseCipher, Nameless(PASSPHRASE)], ids=lambda each: repr(each)[:12]
)
def test_what_is_no_cipher_is_refused(tmp_path: Path, wrong: Any) -> None:
    """Whatever ``if`` makes of it."""
    with pytest.raises(ConfigurationError, match="cannot encrypt a study"):
        BeiweLake(tmp_path).study(STUDY, passphrase=PASSPHRASE, cipher=wrong)


def test_a_cipher_that_looks_empty_encrypts(tmp_path: Path) -> None:
    """Only ``None`` is no cipher."""
    form = BeiweLake(tmp_path).study(STUDY, passphrase=PASSPHRASE, cipher=Empty(PASSPHRASE)).form("gps")
    assert (form.encryption, form.suffix) == ("empty", ".zst.lock")


@pytest.mark.parametrize("passphrase", [None, ""])
def test_cryptease_without_a_passphrase_is_an_error(tmp_path: Path, passphrase: str | None) -> None:
    """Before anything is downloaded."""
    with pytest.raises(PassphraseMissingError, match="`cipher=None`"):
        BeiweLake(tmp_path).study(STUDY, passphrase=passphrase)


def test_none_is_the_way_to_plain_files(tmp_path: Path) -> None:
    """And a misspelled compression is no way to anything."""
    lake = BeiweLake(tmp_path)
    assert lake.study(STUDY, passphrase=None, cipher=None).form("gps").encryption == "none"
    wrong: Any = "gzip"
    with pytest.raises(ConfigurationError, match="no compression 'gzip'"):
        lake.study(STUDY, passphrase=PASSPHRASE, compression=wrong)


@pytest.mark.parametrize("name", sorted({*MISSPELT} - {"none"}))
def test_a_study_is_configured_with_a_name_that_exists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """In its configuration, and in facts that were built by hand or by another version."""
    with pytest.raises(ConfigurationError, match="encryption"):
        StudyConfig(STUDY, encryption=name)
    monkeypatch.setenv("BEIWE_LAKE", str(tmp_path))
    monkeypatch.setenv("BEIWE_LAKE_PASSPHRASE", PASSPHRASE)
    beiwe = BeiweResource(credentials=EnvCredentials())
    with pytest.raises(ConfigurationError, match="no cipher named"):
        beiwe.study_lake(study_with(StudyConfig.model_construct(study=STUDY, encryption=name)))


def test_what_can_be_configured_is_what_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every name of the registry works or says what it needs; ``none`` is the configuration's own word for ``None``."""
    monkeypatch.setenv("BEIWE_LAKE", str(tmp_path))
    monkeypatch.delenv("BEIWE_LAKE_PASSPHRASE", raising=False)
    beiwe = BeiweResource(credentials=EnvCredentials())
    assert beiwe.study_lake(study_with(StudyConfig(STUDY, encryption="none"))).form("gps").cipher is None
    for name, kind in CIPHERS.items():
        assert name == kind.name
        assert StudyConfig(STUDY, encryption=name, recipients=["age1"]).encryption == name
        with pytest.raises(BeiweError):
            cipher_by_name(name, CipherKeys())


@pytest.mark.parametrize("kind", [*CIPHERS.values(), Cipher])
def test_ciphers_recognize_what_is_readable(kind: type[Cipher]) -> None:
    """Text, compressed text, and nearly nothing are none of theirs."""
    for head in (b"timestamp,UTC time,x\n", b"\x28\xb5\x2f\xfd and more", b"1"):
        assert not kind.recognizes(head)
