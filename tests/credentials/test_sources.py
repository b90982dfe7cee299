"""Where a secret is found: one order of places, each told without the value."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import keyring
import pytest
from keyring.backend import KeyringBackend
from keyring.errors import KeyringLocked

from dagster_beiwe.automation.notices import Notices
from dagster_beiwe.component.fields import Deployment
from dagster_beiwe.credentials import credentials_from_env, credentials_from_keyring, find_secret, write_keyring
from dagster_beiwe.credentials import keychain as keychain_module
from dagster_beiwe.credentials.keychain import read_keychain, write_keychain
from dagster_beiwe.errors import CredentialsError
from dagster_beiwe.opening import LakeOpener, load_credentials, secret_sources
from dagster_beiwe.resource import BeiweResource, EnvCredentials, KeyringCredentials, credentials_from_environment

NAME = "BEIWE_LAKE_PASSPHRASE"
VALUE = " canary with spaces "


class Keychain(KeyringBackend):
    """A system's keychain: as good as one, for as long as a test runs."""

    priority = 5

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.held: dict[tuple[str, str], str] = {}
        self.opened = threading.Event()
        self.opened.set()

    def get_password(self, service: str, username: str) -> str | None:
        self.opened.wait()
        return self.held.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.held[service, username] = password


class LockedKeychain(Keychain):
    def get_password(self, service: str, username: str) -> str | None:
        raise KeyringLocked(f"{VALUE} is what a backend may quote")


class ReadableFile(Keychain):
    """Keeps its secrets in a plain file, which ``keyring`` ranks below what it recommends."""

    priority = 0.5  # type: ignore[assignment]


@pytest.fixture
def system() -> Iterator[Keychain]:
    before, chain = keyring.get_keyring(), Keychain()
    keyring.set_keyring(chain)
    yield chain
    chain.opened.set()
    keyring.set_keyring(before)


def secret_file(path: Path, text: str = f"{VALUE}\n") -> Path:
    path.write_text(text)
    path.chmod(0o600)
    return path


def test_the_places_have_one_order(tmp_path: Path, system: Keychain) -> None:
    """Variable, file, mounted folder, keychain: each is used once those before it lack the secret."""
    write_keychain("lab", NAME, "of the keychain")
    (tmp_path / "run").mkdir()
    environ = {
        NAME: "of the variable",
        f"{NAME}_FILE": str(secret_file(tmp_path / "file", "of the file")),
        "BEIWE_SECRETS_FOLDER": str(secret_file(tmp_path / "run" / NAME.lower(), "of the folder").parent),
        "BEIWE_KEYCHAIN": "lab",
    }
    found = []
    for step in (NAME, f"{NAME}_FILE", "BEIWE_SECRETS_FOLDER", "BEIWE_KEYCHAIN"):
        secret = find_secret(NAME, environ)
        assert secret
        found.append((secret.value, secret.source.kind, secret.source.place))
        del environ[step]
    assert found == [
        ("of the variable", "variable", NAME),
        ("of the file", "file", str(tmp_path / "file")),
        ("of the folder", "file", str(tmp_path / "run" / NAME.lower())),
        ("of the keychain", "keychain", f"lab, {NAME}"),
    ]
    assert find_secret(NAME, environ) is None


def test_only_the_line_break_is_cut_from_a_file(tmp_path: Path) -> None:
    """A passphrase may end with a space; an editor adds a line break. As Kubernetes and as Docker Compose name it."""
    for name in (NAME, NAME.lower()):
        secret_file(tmp_path / name, f"{VALUE}\r\n")
        secret = find_secret(NAME, {"BEIWE_SECRETS_FOLDER": str(tmp_path)})
        assert secret
        assert secret.value == VALUE
        (tmp_path / name).unlink()


