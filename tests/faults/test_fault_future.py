"""The supply chain's future: ``cryptography`` is to drop CFB8 from its primary module, which cryptease itself uses."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from fault_scene import FIRST, SECOND, cells, client_of, held, new_world, open_lake, run, truth

from dagster_beiwe.credentials import read_keyring, write_keyring
from dagster_beiwe.simulator import SimulatedServer

HERE = Path(__file__).parent
NEW_PLACE = "cryptography.hazmat.decrepit.ciphers.modes"

AFTER = """
import sys, warnings
from cryptography.hazmat.primitives.ciphers import modes
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    del modes.CFB8
    assert not hasattr(modes, "CFB8")
warnings.simplefilter("error")

sys.path.insert(0, sys.argv[1])
from pathlib import Path
from fault_scene import *
from dagster_beiwe.credentials import read_keyring, write_keyring
from dagster_beiwe.lake.catalog import key_file

key_file.LOG2_N = 10
folder = Path(sys.argv[2])
before = held(folder / "lake")
assert before
credentials = Credentials(url=sys.argv[3], access_key=sys.argv[4], secret_key=sys.argv[5])
with BeiweClient(credentials) as client:
    run(client, open_lake(folder / "lake"), cells())
assert before.items() < held(folder / "lake").items()
check_lake(folder / "lake")
sections = read_keyring(folder / "keyring", passphrase="locked")
assert sections["lab"]["ACCESS_KEY"] == "abc+"
write_keyring(folder / "keyring after", sections, "locked")
print("fine")
"""


@pytest.mark.skipif(
    importlib.util.find_spec("cryptography.hazmat.decrepit.ciphers") is None
    or importlib.util.find_spec(NEW_PLACE) is None,
    reason="this version of cryptography has CFB8 in its old place only",
)
def test_a_whole_lake_without_the_old_place_of_cfb8(filled_lake: Path, tmp_path: Path) -> None:
    """Reading what was written before, writing more, verifying, keyrings: all as ever, and readable by today's code."""
    shutil.copytree(filled_lake, tmp_path / "lake")
    section = {"URL": "https://example.org", "ACCESS_KEY": "abc+", "SECRET_KEY": "def/"}
    write_keyring(tmp_path / "keyring", {"lab": section}, "locked")
    world = new_world()
    with SimulatedServer(world) as server:
        arguments = [str(HERE), str(tmp_path), server.url, server.access_key, server.secret_key]
        command = [sys.executable, "-c", AFTER, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.stdout == "fine\n", done.stderr
        assert held(tmp_path / "lake") == truth(world)
        with client_of(server, []) as client:
            reports = run(client, open_lake(tmp_path / "lake"), cells([FIRST, SECOND]))
    assert sum(report.added + report.changed for report in reports) == 0
    assert "lab" in read_keyring(tmp_path / "keyring after", passphrase="locked")
