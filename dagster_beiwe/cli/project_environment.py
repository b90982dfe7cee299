"""The file ``.env`` of a project: what it sets holds for commands as it does for Dagster's own."""

from __future__ import annotations

import io
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePath

from dagster_beiwe.environment import own_names
from dagster_beiwe.errors import ConfigurationError
from dagster_beiwe.private_files import NotRegularFileError, open_file

NAME = ".env"

_STORES = ("AWS_", "AZURE_", "FSSPEC_", "GOOGLE_APPLICATION_CREDENTIALS", "STORAGE_EMULATOR_HOST")
"""How the names of variables begin that decide which object store a URL leads to, and as whom."""

logger = logging.getLogger("dagster_beiwe")


@contextmanager
def project_environment() -> Iterator[None]:
    """Set the variables of ``.env`` in the current folder while the block runs, over those that are set, as Dagster
    does.

    Raises ``ConfigurationError`` if one that decides which lake, server, keys, or history are used is set to another
    value: whoever exports it means it, and Dagster would not use it.
    """
    before, variables = dict(os.environ), _variables(Path(NAME))
    own = own_names({*before, *variables})
    if names := [name for name in exported_otherwise(variables) if name in own or name.startswith(_STORES)]:
        raise ConfigurationError(
            f"The environment of this command and the file {Path(NAME).absolute()} have different values of "
            f"{', '.join(names)}. Nothing was done. Dagster uses the file's, whatever is exported. Correct the file, "
            f"or run `unset {' '.join(names)}`."
        )
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def exported_otherwise(variables: Mapping[str, str]) -> list[str]:
    """The names of those that the environment has with another value; an empty one there counts as none."""
    return [name for name, value in variables.items() if (set_to := os.environ.get(name)) and not _same(set_to, value)]


def as_line(name: str, value: str) -> str:
    """A line of such a file."""
    escaped = value.replace("\\", "\\\\").replace("'", "\\'").replace("${", "${:-$}{")  # or a variable's value
    return f"{name}='{escaped}'"


def _same(one: str, other: str) -> bool:
    """Whether two values are the same, or the same path."""
    if one.startswith(("/", "~")) and other.startswith(("/", "~")):
        return PurePath(os.path.expanduser(one)) == PurePath(os.path.expanduser(other))
    return one == other


def _variables(path: Path) -> Mapping[str, str]:
    """Only of a file of this user: in somebody else's folder, it could send the keys to another server.

    Raises ``ConfigurationError`` for one that is no text of variables.
    """
    try:
        with open_file(path, follow=True) as file:
            if os.name != "nt" and os.fstat(file.fileno()).st_uid != os.geteuid():
                logger.warning("The file %s in this folder belongs to another user, so it was not read.", NAME)
                return {}
            data = file.read()
    except (FileNotFoundError, NotRegularFileError):
        return {}
    except PermissionError:
        logger.warning("The file %s in this folder cannot be read by this user, so it was not read.", NAME)
        return {}
    return _parsed(data)


def _parsed(data: bytes) -> Mapping[str, str]:
    from dotenv import dotenv_values  # most folders have no such file

    try:
        found = dotenv_values(stream=io.StringIO(data.decode("utf-8-sig"), newline=None))
    except UnicodeDecodeError:
        pass
    else:
        if all(
            name and not {"\0", "="}.intersection(name) and "\0" not in (value or "") for name, value in found.items()
        ):
            return {name: value for name, value in found.items() if value is not None}
    # Outside of the except block: the decoder's exception holds what was read.
    raise ConfigurationError(
        f"The file {NAME} in this folder cannot be used: it is not UTF-8 text, or holds a NUL character or a name with "
        "'='. Nothing was done. Correct it, or run the command in another folder."
    )
