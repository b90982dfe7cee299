"""Serves what plays Dagster, as the demo does, at a terminal of its own."""

from __future__ import annotations

import os
import sys
from contextlib import nullcontext
from pathlib import Path

from dagster_beiwe.demo.user_interface import Addresses, free_port, serve


def main(folder: Path, processes: Path) -> int:
    os.close(os.open(os.ttyname(0), os.O_RDWR))  # the first one that the leader of a session opens becomes its own
    port = free_port(0)
    command = [sys.executable, str(Path(__file__).with_name("plays_dagster.py")), str(port), str(processes)]
    url = f"http://127.0.0.1:{port}"
    addresses = Addresses(dagster=url, silent=url, control=url)
    return serve(command, folder, addresses, browser=False, meanwhile=nullcontext())


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1]), Path(sys.argv[2])))
