"""Files locked here open with cryptease and its script, and the other way round."""

from __future__ import annotations

import base64
import copy
import io
import itertools
import json
import os
import pickle
import struct
import subprocess
import sys
import sysconfig
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cryptease
import cryptography
import pytest
from encryption_helpers import PASSPHRASE, oracle_warnings, pushed
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dagster_beiwe.encryption import (
    CHUNK_BYTES,
    CrypteaseCipher,
    decrypt_bytes,
    decrypting_reader,
    encrypt_bytes,
)
from dagster_beiwe.errors import ConfigurationError, EncryptionError, PassphraseMissingError

HEADER_LIMIT = 16 * 1024


def stored_file(header: object, payload: bytes = b"\0" * 32) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("I", len(text)) + text + payload


def good_header() -> dict[str, object]:
    iv = base64.b64encode(b"\0" * 16).decode()
    parameters = {"salt": "c2FsdHNhbHQ=", "length": 32, "iterations": 100000, "algorithm": "sha256"}
    return {
        "cipher": {"function": "AES", "params": {"bits": 256, "mode": "CFB8"}},
        "kdf": {"function": "PBKDF2HMAC", "params": parameters},
        "iv": iv,
    }


@oracle_warnings
@pytest.mark.parametrize("size_bytes", [0, 1, 15, 16, 17, 70_000])
def test_cryptease_opens_what_is_locked_here(cipher: CrypteaseCipher, size_bytes: int) -> None:
    """cryptease's own library is the oracle for writing."""
    plain = os.urandom(size_bytes)
    stored = io.BytesIO(pushed(cipher.encryptor(), plain))
    key = cryptease.key_from_file(stored, PASSPHRASE)
    assert b"".join(cryptease.decrypt(stored, key)) == plain


@oracle_warnings
@pytest.mark.parametrize("size_bytes", [0, 1, 15, 16, 17, 16_384, 70_000])
@pytest.mark.parametrize("chunk_bytes", [1, 7, 65536])
def test_what_cryptease_locked_opens_here(cipher: CrypteaseCipher, size_bytes: int, chunk_bytes: int) -> None:
    """cryptease's own library is the oracle for reading, wherever the chunks of the file end."""
    plain = os.urandom(size_bytes)
    key = cryptease.Key(*cryptease.kdf(PASSPHRASE, salt=b"one salt for all"))
    stored = b"".join(cryptease.encrypt(io.BytesIO(plain), key))
    assert pushed(cipher.decryptor(), stored, chunk_bytes) == plain


def crypt_script(action: str, file: Path, out: Path) -> None:
    script = Path(sysconfig.get_path("scripts")) / "crypt.py"
    command = [sys.executable, "-W", "ignore", str(script), action, "-o", str(out), str(file)]
    environment = {**os.environ, "ENCRYPT_PASS": PASSPHRASE, "PYTHONUTF8": "1"}
    subprocess.run(command, check=True, env=environment, capture_output=True, timeout=300)


