"""``python -m dagster_beiwe.simulator``: the demo world as a server of its own, until SIGTERM or Ctrl-C."""

from __future__ import annotations

import argparse
import signal
import threading
from collections.abc import Sequence
from types import FrameType

from dagster_beiwe.simulator.profiles import CURRENT, PROFILE_NAMES
from dagster_beiwe.simulator.server import SimulatedServer
from dagster_beiwe.simulator.versions import page
from dagster_beiwe.simulator.world import World


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m dagster_beiwe.simulator", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1; 0 takes a free one")
    parser.add_argument("--seed", type=int, default=1, help="the same seed gives the same studies and keys")
    parser.add_argument("--profile", default=CURRENT, help=f"server generation: {', '.join(PROFILE_NAMES)} or a date")
    parser.add_argument("--versions", action="store_true", help="print the page about server versions, and end")
    options = parser.parse_args(arguments)
    if options.versions:
        print(page(), end="")
        return 0
    stop = threading.Event()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    world = World.demo(seed=options.seed)
    with SimulatedServer(world, port=options.port, profile=options.profile, control=True) as server:
        print(f"BEIWE_URL={server.url}")
        print(f"BEIWE_ACCESS_KEY={server.access_key}")
        print(f"BEIWE_SECRET_KEY={server.secret_key}")
        print(f"BEIWE_USERNAME={server.username}")
        print(f"BEIWE_PASSWORD={server.password}")
        print(f"# control page: {server.control_url}", flush=True)
        stop.wait()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
