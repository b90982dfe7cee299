"""Run the demo: its simulated server, and beside it the UI or the whole job without one."""

from __future__ import annotations

import os
from pathlib import Path

from dagster_beiwe.demo.folder import prepare_folder, variables
from dagster_beiwe.demo.headless import prepare, run_everything
from dagster_beiwe.demo.user_interface import serve
from dagster_beiwe.simulator import SimulatedServer, World

_SEED = 1


def run_demo(folder: Path, *, profile: str, once: bool, port: int, browser: bool) -> int:
    """Run until Ctrl-C or SIGTERM, or with ``once`` until everything is in the lake. Returns an exit status."""
    world = World.demo(seed=_SEED, now=prepare_folder(folder))
    with SimulatedServer(world, profile=profile, control=True) as server:
        os.environ.update(variables(folder, server))
        if once:
            return run_everything(folder / "lake")
        print("Asking the simulated server for its studies and participants ...", flush=True)
        prepare()
        return serve(folder, port=port, browser=browser)
