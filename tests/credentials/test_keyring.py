"""The keyring file: read and written as mano and crypt.py do, each mistake with its own words."""

from __future__ import annotations

import io
import json
import os
import shutil
import stat
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest

from dagster_beiwe.credentials import (
    Credentials,
    credentials_from_keyring,
    read_keyring,
    secrets_from_keyring,
    write_keyring,
)
from dagster_beiwe.errors import (
    CredentialsError,
    KeyringFileError,
    KeyringPassphraseError,
    KeyringSectionError,
)

PASSPHRASE = "CanaryPhrase é ☃"
SECTIONS: dict[str, Any] = {
    "lab": {
        "URL": "https://beiwe.example.org",
        "USERNAME": "researcher",
        "PASSWORD": "CanaryPassword",
        "ACCESS_KEY": "CanaryAccess+" + "a" * 51,
        "SECRET_KEY": "CanarySecret/" + "b" * 51,
        "SECRETS": {"Sleep Étude": "CanaryLock"},
    },
    "old lab": {"URL": "https://old.example.org", "ACCESS_KEY": "CanaryA", "SECRET_KEY": "CanaryB"},
}


def lock_with_cryptease(path: Path, plain: bytes) -> Path:
    """The file as mano's users make it, in this process."""
    import cryptease

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # cryptease uses a place of CFB8 that is going away
        key = cryptease.kdf(PASSPHRASE)
        path.write_bytes(b"".join(cryptease.encrypt(io.BytesIO(plain), key)))
    return path


@pytest.fixture
def keyring(tmp_path: Path) -> Path:
    return lock_with_cryptease(tmp_path / "keyring.enc", json.dumps(SECTIONS).encode())


def expect_error(kind: type[CredentialsError], match: str, path: Path | str, **options: Any) -> None:
    """The error is exactly of this kind, says this, and repeats no secret, also not by its causes."""
    section = options.pop("section", "lab")
    asked = {"passphrase": PASSPHRASE, "environ": {}, **options}
    with pytest.raises(CredentialsError, match=match) as caught:
        credentials_from_keyring(section, path=path, **asked)
    assert type(caught.value) is kind
    error: BaseException | None = caught.value
    while error is not None:
        assert "Canary" not in f"{error} {error!r} {vars(error)}"
        error = error.__cause__ or error.__context__


def test_a_section_with_passphrases_only_gives_them(tmp_path: Path) -> None:
    """A host that only reads the lake needs neither address nor keys."""
    path = lock_with_cryptease(tmp_path / "keyring.enc", json.dumps({"lab": {"SECRETS": {"Sleep": "lock"}}}).encode())
    assert secrets_from_keyring("lab", path=path, passphrase=PASSPHRASE) == {"Sleep": "lock"}
    expect_error(KeyringSectionError, "Missing or empty", path)


def test_a_section_becomes_credentials(keyring: Path) -> None:
    """Everything mano's file holds is there."""
    found = credentials_from_keyring("lab", path=keyring, passphrase=PASSPHRASE)
    lab = SECTIONS["lab"]
    assert found == Credentials(
        url=lab["URL"],
        access_key=lab["ACCESS_KEY"],
        secret_key=lab["SECRET_KEY"],
        username=lab["USERNAME"],
        password=lab["PASSWORD"],
        secrets=lab["SECRETS"],
    )
    assert found.study_passphrase("Sleep Étude") == "CanaryLock"


def test_login_and_secrets_are_optional(keyring: Path) -> None:
    """mano insists on them, the API does not."""
    found = credentials_from_keyring("old lab", path=keyring, passphrase=PASSPHRASE)
    assert (found.username, found.password, dict(found.secrets)) == (None, None, {})


