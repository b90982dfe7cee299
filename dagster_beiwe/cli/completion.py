"""What a shell completes: names that need neither the server nor a passphrase.

Names of studies are encrypted, so ids are completed, and only of a lake on this machine: an object store would take too
long.
"""

from __future__ import annotations

import os
from pathlib import Path

import click

from dagster_beiwe.environment import BEIWE_LAKE
from dagster_beiwe.ids import is_participant_id, is_study_id
from dagster_beiwe.streams import STREAM_NAMES


def studies(ctx: click.Context, option: click.Parameter, incomplete: str) -> list[str]:  # noqa: ARG001 - of click
    """Ids of the studies in the lake."""
    return [name for name in _studies() if name.startswith(incomplete)]


def participants(ctx: click.Context, option: click.Parameter, incomplete: str) -> list[str]:  # noqa: ARG001 - of click
    """Ids of the participants in the lake, of the study that the line names by its id, or of all."""
    wanted, every = str(ctx.params.get("study") or ""), _studies()
    chosen = [study for study in every if study.startswith(wanted)] or every
    found = {name for study in chosen for name in _names_in(_lake() / study)}
    return sorted(name for name in found if name.startswith(incomplete) and is_participant_id(name))


def streams(ctx: click.Context, option: click.Parameter, incomplete: str) -> list[str]:  # noqa: ARG001 - of click
    """Beiwe's data streams."""
    return [name for name in STREAM_NAMES if name.startswith(incomplete)]


def _studies() -> list[str]:
    return sorted(filter(is_study_id, _names_in(_lake())))


def _lake() -> Path:
    return Path(os.path.expanduser(os.environ.get(BEIWE_LAKE) or os.devnull))


def _names_in(folder: Path) -> list[str]:
    """None in what this user cannot list: an error would stand in the middle of the line that somebody types."""
    try:
        return [path.name for path in folder.iterdir()]
    except OSError:
        return []