def test_a_source_is_shown_without_its_value(tmp_path: Path) -> None:
    """In whatever prints a secret by mistake."""
    secret = find_secret(NAME, {f"{NAME}_FILE": str(secret_file(tmp_path / "file"))})
    assert secret
    assert f"{secret} {secret!r} {secret.source}".count("canary") == 0


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "No such file"), (b"", "is empty"), (b" \n", "is empty"), (b"canary \xff", "is not UTF-8")],
)
def test_a_file_that_is_named_must_hold_the_secret(tmp_path: Path, content: bytes | None, reason: str) -> None:
    """Nothing else is tried in its place, and the error repeats nothing of it."""
    if content is not None:
        (tmp_path / "file").write_bytes(content)
    with pytest.raises(CredentialsError, match=reason) as caught:
        find_secret(NAME, {f"{NAME}_FILE": str(tmp_path / "file"), "BEIWE_KEYCHAIN": "lab"})
    assert str(tmp_path / "file") in str(caught.value)
    assert caught.value.__context__ is None or "canary" not in repr(caught.value.__context__)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("place", ["/nowhere/secrets", "~nobody-of-this-name/secrets", f"/{'long' * 100}"])
def test_a_folder_that_is_named_must_be_there(place: str) -> None:
    """A mount that failed is no reason to go on without a passphrase, nor is a place that the system refuses."""
    with pytest.raises(CredentialsError, match="BEIWE_SECRETS_FOLDER"):
        find_secret(NAME, {"BEIWE_SECRETS_FOLDER": place})


def test_a_file_that_others_can_read_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Once in the log, and each time with the source; one in a read-only mount would not be, as nobody can change
    it."""
    file = secret_file(tmp_path / "file")
    environ = {f"{NAME}_FILE": str(file)}
    file.chmod(0o640)
    for _ in range(2):
        secret = find_secret(NAME, environ)
        assert secret
        assert str(secret.source) == f"file {file}. Others can use this file: run `chmod 600 {file}`"
    assert [record.message for record in caplog.records] == [
        f"Others can read the secret in {file}, or change it. Run `chmod 600 {file}`."
    ]


def test_a_keychain_that_cannot_be_used_is_an_error(system: Keychain, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is locked, waits for somebody who is not there, keeps its secrets readable, or is not installed."""
    keyring.set_keyring(LockedKeychain())
    with pytest.raises(CredentialsError, match="KeyringLocked") as caught:
        read_keychain("lab", NAME)
    assert "canary" not in str(caught.value)
    keyring.set_keyring(ReadableFile())
    with pytest.raises(CredentialsError, match="no keychain"):
        read_keychain("lab", NAME)
    system.opened.clear()
    keyring.set_keyring(system)
    monkeypatch.setattr(keychain_module, "ANSWER_SECONDS", 0.01)
    with pytest.raises(CredentialsError, match="wait for somebody to open it"):
        read_keychain("lab", NAME)
    monkeypatch.setitem(sys.modules, "keyring", None)
    with pytest.raises(CredentialsError, match=r"dagster-beiwe\[keychain\]"):
        read_keychain("lab", NAME)


def test_a_backend_that_cannot_be_loaded_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keyring.core._keyring_backend", None)
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "no_such_package.Keyring")
    with pytest.raises(CredentialsError, match="keychain cannot be used: ModuleNotFoundError"):
        read_keychain("lab", NAME)


def test_a_script_of_the_same_name_is_not_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """cryptease installs a ``keyring.py`` beside the programs, and their folder comes first on the path."""
    (tmp_path / "keyring.py").write_text("raise SystemExit('the script ran')")
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.partition(".")[0] == "keyring"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring")
    with pytest.raises(CredentialsError, match="no keychain"):
        read_keychain("lab", NAME)
    assert str(tmp_path) == sys.path[0]


def test_keys_come_from_any_place(tmp_path: Path, system: Keychain) -> None:
    """The address from a variable, one key from a file, the other from the keychain; another prefix has its own."""
    write_keychain("lab", "LAB2_SECRET_KEY", "secret/")
    environ = {
        "LAB2_URL": "https://studies.example.org",
        "LAB2_ACCESS_KEY_FILE": str(secret_file(tmp_path / "key", "access+\n")),
        "BEIWE_KEYCHAIN": "lab",
    }
    found = credentials_from_env(environ, prefix="LAB2_")
    assert (found.access_key, found.secret_key) == ("access+", "secret/")
    with pytest.raises(CredentialsError, match="BEIWE_URL, BEIWE_ACCESS_KEY, BEIWE_SECRET_KEY"):
        credentials_from_env(environ)


