"""``run.py`` hands signals on: who stops it stops what it started, and nothing else stays behind."""

from __future__ import annotations

import os
import runpy
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = """#!{python}
import signal

asked = {{signal.SIGINT, signal.SIGTERM}}
signal.pthread_sigmask(signal.SIG_BLOCK, asked)
print("ready", flush=True)
told = signal.sigtimedwait(asked, 20)  # not for ever: where no signal arrives, nobody ends this
print("told", told and told.si_signo, flush=True)
raise SystemExit(7)
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_reaches_the_program_which_decides_how_it_ends(number: signal.Signals, tmp_path: Path) -> None:
    for name in ("run.py", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    program = tmp_path / ".venv" / "bin" / "dagster-beiwe"
    program.parent.mkdir(parents=True)
    program.write_text(PROGRAM.format(python=sys.executable))
    program.chmod(0o700)
    copy = SimpleNamespace(**runpy.run_path(str(tmp_path / "run.py")))
    (tmp_path / ".venv" / "installed-webserver").write_text(copy.stamp_of(sys.executable))

    command = [sys.executable, str(tmp_path / "run.py"), "demo"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        assert process.stdout.read() == f"told {int(number)}\n"
    assert process.returncode == 7
