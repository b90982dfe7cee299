"""Which passphrase locks a study: never a guess, and found without the keys of a server where that is possible."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from labs import Impatient
from worlds import PASSPHRASE

from dagster_beiwe import BeiweResource, EnvCredentials, KeyringCredentials, Study, StudyConfig
from dagster_beiwe.credentials import write_keyring
from dagster_beiwe.errors import CredentialsError, PassphraseMissingError, ServerError
from dagster_beiwe.resource import credentials_from_environment
from dagster_beiwe.simulator import SimulatedServer
from dagster_beiwe.studies.choice import identify_study
from dagster_beiwe.studies.discovery import StudyMemory

OWN = "the study's own passphrase"
FILE_PASSPHRASE = "the keyring's passphrase"


class Lab:
    """A lab with a keyring file in a folder, for a simulated server."""

    def __init__(self, server: SimulatedServer, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._server, self._file = server, file
        monkeypatch.setenv("NRG_KEYRING_PASS", FILE_PASSPHRASE)
        monkeypatch.setenv("BEIWE_KEYRING_FILE", str(file))
        (self.study_id,) = server.world.studies

    def keep(self, secrets: Mapping[str, str]) -> BeiweResource:
        """A resource whose keyring has these passphrases."""
        keys = {"ACCESS_KEY": self._server.access_key, "SECRET_KEY": self._server.secret_key}
        section = {"URL": self._server.url, **keys, "SECRETS": dict(secrets)}
        write_keyring(self._file, {"lab": section}, FILE_PASSPHRASE)
        return BeiweResource(credentials=KeyringCredentials(section="lab"))

    def study(self, **fields: str) -> Study:
        """As a container has it: configured wholly, while nothing is remembered."""
        config = StudyConfig(self.study_id, key="sleep", start="2024-03-01", **fields)
        return identify_study(config, StudyMemory("beiwe").studies())


@pytest.fixture
def lab(server: SimulatedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    return Lab(server, tmp_path / "keyring.enc", monkeypatch)


def test_a_study_without_a_known_name_is_locked_with_its_own_passphrase(lab: Lab, server: SimulatedServer) -> None:
    """The server is asked once for the name; the key, which is the lab's word, finds no passphrase."""
    beiwe = lab.keep({"Sleep and Mood": OWN, "sleep": "of another study that is called like this key"})
    server.forget_requests()
    assert [beiwe.passphrase(lab.study()) for _ in range(2)] == [OWN, OWN]
    assert [record.route for record in server.requests] == ["/get-studies/v1"]


@pytest.mark.parametrize("by", ["id", "name"])
def test_a_study_that_says_enough_needs_no_server(lab: Lab, server: SimulatedServer, by: str) -> None:
    """SECRETS may have it under its id; or the configuration tells the name."""
    beiwe = lab.keep({lab.study_id if by == "id" else "Sleep and Mood": OWN})
    server.stop()
    assert beiwe.passphrase(lab.study() if by == "id" else lab.study(name="Sleep and Mood")) == OWN


def test_a_study_without_an_entry_takes_the_lakes_passphrase(lab: Lab) -> None:
    """So do tables of no study."""
    beiwe = lab.keep({"Another Study": OWN})
    assert beiwe.passphrase(lab.study()) == PASSPHRASE
    assert beiwe.passphrase() == PASSPHRASE


def test_a_name_that_can_not_be_known_is_an_error(lab: Lab, server: SimulatedServer) -> None:
    """A study that is locked with a guessed passphrase stays locked with it."""
    beiwe = lab.keep({"Sleep and Mood": OWN})
    server.world.hide_study(lab.study_id)
    with pytest.raises(PassphraseMissingError, match="`name`"):
        beiwe.passphrase(lab.study())
    server.stop()
    with pytest.raises(ServerError):
        Impatient(credentials=KeyringCredentials(section="lab")).passphrase(lab.study())


def test_keys_in_the_environment_go_with_passphrases_in_a_keyring(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both are used where both are set."""
    lab.keep({"Sleep and Mood": OWN})
    monkeypatch.setenv("BEIWE_KEYRING_SECTION", "lab")
    credentials = credentials_from_environment({"BEIWE_URL": "set", "BEIWE_KEYRING_SECTION": "lab"})
    assert isinstance(credentials, EnvCredentials)
    assert BeiweResource(credentials=credentials).passphrase(lab.study()) == OWN


def test_missing_keys_tell_why_the_keyring_has_none(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """An address in the environment means that the keys are there too."""
    lab.keep({})
    monkeypatch.setenv("BEIWE_KEYRING_SECTION", "lab")
    monkeypatch.delenv("BEIWE_ACCESS_KEY")
    with pytest.raises(CredentialsError, match="As BEIWE_URL is set, BEIWE_KEYRING_SECTION gives study passphrases"):
        EnvCredentials().load()


def test_who_only_reads_needs_no_keys(lab: Lab, study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lake and its passphrase are enough, and so is a section with nothing but SECRETS."""
    lab.keep({"Sleep and Mood": OWN})
    for name in ("BEIWE_URL", "BEIWE_ACCESS_KEY", "BEIWE_SECRET_KEY"):
        monkeypatch.delenv(name)
    beiwe = BeiweResource(credentials=EnvCredentials())
    assert beiwe.passphrase(study) == PASSPHRASE
    assert beiwe.study_lake(study).participants() == []
    monkeypatch.setenv("BEIWE_KEYRING_SECTION", "lab")
    assert beiwe.passphrase(study) == OWN
