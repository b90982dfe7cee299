"""Where core dumps are switched off, and where they are left to the caller."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dagster_beiwe import BeiweResource, EnvCredentials, KeyringCredentials
from dagster_beiwe.cli import main
from dagster_beiwe.client import BeiweClient
from dagster_beiwe.credentials import Credentials, credentials_from_env, read_keyring, write_keyring
from dagster_beiwe.lake import BeiweLake
from dagster_beiwe.resource import BeiweCredentials

limits = pytest.importorskip("resource")
pytestmark = pytest.mark.filterwarnings("ignore:The .__fields__. attribute")  # Dagster's reading of a class without any


class Vault(BeiweCredentials):
    """A lab's own source of keys."""

    def load(self) -> Credentials:
        return credentials_from_env()


@pytest.fixture(autouse=True)
def allowed() -> Iterator[None]:
    """A process that may leave core files, and may again afterwards."""
    before, hard = limits.getrlimit(limits.RLIMIT_CORE)
    if hard == 0:
        pytest.skip("core files are forbidden here for good")
    limits.setrlimit(limits.RLIMIT_CORE, (hard, hard))
    yield
    limits.setrlimit(limits.RLIMIT_CORE, (before, hard))


@pytest.fixture
def ring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    section = {"URL": "https://beiwe.example.org", "ACCESS_KEY": "a" * 64, "SECRET_KEY": "b" * 64}
    write_keyring(tmp_path / "ring.enc", {"lab": section}, "ring")
    for name, value in {
        "BEIWE_URL": section["URL"],
        "BEIWE_ACCESS_KEY": section["ACCESS_KEY"],
        "BEIWE_SECRET_KEY": section["SECRET_KEY"],
        "BEIWE_KEYRING_FILE": str(tmp_path / "ring.enc"),
        "BEIWE_KEYRING_SECTION": "lab",
        "NRG_KEYRING_PASS": "ring",
        "BEIWE_LAKE": str(tmp_path / "lake"),
    }.items():
        monkeypatch.setenv(name, value)
    return tmp_path / "ring.enc"


@pytest.mark.parametrize(
    "use",
    [
        lambda: EnvCredentials().load(),
        lambda: KeyringCredentials().load(),
        lambda: BeiweResource(credentials=Vault()).get_client(),
        lambda: BeiweResource(credentials=Vault()).get_lake(),
        lambda: BeiweResource(credentials=Vault()).passphrase(),
        lambda: main(["keyring", "list"]),
    ],
    ids=["environment", "keyring", "client", "lake", "passphrase", "command"],
)
def test_resources_and_commands_switch_them_off(ring: Path, use: Callable[[], object]) -> None:
    """Whatever they do first."""
    use()
    assert limits.getrlimit(limits.RLIMIT_CORE)[0] == 0


def test_the_library_leaves_the_limits_of_its_host_alone(ring: Path) -> None:
    """A script decides for itself; the document on security says how."""
    BeiweClient(credentials_from_env()).close()
    read_keyring(ring, passphrase="ring")
    BeiweLake(ring.parent / "lake").studies()
    soft, hard = limits.getrlimit(limits.RLIMIT_CORE)
    assert soft == hard
