"""Public-key encryption with age, and the thread that lets its library be pushed."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
from collections.abc import Callable

import pytest

from dagster_beiwe.encryption import CHUNK_BYTES, AgeCipher, Cipher, Decryptor, Encryptor
from dagster_beiwe.encryption.push import Pusher
from dagster_beiwe.errors import ConfigurationError, EncryptionError

pyrage = pytest.importorskip("pyrage")

AGE_CHUNK = 64 * 1024


@pytest.fixture(scope="module")
def identity() -> str:
    return str(pyrage.x25519.Identity.generate())


@pytest.fixture
def reader(identity: str) -> AgeCipher:
    return AgeCipher(identity=f"# created: today\n# public key: age1...\n{identity}\n")


@pytest.fixture
def writer(identity: str) -> AgeCipher:
    return AgeCipher(recipients=[str(pyrage.x25519.Identity.from_str(identity).to_public())])


def pushed(machine: Encryptor | Decryptor, data: bytes, chunk_bytes: int = CHUNK_BYTES) -> bytes:
    chunks = [data[start : start + chunk_bytes] for start in range(0, len(data), chunk_bytes)]
    return b"".join([*map(machine.update, chunks), machine.finish()])


@pytest.mark.parametrize("size_bytes", [0, 1, AGE_CHUNK - 1, AGE_CHUNK, AGE_CHUNK + 1, 3 * AGE_CHUNK])
@pytest.mark.parametrize("chunk_bytes", [997, 65536, CHUNK_BYTES])
def test_age_makes_a_round_trip(writer: Cipher, reader: Cipher, size_bytes: int, chunk_bytes: int) -> None:
    """Sizes around age's own chunks, in chunks of any size."""
    plain = os.urandom(size_bytes)
    stored = pushed(writer.encryptor(), plain, chunk_bytes)
    assert pushed(reader.decryptor(), stored, chunk_bytes) == plain


@pytest.mark.parametrize("chunk_bytes", [1, 7])
def test_borders_inside_the_header_do_not_matter(writer: Cipher, reader: Cipher, chunk_bytes: int) -> None:
    """The header may come byte by byte."""
    assert pushed(reader.decryptor(), pushed(writer.encryptor(), b"plain", chunk_bytes), chunk_bytes) == b"plain"


def test_age_itself_is_the_oracle(writer: Cipher, reader: Cipher, identity: str) -> None:
    """Files are plain age files, in both directions."""
    key = pyrage.x25519.Identity.from_str(identity)
    assert pyrage.decrypt(pushed(writer.encryptor(), b"plain"), [key]) == b"plain"
    assert pushed(reader.decryptor(), pyrage.encrypt(b"plain", [key.to_public()])) == b"plain"


def test_a_writer_without_identity_cannot_read(writer: Cipher) -> None:
    """A host that ingests need not be able to read."""
    assert not writer.can_decrypt
    with pytest.raises(ConfigurationError, match="it can write but not read"):
        writer.decryptor()


def test_an_identity_can_write_for_itself(reader: Cipher) -> None:
    """Without recipients, the owner of the identity is the recipient."""
    assert reader.can_decrypt
    assert pushed(reader.decryptor(), pushed(reader.encryptor(), b"plain")) == b"plain"


@pytest.mark.parametrize("damage", ["cut", "cut in header", "longer", "changed", "empty", "noise"])
def test_damage_is_an_error(writer: Cipher, reader: Cipher, damage: str) -> None:
    """age authenticates: unlike with cryptease, a changed file is noticed while it is read."""
    stored = pushed(writer.encryptor(), b"plain" * 40_000)
    damaged = {
        "cut": stored[:-AGE_CHUNK],
        "cut in header": stored[:60],
        "longer": stored + b"x",
        "changed": stored[:9000] + bytes([stored[9000] ^ 1]) + stored[9001:],
        "empty": b"",
        "noise": b"timestamp,x\n1,2\n",
    }[damage]
    with pytest.raises(EncryptionError, match="age cannot process the file"):
        pushed(reader.decryptor(), damaged)


def test_another_identity_cannot_read(writer: Cipher) -> None:
    """A file for somebody else is refused."""
    stranger = AgeCipher(identity=str(pyrage.x25519.Identity.generate()))
    with pytest.raises(EncryptionError, match="another identity"):
        pushed(stranger.decryptor(), pushed(writer.encryptor(), b"plain"))


def test_keys_that_cannot_be_read_are_refused_without_showing_them(identity: str) -> None:
    """A private key given as recipient by mistake does not end in a log."""
    broken = identity[:-1]
    for arguments in ({"recipients": [identity]}, {"identity": broken}, {"recipients": [""]}, {"identity": "# none"}):
        with pytest.raises(ConfigurationError) as caught:
            AgeCipher(**arguments)
        assert identity[20:40] not in f"{caught.value!r} {caught.value.__context__!r}"


def test_neither_recipients_nor_identity_is_refused() -> None:
    """A cipher that can do nothing is a mistake in the configuration."""
    with pytest.raises(ConfigurationError, match="neither recipients nor an identity"):
        AgeCipher()


def test_nothing_shows_or_stores_the_identity(reader: AgeCipher) -> None:
    """Same rule as for passphrases."""
    assert repr(reader) == "<AgeCipher>"
    with pytest.raises(TypeError, match="holds keys"):
        reader.__reduce__()


def test_the_missing_extra_is_named() -> None:
    """Without pyrage everything else works, and AgeCipher says what to install."""
    code = """
import sys
sys.modules["pyrage"] = None
from dagster_beiwe.encryption import AgeCipher
try:
    AgeCipher(recipients=["age1xyz"])
except Exception as error:
    print(type(error).__name__, error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=True)
    assert done.stdout.startswith("ConfigurationError")
    assert "dagster-beiwe[age]" in done.stdout


def push_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "beiwe-push"]


def wait_until_ended(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.join(timeout=10)
    assert not any(thread.is_alive() for thread in threads)


def test_a_dropped_encryptor_ends_its_thread(writer: Cipher) -> None:
    """A run that fails in the middle of a file leaves no thread behind."""
    before = push_threads()
    encryptor = writer.encryptor()
    encryptor.update(b"plain")
    started = [thread for thread in push_threads() if thread not in before]
    assert len(started) == 1
    del encryptor
    gc.collect()
    wait_until_ended(started)


def test_a_pusher_holds_no_more_than_a_chunk() -> None:
    """What was pushed is used up before the next chunk is taken."""
    read: list[int] = []

    def count(reader: object, writer: object) -> None:
        while data := reader.read(10):  # type: ignore[attr-defined]
            read.append(len(data))
            writer.write(data)  # type: ignore[attr-defined]

    pusher = Pusher(count)
    for number in range(1, 4):
        assert pusher.push(b"x" * 25) == b"x" * 25
        assert sum(read) == 25 * number
    assert pusher.finish() == b""


def test_an_error_comes_with_the_chunk_that_caused_it() -> None:
    """And again with every later call, instead of a silent half file."""

    def fail(reader: object, _: object) -> None:
        reader.read(1)  # type: ignore[attr-defined]
        raise ZeroDivisionError

    pusher = Pusher(fail)
    calls: list[Callable[[], object]] = [lambda: pusher.push(b"x"), lambda: pusher.push(b"y"), pusher.finish]
    for call in calls:
        with pytest.raises(ZeroDivisionError):
            call()
