"""``dagster-beiwe demo``: the whole product on synthetic studies, with a simulated server on loopback."""

from __future__ import annotations

from pathlib import Path

import click

from dagster_beiwe.cli.command import Command
from dagster_beiwe.cli.messages import when_interrupted
from dagster_beiwe.opening import user_path
from dagster_beiwe.private_files import keep_private
from dagster_beiwe.simulator import PROFILE_NAMES
from dagster_beiwe.simulator.profiles import CURRENT, Profile


def _profile(text: str) -> str:
    try:
        Profile.named(text)
    except (ValueError, TypeError):
        raise click.BadParameter(f"{text[:40]!r} is neither {', '.join(PROFILE_NAMES)} nor a date.") from None
    return text


@click.command(cls=Command, examples=["demo", "demo --once --folder /tmp/demo"])
@click.option("--once", is_flag=True, help="Do the whole job without Dagster's pages, and end.")
@click.option("--scenario", is_flag=True, help="Play late, restated and deleted data, and end.")
@click.option(
    "--folder",
    type=user_path,
    metavar="PATH",
    default=".demo",
    help="Where to keep the lake and the history. Default: .demo.",
)
@click.option(
    "--profile",
    type=_profile,
    metavar="PROFILE",
    default=CURRENT,
    help=f"Generation of the server: {', '.join(PROFILE_NAMES)} or a date.",
)
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    default=3000,
    help="Port of Dagster's pages. If it is in use, another one is taken. Default: 3000.",
)
@click.option("--no-browser", is_flag=True, help="Do not open the browser.")
def command(*, once: bool, scenario: bool, folder: Path, profile: str, port: int, no_browser: bool) -> int:
    """Try everything on a simulated server with synthetic studies.

    The studies are live, and a control page lets you cause events in them. Ctrl-C ends the demo.

    Everything that the demo creates is in one folder, and can be deleted with it. No patient data is involved.
    """
    keep_private()  # Dagster's own files too
    if scenario:
        if once:
            raise click.UsageError("Use either --once or --scenario.")
        from dagster_beiwe.demo.scenario import run_scenario

        return run_scenario()
    from dagster_beiwe.demo.run import run_demo  # Dagster is slow to import, and --help does not need it

    with when_interrupted(lambda: f"What is in {folder} stays, and the next demo in this folder continues with it."):
        return run_demo(folder.absolute(), profile=profile, once=once, port=port, browser=not no_browser)
