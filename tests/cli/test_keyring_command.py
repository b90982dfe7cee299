"""``dagster-beiwe keyring`` on files that others made, as well as on its own."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from dagster_beiwe.cli import main
from dagster_beiwe.credentials import read_keyring, write_keyring
from dagster_beiwe.encryption import encrypt_bytes

PASSPHRASE = "ring"
GOOD: dict[str, Any] = {"URL": "https://studies.example.org", "ACCESS_KEY": "abc", "SECRET_KEY": "def"}


@pytest.fixture
def ring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "ring.enc"
    monkeypatch.setenv("NRG_KEYRING_PASS", PASSPHRASE)
    monkeypatch.setenv("BEIWE_KEYRING_FILE", str(file))
    return file


def put(file: Path, sections: object) -> None:
    """What another tool wrote, unchecked."""
    file.write_bytes(encrypt_bytes(json.dumps(sections).encode(), PASSPHRASE))


def say(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))


def test_null_secrets_are_none(ring: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """As mano's users leave them."""
    put(ring, {"lab": {**GOOD, "SECRETS": None}})
    assert main(["keyring", "list"]) == 0
    assert "studies with a passphrase: none" in capsys.readouterr().out
    say("lock\n", monkeypatch)
    assert main(["keyring", "passphrase", "lab", "Sleep"]) == 0
    assert read_keyring(ring, passphrase=PASSPHRASE)["lab"]["SECRETS"] == {"Sleep": "lock"}
    say(json.dumps({**GOOD, "ACCESS_KEY": "new", "SECRETS": None}), monkeypatch)
    assert main(["keyring", "set", "lab"]) == 0
    assert read_keyring(ring, passphrase=PASSPHRASE)["lab"] == {
        **GOOD,
        "ACCESS_KEY": "new",
        "SECRETS": {"Sleep": "lock"},
    }


def test_a_name_beside_ids_may_have_no_effect(
    ring: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An id comes before a name, and only the server knows whether they are of the same study."""
    study_id = "5873fe38644ad7557b168e43"
    put(ring, {"lab": {**GOOD, "SECRETS": {study_id: "lock"}}})
    for name, said in (("Sleep", f"has them for {study_id}"), (study_id, "")):
        say("another lock\n", monkeypatch)
        assert main(["keyring", "passphrase", "lab", name]) == 0
        printed = capsys.readouterr().err
        assert (said in printed) if said else not printed
    assert {*read_keyring(ring, passphrase=PASSPHRASE)["lab"]["SECRETS"].values()} == {"another lock"}


def test_a_section_that_cannot_be_used_does_not_block_another(
    ring: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It stays as it is, is named by the listing, and by the error of whoever uses it."""
    old = {**GOOD, "URL": "http://studies.example.org"}
    put(ring, {"old": old, "lab": GOOD})
    say(json.dumps({**GOOD, "ACCESS_KEY": "new"}), monkeypatch)
    assert main(["keyring", "set", "lab"]) == 0
    say("lock\n", monkeypatch)
    assert main(["keyring", "passphrase", "lab", "Sleep"]) == 0
    assert read_keyring(ring, passphrase=PASSPHRASE)["old"] == old
    assert main(["keyring", "list"]) == 0
    assert "old: cannot be used. In the keyring's section 'old': The URL" in capsys.readouterr().out
    say("lock\n", monkeypatch)
    assert main(["keyring", "passphrase", "old", "Sleep"]) == 2
    assert "In the keyring's section 'old': The URL" in capsys.readouterr().err


@pytest.mark.parametrize("wrong", ["hunter2", ["hunter2"], 7])
def test_secrets_of_another_shape_are_not_shown(
    ring: Path, wrong: object, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A passphrase in the place of the object that should hold it: no letter of it is printed."""
    put(ring, {"lab": {**GOOD, "SECRETS": wrong}})
    assert main(["keyring", "list"]) == 0
    assert "SECRETS in the keyring's section 'lab' is not an object" in (printed := capsys.readouterr().out)
    assert "h, n" not in printed
    assert "hunter2" not in printed
    say("lock\n", monkeypatch)
    assert main(["keyring", "passphrase", "lab", "Sleep"]) == 2


def test_a_url_that_holds_a_password_is_not_shown(ring: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Such a section can't be used; the listing says why without repeating it."""
    put(ring, {"lab": {**GOOD, "URL": "https://me:hunter2@studies.example.org"}})
    assert main(["keyring", "list"]) == 0
    assert "hunter2" not in capsys.readouterr().out


@pytest.mark.usefixtures("deep_stack")
@pytest.mark.parametrize("text", ["", "{", "[]", "[" * 60_000, "[" * 100_000])
def test_a_section_that_is_no_object_is_refused(ring: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """And no file is made."""
    say(text, monkeypatch)
    assert main(["keyring", "set", "lab"]) == 2
    assert not ring.exists()


def test_without_standard_input_nobody_is_asked(ring: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that closed it."""
    write_keyring(ring, {"lab": GOOD}, PASSPHRASE)
    before = ring.read_bytes()
    monkeypatch.setattr(sys, "stdin", None)
    assert main(["keyring", "set", "lab"]) == 2
    assert main(["keyring", "passphrase", "lab", "Sleep"]) == 2
    monkeypatch.delenv("NRG_KEYRING_PASS")
    assert main(["keyring", "list"]) == 2
    assert ring.read_bytes() == before


@pytest.mark.parametrize("action", [["set", "lab"], ["passphrase", "lab", "Sleep"]])
@pytest.mark.parametrize("content", [b"\xff\xfe", b"x" * 1_000_000])
def test_what_is_no_text_on_standard_input_is_refused_unread(
    ring: Path, action: list[str], content: bytes, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A device or a file that was meant for another program."""
    write_keyring(ring, {"lab": GOOD}, PASSPHRASE)
    raw = io.BytesIO(content)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(raw, encoding="utf-8"))
    assert main(["keyring", *action]) == 2
    assert "not UTF-8 text" in capsys.readouterr().err
    assert raw.tell() < 200_000
    assert read_keyring(ring, passphrase=PASSPHRASE) == {"lab": GOOD}