def test_the_keyring_file_comes_last_and_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys are never sent to another address than their own. Its passphrase may be in a file, too; Dagster agrees."""
    section = {
        "URL": "https://ring.example.org",
        "ACCESS_KEY": "a",
        "SECRET_KEY": "b",
        "SECRETS": {"Sleep": "of the study"},
    }
    ring = tmp_path / "ring.enc"
    write_keyring(ring, {"lab": section}, "ring")
    environ = {
        "BEIWE_KEYRING_FILE": str(ring),
        "BEIWE_KEYRING_SECTION": "lab",
        "NRG_KEYRING_PASS_FILE": str(secret_file(tmp_path / "pass", "ring\n")),
        "BEIWE_LAKE_PASSPHRASE": "of the lake",
    }
    assert load_credentials(environ).url == "https://ring.example.org"
    assert credentials_from_keyring(environ=environ).access_key == "a"
    assert {name: str(source) for name, source in secret_sources(environ).items()} == {
        **dict.fromkeys(("BEIWE_URL", "BEIWE_ACCESS_KEY", "BEIWE_SECRET_KEY"), f"keyring {ring}, section lab"),
        "NRG_KEYRING_PASS": f"file {tmp_path / 'pass'}",
    }
    lake = LakeOpener(environ)
    for name, kind in (("Sleep", "keyring"), ("Mood", "variable")):
        secret = lake.find_passphrase({"Sleep": "of the study"}, study_id="", name=name)
        assert secret
        assert secret.source.kind == kind
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("BEIWE_URL", raising=False)
    monkeypatch.delenv("NRG_KEYRING_PASS", raising=False)
    in_dagster = credentials_from_environment(os.environ)
    assert isinstance(in_dagster, KeyringCredentials)
    assert in_dagster.load().url == "https://ring.example.org"
    assert in_dagster.secrets() == {"Sleep": "of the study"}
    monkeypatch.setenv("BEIWE_URL_FILE", str(secret_file(tmp_path / "url", "https://other.example.org")))
    in_dagster = credentials_from_environment(os.environ)
    assert isinstance(in_dagster, EnvCredentials)
    assert in_dagster.host() == "other.example.org"
    with pytest.raises(CredentialsError, match="BEIWE_ACCESS_KEY"):
        in_dagster.load()


def test_a_project_loads_without_the_file_that_names_its_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever needs the keys is told; the definitions use what is known."""
    monkeypatch.setenv("BEIWE_URL_FILE", "/nowhere/url")
    monkeypatch.setenv("BEIWE_KEYRING_SECTION", "lab")
    monkeypatch.delenv("BEIWE_URL", raising=False)
    found = credentials_from_environment(os.environ)
    assert found.host() == ""
    assert found.server_name() == "server"
    with pytest.raises(CredentialsError, match="/nowhere/url"):
        found.load()


def test_passwords_of_mail_servers_have_the_same_places(tmp_path: Path) -> None:
    """As everything secret that has a name."""
    file = secret_file(tmp_path / "password", "of the mail server\n")
    notices = Notices(email_to=["a@example.org"], email_from="b@example.org", smtp_host="mail.example.org")
    environ = {"BEIWE_SMTP_USERNAME": "lab", "BEIWE_SMTP_PASSWORD_FILE": str(file)}
    assert notices._mail_server(environ).password == "of the mail server"


def test_a_deployment_in_yaml_names_what_one_in_python_does() -> None:
    """Each variable of the resource and of its credentials, so that several servers have secrets of their own."""
    names = {
        "keyring_section": "two",
        "keyring_file": "ring.enc",
        "keyring_passphrase_variable": "LAB2_RING",
        "lake_variable": "LAB2_LAKE",
        "passphrase_variable": "LAB2_PASSPHRASE",
        "age_identity_variable": "LAB2_IDENTITY",
        "witness_variable": "LAB2_WITNESS",
    }
    in_python = BeiweResource(
        credentials=KeyringCredentials(section="two", path="ring.enc", passphrase_variable="LAB2_RING"),
        **{name: value for name, value in names.items() if not name.startswith("keyring")},
    )
    assert Deployment(**names).resource().model_dump() == in_python.model_dump()