def test_the_script_of_cryptease_opens_what_is_locked_here(cipher: CrypteaseCipher, tmp_path: Path) -> None:
    """``crypt.py --decrypt`` opens a file of the lake."""
    (tmp_path / "file.lock").write_bytes(pushed(cipher.encryptor(), b"timestamp,x\n1,2"))
    crypt_script("--decrypt", tmp_path / "file.lock", tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"timestamp,x\n1,2"


def test_what_the_script_of_cryptease_locked_opens_here(tmp_path: Path) -> None:
    """A keyring made by ``crypt.py --encrypt`` opens here."""
    (tmp_path / "keyring.json").write_bytes(b'{"beiwe": {}}')
    crypt_script("--encrypt", tmp_path / "keyring.json", tmp_path / "keyring.enc")
    assert decrypt_bytes((tmp_path / "keyring.enc").read_bytes(), PASSPHRASE) == b'{"beiwe": {}}'


def test_small_things_make_a_round_trip() -> None:
    """``encrypt_bytes`` and ``decrypt_bytes`` belong together."""
    stored = encrypt_bytes(b"secrets", PASSPHRASE)
    assert b"secrets" not in stored
    assert decrypt_bytes(stored, PASSPHRASE) == b"secrets"


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(plain=st.binary(max_size=600), cuts=st.lists(st.integers(0, 1000), max_size=6))
def test_borders_of_chunks_do_not_matter(cipher: CrypteaseCipher, plain: bytes, cuts: list[int]) -> None:
    """Chunks may end anywhere, also inside the header and also empty, in both directions."""
    borders = [0, *sorted(cuts), 10_000]
    pairs = list(itertools.pairwise(borders))
    encryptor, decryptor = cipher.encryptor(), cipher.decryptor()
    stored = b"".join([encryptor.update(plain[a:b]) for a, b in pairs] + [encryptor.finish()])
    assert b"".join([decryptor.update(stored[a:b]) for a, b in pairs] + [decryptor.finish()]) == plain


def test_each_file_has_its_own_iv(cipher: CrypteaseCipher) -> None:
    """Equal plain bytes never give equal stored bytes, neither one by one nor together."""
    one, other = (pushed(cipher.encryptor(), b"x" * 64) for _ in range(2))
    assert one[-80:] != other[-80:]
    together = [b"".join(chunks)[-80:] for chunks in cipher.encrypt_all([bytearray(b"x" * 64) for _ in range(200)])]
    assert len(set(together)) == 200


def test_another_passphrase_gives_other_bytes(cipher: CrypteaseCipher) -> None:
    """The format can't tell a wrong passphrase: this is why readers compare hashes."""
    stored = pushed(cipher.encryptor(), b"plain bytes " * 10)
    assert decrypt_bytes(stored, "wrong") != b"plain bytes " * 10


@pytest.mark.parametrize("length", [0, 3, 4, 5, 100, -1])
def test_a_cut_header_is_an_error(cipher: CrypteaseCipher, length: int) -> None:
    """A file that ends before its payload is not taken for an empty one."""
    stored = pushed(cipher.encryptor(), b"")
    with pytest.raises(EncryptionError, match="inside its header"):
        pushed(cipher.decryptor(), stored[:length])


@pytest.mark.parametrize("claimed", [0, 1, HEADER_LIMIT + 1, 2**32 - 1])
def test_a_hostile_length_is_an_error_at_once(cipher: CrypteaseCipher, claimed: int) -> None:
    """Nothing is gathered in memory because a file says that its header is huge."""
    with pytest.raises(EncryptionError, match=f"claims {claimed} bytes"):
        cipher.decryptor().update(struct.pack("I", claimed))


def altered(path: str, value: object) -> dict[str, object]:
    header = good_header()
    *parents, last = path.split(".")
    place = header
    for parent in parents:
        place = place[parent]  # type: ignore[assignment]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return header


@pytest.mark.usefixtures("deep_stack")
@pytest.mark.parametrize(
    "header",
    [
        b"no json at all",
        b"\xff\xfe",
        b"[" * HEADER_LIMIT,
        [],
        {},
        "text",
        None,
        altered("cipher.params.mode", "GCM"),
        altered("kdf.function", "RAND"),
        altered("kdf.params.algorithm", "md5"),
        altered("kdf.params.iterations", 10**9),
        altered("kdf.params.iterations", "100000"),
        altered("kdf.params.length", 16),
        altered("kdf.params.salt", ""),
        altered("kdf.params.salt", "!!"),
        altered("kdf.params.salt", 5),
        altered("kdf.params.salt", "A" * 400),
        altered("kdf.params.salt", None),
        altered("kdf", None),
        altered("iv", base64.b64encode(b"1" * 16).decode()),
        altered("iv", None),
    ],
)
def test_a_garbled_header_is_an_error(cipher: CrypteaseCipher, header: object) -> None:
    """What cryptease does not write is refused instead of decrypted into garbage."""
    with pytest.raises(EncryptionError, match="was not written by cryptease"):
        cipher.decryptor().update(stored_file(header))


@pytest.mark.parametrize("salt", ["c2FsdHNhbHQ=", base64.b64encode(b"1" * 16).decode()])
def test_a_header_with_a_blank_iv_is_no_other_ones_header(cipher: CrypteaseCipher, salt: str) -> None:
    """Headers that were checked are remembered with a blank IV. It has to be that of the file, too."""
    pushed(cipher.decryptor(), stored_file(good_header()))
    with pytest.raises(EncryptionError, match="another IV"):
        cipher.decryptor().update(stored_file(altered("kdf.params.salt", salt), b"1" * 32))


def test_the_header_that_the_garbled_ones_come_from_is_good(cipher: CrypteaseCipher) -> None:
    """Otherwise the test before would prove nothing."""
    assert len(pushed(cipher.decryptor(), stored_file(good_header()))) == 16


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(noise=st.binary(max_size=400))
def test_noise_gives_nothing_but_encryption_errors(cipher: CrypteaseCipher, noise: bytes) -> None:
    """Arbitrary bytes instead of a file are refused in our own words."""
    with pytest.raises(EncryptionError):
        pushed(cipher.decryptor(), noise)


@pytest.fixture
def derivations(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The salts for which a key was derived, in order."""
    salts: list[bytes] = []
    derive = cryptease.kdf

    def counted(passphrase: str, salt: bytes) -> cryptease.Key:
        salts.append(salt)
        return derive(passphrase, salt=salt)

    monkeypatch.setattr(cryptease, "kdf", counted)
    return salts


def test_many_files_cost_one_derivation(derivations: list[bytes]) -> None:
    """Deriving takes longer than encrypting a small file, so a run does it once, whoever writes and reads."""
    writer, reader = CrypteaseCipher(PASSPHRASE), CrypteaseCipher(PASSPHRASE)
    assert derivations == []
    files = [pushed(writer.encryptor(), b"%d" % number) for number in range(20)]
    assert [pushed(reader.decryptor(), file) for file in files] == [b"%d" % number for number in range(20)]
    assert [pushed(writer.decryptor(), file) for file in files] == [b"%d" % number for number in range(20)]
    assert len(derivations) == 2
    assert len(set(derivations)) == 1


def test_threads_share_one_derivation(derivations: list[bytes]) -> None:
    """Parallel writers and readers of one instance wait for one key instead of deriving several."""
    cipher = CrypteaseCipher(PASSPHRASE)
    results: list[bytes] = []

    def work(number: int) -> None:
        plain = b"%d" % number * 1000
        assert pushed(cipher.decryptor(), pushed(cipher.encryptor(), plain)) == plain
        results.append(plain)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 8
    assert len(derivations) == 1


def test_kept_keys_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lake written by many runs has many salts; the last used ones stay."""
    derived: list[bytes] = []

    def quick(_: str, salt: bytes) -> cryptease.Key:
        derived.append(salt)
        return cryptease.Key(key=salt.ljust(32, b"\0"), metadata={})

    monkeypatch.setattr(cryptease, "kdf", quick)
    cipher = CrypteaseCipher(PASSPHRASE)
    salts = [b"salt %03d" % number for number in range(65)]
    for salt in [*salts[:64], salts[0], salts[64], salts[0], salts[1]]:
        assert cipher.read_key(salt).startswith(salt)
    assert derived == [*salts, salts[1]]


def test_a_reader_reads_in_chunks_of_any_size(cipher: CrypteaseCipher) -> None:
    """The plain stream supports lines, small reads and reading to the end, and closes its source."""
    plain = b"first line\n" + os.urandom(CHUNK_BYTES + 5)
    source = io.BytesIO(pushed(cipher.encryptor(), plain))
    with io.BufferedReader(decrypting_reader(source, cipher)) as reader:
        assert reader.readline() == b"first line\n"
        assert reader.read(3) + reader.read() == plain[11:]
        assert reader.read() == b""
    assert source.closed


def test_a_reader_of_another_file_is_an_error(cipher: CrypteaseCipher) -> None:
    """A plain file that is taken for a locked one is noticed."""
    with pytest.raises(EncryptionError):
        decrypting_reader(io.BytesIO(b"timestamp,UTC time,x\n1,2,3\n"), cipher).read()


def test_an_empty_passphrase_is_missing() -> None:
    """An empty variable in the environment must not lock data with an empty passphrase."""
    with pytest.raises(PassphraseMissingError, match="BEIWE_LAKE_PASSPHRASE"):
        CrypteaseCipher("")


def test_an_undecodable_passphrase_is_refused_without_showing_it() -> None:
    """Python hands undecodable bytes of the environment on as surrogates, which cryptease can't encode."""
    with pytest.raises(ConfigurationError) as caught:
        CrypteaseCipher("hunter2\udcff")
    assert "hunter2" not in repr(caught.value)
    assert caught.value.__context__ is None


def test_nothing_shows_or_stores_the_passphrase() -> None:
    """Neither repr nor pickle nor copy let a secret out."""
    cipher = CrypteaseCipher("hunter2-secret")
    for thing in (cipher, cipher.encryptor(), cipher.decryptor()):
        assert "hunter2" not in f"{thing!r} {thing!s}"
    for smuggle in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="holds keys"):
            smuggle(cipher)


def run_python(code: str) -> str:
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


ROUND_TRIP = """
from dagster_beiwe.encryption import decrypt_bytes, encrypt_bytes
assert decrypt_bytes(encrypt_bytes(b"plain", "p"), "p") == b"plain"
import cryptease
import cryptography
assert len(cryptease.kdf("p").key) == 32
print("fine")
"""


REMOVED = """
import warnings
from cryptography.hazmat.primitives.ciphers import modes
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    del modes.CFB8
    assert not hasattr(modes, "CFB8")
"""


WITHOUT = pytest.param(
    REMOVED,
    id="no old place",
    marks=pytest.mark.skipif(
        int(cryptography.__version__.partition(".")[0]) < 47, reason="before version 47 the old place is the only one"
    ),
)


@pytest.mark.parametrize("surroundings", [pytest.param("", id="as it is"), WITHOUT])
def test_it_works_wherever_cryptography_has_the_mode(surroundings: str) -> None:
    """CFB8 moved in cryptography 47 and is to leave its old place; neither gives a warning or a failure."""
    assert run_python(surroundings + ROUND_TRIP) == "fine\n"


def test_the_first_example_of_the_documentation_runs() -> None:
    """What docs/encryption.md shows is what the code does."""
    guide = Path(__file__).parents[2] / "docs" / "encryption.md"
    example = guide.read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
    exec(compile(example, str(guide), "exec"), {})


def test_a_file_opens_without_crypt_py_as_documented(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The way out for the day on which CFB8 leaves its old place, without which the cipher is tested above."""
    guide = Path(__file__).parents[2] / "docs" / "encryption.md"
    (example,) = (
        block.split("```")[0]
        for block in guide.read_text(encoding="utf-8").split("```python\n")
        if "import CrypteaseCipher, decrypting_reader" in block.split("```")[0]
    )
    (tmp_path / "hour.csv.zst.lock").write_bytes(pushed(CrypteaseCipher("passphrase of the study").encryptor(), b"ok"))
    monkeypatch.chdir(tmp_path)
    exec(compile(example, str(guide), "exec"), {})
    assert (tmp_path / "hour.csv.zst").read_bytes() == b"ok"


def test_threads_decrypt_at_the_same_time() -> None:
    """Each in memory of its own, which it keeps."""
    interval = sys.getswitchinterval()
    files = [os.urandom(60_000) for _ in range(12)]
    stored = [encrypt_bytes(data, PASSPHRASE) for data in files]
    cipher = CrypteaseCipher(PASSPHRASE)

    def decrypt(number: int) -> bool:
        decryptor = cipher.decryptor()
        return decryptor.update(stored[number]) + decryptor.finish() == files[number]

    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(4) as pool:
            assert all(pool.map(decrypt, [*range(len(files))] * 10))
    finally:
        sys.setswitchinterval(interval)
