"""Run the demo: its simulated server, and beside it Dagster or the whole job without its pages."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

from dagster_beiwe.demo.folder import WORKSPACE, prepare_folder, variables
from dagster_beiwe.demo.headless import fill_everything, fill_first_study
from dagster_beiwe.demo.living import LAG, LivingServer
from dagster_beiwe.demo.user_interface import Addresses, find_dagster, free_port, serve


def run_demo(folder: Path, *, profile: str, once: bool, port: int, browser: bool) -> int:
    """Run until Ctrl-C, SIGTERM or SIGHUP, or with ``once`` until everything is in the lake. Returns an exit status."""
    prepare_folder(folder)
    program = None if once else find_dagster()
    living = LivingServer(folder, profile=profile, behind=timedelta(0) if once else LAG)
    with living.running() as server:
        os.environ.update(variables(folder, server))
        if program is None:
            return fill_everything(living, folder)
        coverage = fill_first_study(living)
        port = free_port(port)
        dagster = f"http://127.0.0.1:{port}"
        return serve(
            [program, "dev", "-w", str(folder / WORKSPACE), "-h", "127.0.0.1", "-p", str(port)],
            folder,
            Addresses(
                dagster=dagster,
                silent=f"{dagster}/assets/{'/'.join(coverage.path)}?view=events",
                control=server.control_url,
            ),
            browser=browser,
            meanwhile=living.living(),
        )
