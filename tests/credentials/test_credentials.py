"""Credentials: what is accepted, what is refused, and that none of it shows."""

from __future__ import annotations

import copy
import dataclasses
import pickle
import traceback

import pytest

from dagster_beiwe.credentials import Credentials, credentials_from_env, is_loopback
from dagster_beiwe.errors import ConfigurationError, CredentialsError

ACCESS_KEY = "CanaryAccess+" + "a" * 51
SECRET_KEY = "CanarySecret/" + "b" * 51
ENVIRON = {"BEIWE_URL": "https://beiwe.example.org", "BEIWE_ACCESS_KEY": ACCESS_KEY, "BEIWE_SECRET_KEY": SECRET_KEY}


def make(**changes: object) -> Credentials:
    values = {"url": "https://beiwe.example.org", "access_key": ACCESS_KEY, "secret_key": SECRET_KEY}
    return Credentials(**{**values, **changes})  # type: ignore[arg-type]


def test_the_environment_is_enough() -> None:
    """Three variables are required, two are not."""
    assert credentials_from_env(ENVIRON) == make()
    more = credentials_from_env({**ENVIRON, "BEIWE_USERNAME": "me", "BEIWE_PASSWORD": " pass word "})
    assert (more.username, more.password) == ("me", " pass word ")
    assert credentials_from_env({**ENVIRON, "BEIWE_USERNAME": ""}).username is None


def test_the_process_environment_is_read_at_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not at import."""
    for name, value in ENVIRON.items():
        monkeypatch.setenv(name, value)
    assert credentials_from_env() == make()


@pytest.mark.parametrize("empty", [None, "", "  "])
def test_all_missing_variables_are_named_at_once(empty: str | None) -> None:
    """One run of corrections instead of three."""
    environ = {name: value for name, value in ENVIRON.items() if name == "BEIWE_URL"}
    if empty is not None:
        environ |= {"BEIWE_ACCESS_KEY": empty, "BEIWE_SECRET_KEY": empty}
    with pytest.raises(CredentialsError, match="missing or empty: BEIWE_ACCESS_KEY, BEIWE_SECRET_KEY"):
        credentials_from_env(environ)


def test_white_space_around_is_removed() -> None:
    """Keys read from files end in a newline, which the server refuses with 400."""
    found = make(url=" https://beiwe.example.org/ ", access_key=f"{ACCESS_KEY}\n", secret_key=f"\t{SECRET_KEY} ")
    assert found == make()


@pytest.mark.parametrize(
    "url",
    [
        "https://beiwe.example.org",
        "https://beiwe.example.org:8443/prefix",
        "http://localhost:8080",
        "http://127.0.0.1:1",
        "http://127.8.9.1",
        "http://[::1]:8080",
    ],
)
def test_https_or_loopback_is_accepted(url: str) -> None:
    """With port and path."""
    assert make(url=url).url == url


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://beiwe.example.org", "https"),
        ("http://localhost.example.org", "https"),
        ("http://127.0.0.1.example.org", "https"),
        ("http://10.0.0.1", "https"),
        ("http://[::2]", "https"),
        ("ftp://beiwe.example.org", "not an https URL"),
        ("beiwe.example.org", "not an https URL"),
        ("https://", "not an https URL"),
        ("https://[CanaryUrl", "not an https URL"),
        ("https://host:CanaryUrl/", "not an https URL"),
        ("https://beiwe.exa mple.org", "not an https URL"),
        ("https://beiwe.example.org\\@CanaryUrl", "not an https URL"),
        ("https://me:CanaryUrl@beiwe.example.org", "user name"),
        ("https://CanaryUrl@beiwe.example.org", "user name"),
        ("https://beiwe.example.org/?access_key=CanaryUrl", "query"),
        ("https://beiwe.example.org/#CanaryUrl", "fragment"),
        ("", "is missing"),
        (None, "is missing"),
    ],
)
def test_other_addresses_are_refused_without_repeating_them(url: object, reason: str) -> None:
    """A URL may hold a password or a token."""
    with pytest.raises(CredentialsError, match=reason) as caught:
        make(url=url)
    assert "Canary" not in "".join(traceback.format_exception_only(caught.value))
    assert caught.value.__context__ is None


@pytest.mark.parametrize("name", ["access_key", "secret_key"])
@pytest.mark.parametrize("key", ["", "  ", None, 'CanaryKey"quoted"', "CanaryKey=", "Canary Key", "CanaryKeyé"])
def test_keys_outside_the_alphabet_are_refused_without_repeating_them(name: str, key: object) -> None:
    """The server would answer 400 without a word."""
    with pytest.raises(CredentialsError, match=name.replace("_", " ")) as caught:
        make(**{name: key})
    assert "Canary" not in str(caught.value)


def test_nothing_secret_shows() -> None:
    """repr, str, format and the error of an accidental pickle tell the address only."""
    secret = make(username="CanaryUser", password="CanaryPass", secrets={"CanaryStudy": "CanaryLock"})
    shown = f"{secret} {secret!r} {[secret]}"
    with pytest.raises(TypeError, match="cannot be pickled") as caught:
        pickle.dumps(secret)
    assert "Canary" not in shown + str(caught.value)
    assert "beiwe.example.org" in shown


def test_a_copy_is_the_same_object() -> None:
    """Nothing in it changes."""
    original = make(secrets={"Sleep": "x"})
    assert copy.copy(original) is original
    assert copy.deepcopy(original) is original
    assert dataclasses.replace(original, username="me").username == "me"
    with pytest.raises(dataclasses.FrozenInstanceError):
        original.url = "https://elsewhere.example.org"  # type: ignore[misc]
    with pytest.raises(TypeError):
        original.secrets["Sleep"] = "y"  # type: ignore[index]
    assert {original: 1}[original] == 1


def test_passphrases_of_studies_are_found_by_name() -> None:
    """As in mano's keyring."""
    secret = make(secrets={"Étude 2": "lock"})
    assert secret.study_passphrase("Étude 2") == "lock"
    assert secret.study_passphrase("étude 2") is None


@pytest.mark.parametrize("wrong", ["", 7, None])
def test_an_empty_passphrase_of_a_study_is_refused(wrong: object) -> None:
    """It would lock nothing."""
    with pytest.raises(CredentialsError, match="'Sleep'"):
        make(secrets={"Sleep": wrong})


def test_credentials_errors_are_configuration_errors() -> None:
    """Callers that catch configuration mistakes get these too."""
    assert issubclass(CredentialsError, ConfigurationError)


@pytest.mark.parametrize(
    ("host", "expected"),
    [("localhost", True), ("LOCALHOST", True), ("127.0.0.2", True), ("::1", True), ("0.0.0.0", False), ("", False)],
)
def test_loopback_is_this_machine_only(host: str, expected: bool) -> None:
    """Names that merely look like it are not."""
    assert is_loopback(host) is expected
