"""A run whose process is taken away in the middle of a download. One test per row of the table."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fault_scene import BAD_STREAM, FIRST, PASSPHRASE, SECOND, STUDY, CheckLosses, completes, held, truth

from dagster_beiwe.client import BeiweClient
from dagster_beiwe.simulator import SimulatedServer, World

ROOT = Path(__file__).parents[2]
DEADLINE_SECONDS = 180


CHILD = """
import sys
sys.path.insert(0, sys.argv[1])
from dagster_beiwe.lake import LakeWriter
from dagster_beiwe.lake.catalog import key_file
from fault_scene import *
key_file.LOG2_N = 10
commit = LakeWriter.commit
def commit_or_wait(writer, plan, commit_request, fetched_files):
    if commit_request.participant == SECOND:
        print("all of the second participant's files are staged", flush=True)
        sys.stdin.read()
    return commit(writer, plan, commit_request, fetched_files)
LakeWriter.commit = commit_or_wait
credentials = Credentials(url=sys.argv[2], access_key=sys.argv[3], secret_key=sys.argv[4])
with BeiweClient(credentials) as client:
    for report in StudySync(client, open_lake(Path(sys.argv[5])), streams=STREAMS, run_id="killed").run(cells()):
        pass
"""


UNIGNORED = """
from signal import SIG_IGN, SIGINT, SIGTERM, getsignal
from unignored_signals import take_back_ignored_signals
assert getsignal(SIGINT) == getsignal(SIGTERM) == SIG_IGN
take_back_ignored_signals()
assert SIG_IGN not in (getsignal(SIGINT), getsignal(SIGTERM))
"""


@contextmanager
def caught_in_the_middle(server: SimulatedServer, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A run in a process of its own, when the files of the second participant are there and not yet committed."""
    arguments = [str(Path(__file__).parent), server.url, server.access_key, server.secret_key, str(folder)]
    command = [sys.executable, "-c", CHILD, *arguments]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, cwd=ROOT) as process:
        try:
            assert process.stdout is not None
            if not process.stdout.readline():
                pytest.fail(f"the run ended, or never came to the second participant: {process.communicate()}")
            assert [*folder.rglob(f"{SECOND}/{BAD_STREAM}/*")]
            yield process
        finally:
            process.kill()


def _killed(
    number: int, server: SimulatedServer, client: BeiweClient, folder: Path, world: World, check_losses: CheckLosses
) -> None:
    before = held(folder)
    with caught_in_the_middle(server, folder) as process:
        process.send_signal(number)
        _, errors = process.communicate(timeout=DEADLINE_SECONDS)
    assert process.returncode == -number
    assert PASSPHRASE not in errors
    rows = [line for file in world.files(STUDY) for line in file.read().splitlines()[1:] if len(line) > 20]
    for path in folder.rglob("*"):
        assert not path.is_file() or not any(row in path.read_bytes() for row in rows), path
    first = {key: content for key, content in truth(world).items() if f"/{FIRST}/" in key}
    assert first.items() <= held(folder).items()
    check_losses(folder, world, before)
    server.behave()
    completes(client, folder, world)


def test_sigterm(
    world: World, server: SimulatedServer, client: BeiweClient, lake_folder: Path, check_losses: CheckLosses
) -> None:
    """A service manager stops the run: what was committed stays, and the next run goes on."""
    _killed(signal.SIGTERM, server, client, lake_folder, world, check_losses)


def test_signals_reach_what_a_test_starts() -> None:
    """Also where the suite itself runs in the background, with Ctrl-C ignored: Dagster would copy that to SIGTERM."""
    assert signal.SIG_IGN not in (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM))
    command = ["sh", "-c", 'trap "" INT TERM; exec "$@"', "sh", sys.executable, "-c", UNIGNORED]
    subprocess.run(command, cwd=ROOT / "tests" / "support", check=True)


def test_sigkill(
    world: World, server: SimulatedServer, client: BeiweClient, lake_folder: Path, check_losses: CheckLosses
) -> None:
    """The kernel takes the process away, which can clean up nothing: the next run does."""
    _killed(signal.SIGKILL, server, client, lake_folder, world, check_losses)