def test_file_section_and_passphrase_come_from_the_environment(keyring: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The names of mano where it has one; what is given wins."""
    environ = {"BEIWE_KEYRING_FILE": str(keyring), "BEIWE_KEYRING_SECTION": "lab", "NRG_KEYRING_PASS": PASSPHRASE}
    assert credentials_from_keyring(environ=environ).url == "https://beiwe.example.org"
    assert credentials_from_keyring("old lab", environ=environ).url == "https://old.example.org"
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert credentials_from_keyring().url == "https://beiwe.example.org"


def test_the_default_file_is_manos(keyring: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """~/.nrg-keyring.enc."""
    monkeypatch.setenv("HOME", str(tmp_path))
    keyring.rename(tmp_path / ".nrg-keyring.enc")
    assert credentials_from_keyring("lab", passphrase=PASSPHRASE, environ={}).username == "researcher"


def test_a_file_made_by_crypt_py_is_read(tmp_path: Path) -> None:
    """The command line tool that mano's documentation names, with nobody there to type."""
    plain, locked = tmp_path / "plain.json", tmp_path / "keyring.enc"
    plain.write_text(json.dumps(SECTIONS))
    tool = shutil.which("crypt.py", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    assert tool is not None
    subprocess.run(
        [sys.executable, "-W", "ignore", tool, "--encrypt", "-o", str(locked), str(plain)],
        env={**os.environ, "ENCRYPT_PASS": PASSPHRASE, "PYTHONIOENCODING": "utf-8"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=True,
        timeout=300,
    )
    assert credentials_from_keyring("lab", path=locked, passphrase=PASSPHRASE).username == "researcher"


def test_a_file_written_here_is_opened_by_mano(tmp_path: Path) -> None:
    """In a process of its own, because importing mano changes the locale."""
    path = tmp_path / "keyring.enc"
    write_keyring(path, SECTIONS, PASSPHRASE)
    script = (
        "import json, locale, sys, warnings\n"
        "warnings.simplefilter('ignore')\n"
        "locale.setlocale = lambda *_: 'C'  # mano wants a locale that few machines have\n"
        "import mano\n"
        "print(json.dumps(mano.keyring('lab', keyring_file=sys.argv[1], passphrase=sys.argv[2])))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(path), PASSPHRASE],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=True,
        timeout=300,
    )
    assert json.loads(done.stdout) == SECTIONS["lab"]


def test_what_is_written_is_read_again_and_private(tmp_path: Path) -> None:
    """0600 under any umask, nothing else left in the folder, no plain text in the file."""
    path = tmp_path / "keyring.enc"
    path.write_text("old")
    path.chmod(0o644)
    before = os.umask(0)
    try:
        write_keyring(path, SECTIONS, PASSPHRASE)
    finally:
        os.umask(before)
    assert read_keyring(path, passphrase=PASSPHRASE) == SECTIONS
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [one.name for one in tmp_path.iterdir()] == ["keyring.enc"]
    assert b"Canary" not in path.read_bytes()


def test_what_could_not_be_read_is_not_written(tmp_path: Path) -> None:
    """A keyring with a mistake, without passphrase, or without a folder to be in leaves the old file alone."""
    path = tmp_path / "keyring.enc"
    path.write_text("old")
    for sections, passphrase, target, kind in (
        ({"lab": {**SECTIONS["lab"], "URL": "http://beiwe.example.org"}}, PASSPHRASE, path, CredentialsError),
        ({"lab": {"URL": "https://x.example.org"}}, PASSPHRASE, path, KeyringSectionError),
        (SECTIONS, "", path, KeyringPassphraseError),
        (SECTIONS, PASSPHRASE, tmp_path / "no" / "folder", KeyringFileError),
        (SECTIONS, PASSPHRASE, tmp_path, KeyringFileError),
    ):
        with pytest.raises(kind) as caught:
            write_keyring(target, sections, passphrase)
        assert "Canary" not in str(caught.value)
    assert path.read_text() == "old"
    assert [one.name for one in tmp_path.iterdir()] == ["keyring.enc"]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """With the way to make one."""
    expect_error(KeyringFileError, r"nowhere\.enc does not exist.*dagster-beiwe keyring", tmp_path / "nowhere.enc")


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    """A typing error in BEIWE_KEYRING_FILE."""
    expect_error(KeyringFileError, "a folder", tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file_says_why(keyring: Path) -> None:
    """Permissions."""
    keyring.chmod(0)
    expect_error(KeyringFileError, "Permission denied", keyring)


def test_a_path_through_a_file_is_unreadable(keyring: Path) -> None:
    """Another operating system error than a missing file."""
    expect_error(KeyringFileError, "Not a directory", keyring / "below")


@pytest.mark.parametrize("prefix", [b"", b"\n  ", b"\xef\xbb\xbf"])
def test_an_unencrypted_keyring_is_a_mistake_with_consequences(tmp_path: Path, prefix: bytes) -> None:
    """Encrypt it, delete the readable one, perhaps make new keys."""
    path = tmp_path / "keyring.json"
    path.write_bytes(prefix + json.dumps(SECTIONS, indent=1).encode())
    expect_error(KeyringFileError, "readable JSON.*Encrypt.*delete.*new keys", path)


@pytest.mark.parametrize(
    "data",
    [b"short", b"x" * 1000, b"\x00" * 1000, b"\xff" * 1000, b"age-encryption.org/v1\n-> X25519 CanaryRecipient\n"],
)
def test_another_file_is_not_a_keyring(tmp_path: Path, data: bytes) -> None:
    """Not in cryptease's format."""
    path = tmp_path / "keyring.enc"
    path.write_bytes(data)
    expect_error(KeyringFileError, "cryptease", path)


def test_an_empty_file_is_not_a_keyring(tmp_path: Path) -> None:
    """Left by a full disk."""
    path = tmp_path / "keyring.enc"
    path.touch()
    expect_error(KeyringFileError, "is empty", path)


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    """Somebody named a data file."""
    path = tmp_path / "keyring.enc"
    with path.open("wb") as target:
        target.truncate(100 * 1024 * 1024)
    expect_error(KeyringFileError, "larger than 4 MiB", path)


def test_a_wrong_passphrase_is_noticed(keyring: Path) -> None:
    """The cipher has no checksum: garbage is recognised as such."""
    for number in range(3):
        expect_error(KeyringPassphraseError, "passphrase is wrong", keyring, passphrase=f"wrong {number}")


def test_a_cut_keyring_does_not_pass(keyring: Path) -> None:
    """The first half decrypts well and is no JSON."""
    keyring.write_bytes(keyring.read_bytes()[:-20])
    expect_error(KeyringPassphraseError, "damaged", keyring)


@pytest.mark.parametrize("plain", ["[]", "7", "null", '{"lab": "CanaryText"}', '{"lab": ["CanaryText"]}'])
def test_json_of_another_shape_is_refused(tmp_path: Path, plain: str) -> None:
    """The form is shown in the message."""
    path = lock_with_cryptease(tmp_path / "keyring.enc", plain.encode())
    expect_error(KeyringFileError, "not a JSON object of sections.*ACCESS_KEY", path)


@pytest.mark.usefixtures("deep_stack")
def test_text_that_was_no_json_says_so(tmp_path: Path) -> None:
    """Also very deep nesting, which the parser gives up on in another way."""
    for plain in (b"URL = CanaryUrl", b'{"lab": ' + b"[" * 100_000):
        path = lock_with_cryptease(tmp_path / "keyring.enc", plain)
        expect_error(KeyringPassphraseError, "did not hold JSON", path)


def test_a_missing_section_gets_the_list(keyring: Path) -> None:
    """Names of sections are no secret."""
    expect_error(KeyringSectionError, "no section 'lbb'.*lab, old lab", keyring, section="lbb")
    expect_error(KeyringSectionError, "BEIWE_KEYRING_SECTION.*lab, old lab", keyring, section=None)


@pytest.mark.parametrize("key", ["URL", "ACCESS_KEY", "SECRET_KEY"])
@pytest.mark.parametrize("empty", [None, ""])
def test_a_missing_value_is_named(tmp_path: Path, key: str, empty: str | None) -> None:
    """By its name in the file."""
    section = {**SECTIONS["lab"], key: empty}
    path = lock_with_cryptease(tmp_path / "keyring.enc", json.dumps({"lab": section}).encode())
    expect_error(KeyringSectionError, f"Missing or empty.*: {key}", path)


@pytest.mark.parametrize(
    ("change", "match"),
    [({"ACCESS_KEY": 7}, "ACCESS_KEY"), ({"PASSWORD": ["CanaryX"]}, "PASSWORD"), ({"SECRETS": ["CanaryX"]}, "SECRETS")],
)
def test_a_value_of_the_wrong_kind_is_named(tmp_path: Path, change: dict[str, Any], match: str) -> None:
    """Numbers and lists where text belongs."""
    section = {**SECTIONS["lab"], **change}
    path = lock_with_cryptease(tmp_path / "keyring.enc", json.dumps({"lab": section}).encode())
    expect_error(KeyringSectionError, f"Not text.*{match}|SECRETS in the keyring", path)


def test_a_bad_address_in_the_keyring_is_refused(tmp_path: Path) -> None:
    """The same rules as for the environment; the section is named, because there are others."""
    section = {**SECTIONS["lab"], "URL": "http://beiwe.example.org"}
    path = lock_with_cryptease(tmp_path / "keyring.enc", json.dumps({"lab": section}).encode())
    expect_error(KeyringSectionError, "section 'lab': .*http", path)


@pytest.mark.parametrize("environ", [{}, {"NRG_KEYRING_PASS": ""}])
@pytest.mark.parametrize("prompt", [False, True])
def test_a_missing_passphrase_is_an_error_at_once_without_a_terminal(
    keyring: Path, environ: dict[str, str], prompt: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing waits for an answer that nobody can give."""
    monkeypatch.setattr("sys.stdin", io.StringIO())
    monkeypatch.setattr("getpass.getpass", lambda *_: pytest.fail("asked"))
    expect_error(KeyringPassphraseError, "NRG_KEYRING_PASS", keyring, passphrase=None, environ=environ, prompt=prompt)


def test_the_passphrase_is_asked_for_on_a_terminal_if_allowed(keyring: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only where the caller says so."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("sys.stdin", Terminal())
    monkeypatch.setattr("getpass.getpass", lambda _: PASSPHRASE)
    assert credentials_from_keyring("lab", path=keyring, environ={}, prompt=True).username == "researcher"
    expect_error(KeyringPassphraseError, "NRG_KEYRING_PASS", keyring, passphrase=None)


def test_a_service_without_standard_input_gets_the_error(keyring: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some service managers close it altogether."""
    monkeypatch.setattr("sys.stdin", None)
    expect_error(KeyringPassphraseError, "NRG_KEYRING_PASS", keyring, passphrase=None, prompt=True)


def test_reading_a_keyring_warns_of_nothing(keyring: Path) -> None:
    """cryptease itself imports a cipher mode from a place that is going away; its users need not see that."""
    script = (
        "import sys\n"
        "from dagster_beiwe.credentials import credentials_from_keyring\n"
        "print(credentials_from_keyring('lab', path=sys.argv[1], passphrase=sys.argv[2]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script, str(keyring), PASSPHRASE],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "Credentials(url='https://beiwe.example.org')\n"
