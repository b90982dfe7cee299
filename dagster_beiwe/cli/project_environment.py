"""The file ``.env`` of a project: what it sets holds for commands as it does for Dagster's own."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

NAME = ".env"

logger = logging.getLogger("dagster_beiwe")


@contextmanager
def project_environment() -> Iterator[None]:
    """Set the variables of ``.env`` in the current folder while the block runs, over those that are set, as Dagster
    does."""
    before = dict(os.environ)
    os.environ.update(_variables(Path(NAME)))
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def as_line(name: str, value: str) -> str:
    """A line of such a file."""
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"{name}='{escaped}'"


def _variables(path: Path) -> Mapping[str, str]:
    """Only of a file of this user: in somebody else's folder, it could send the keys to another server."""
    if not path.is_file():
        return {}
    if os.name != "nt" and path.stat().st_uid != os.geteuid():
        logger.warning("The file %s in this folder belongs to another user, so it was not read.", NAME)
        return {}
    from dotenv import dotenv_values  # most folders have no such file

    return {name: value for name, value in dotenv_values(path).items() if value is not None}
