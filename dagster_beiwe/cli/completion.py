"""What a shell completes: names that need neither the server nor a passphrase.

Names of studies are encrypted, so ids are completed, and only of a lake on this machine: an object store would take too
long.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import click

from dagster_beiwe.environment import BEIWE_LAKE
from dagster_beiwe.ids import is_participant_id, is_study_id
from dagster_beiwe.streams import STREAM_NAMES


def studies(ctx: click.Context, option: click.Parameter, incomplete: str) -> list[str]:  # noqa: ARG001 - of click
    """Ids of the studies in the lake."""
    return [path.name for path in _studies() if path.name.startswith(incomplete)]


def participants(ctx: click.Context, option: click.Parameter, incomplete: str) -> list[str]:  # noqa: ARG001 - of click
    """Ids of the participants in the lake, of the study that the line names by its id, or of all."""
    wanted = str(ctx.params.get("study") or "")
    chosen = [path for path in _studies() if path.name.startswith(wanted)] or list(_studies())
    return sorted(
        {each.name for path in chosen for each in path.iterdir()
         if each.name.startswith(incomplete) and is_participant_id(each.name)}
    )  # fmt: skip


def streams(ctx: click.Context, option: click.Parameter, incomplete: str) -> list[str]:  # noqa: ARG001 - of click
    """Beiwe's data streams."""
    return [name for name in STREAM_NAMES if name.startswith(incomplete)]


def _studies() -> Iterator[Path]:
    lake = Path(os.environ.get(BEIWE_LAKE) or os.devnull).expanduser()
    if lake.is_dir():
        yield from sorted(path for path in lake.iterdir() if is_study_id(path.name))
