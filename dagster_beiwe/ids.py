"""Ids of studies and participants, and names made from them: slugs, parts of paths."""

from __future__ import annotations

import re
import unicodedata
from urllib.parse import urlsplit

from dagster_beiwe.errors import ConfigurationError

_STUDY_ID = re.compile(r"[A-Za-z0-9]{24}")
_PARTICIPANT = re.compile(r"[A-Za-z0-9_-]{1,64}")
_PART_OF_PATH = r"[A-Za-z0-9_.+()~ -]{1,255}"
_PATH_BELOW = re.compile(rf"(?!\.){_PART_OF_PATH}(?:/(?!\.\.?(?:/|\Z)){_PART_OF_PATH})*")
_LONGEST_SLUG = 80  # asset keys become file names of tables, which file systems bound


def is_study_id(text: str) -> bool:
    """Whether the text has the form of a study id: 24 letters and digits."""
    return _STUDY_ID.fullmatch(text) is not None


def is_participant_id(text: str) -> bool:
    """Whether the text is safe as a participant's id in partitions, folders, and requests."""
    return _PARTICIPANT.fullmatch(text) is not None


def is_plain_name(text: str) -> bool:
    """Whether the text has the form of a window's key or a run's token, and so is safe as a part of a path."""
    return _PARTICIPANT.fullmatch(text) is not None


def is_path_below(text: str) -> bool:
    """Whether the text can be a path below a participant's folder that leads neither out nor to ``.beiwe``."""
    return _PATH_BELOW.fullmatch(text) is not None


def check_study_id(text: str) -> str:
    """The id, if it has the form of a study id; raises ``ConfigurationError`` otherwise."""
    if not is_study_id(text):
        raise ConfigurationError(
            f"{text[:40]!r} ({len(text)} characters) is not a study id, which has 24 letters and digits. Nothing was "
            "requested. Copy the id from the study's page on the Beiwe website."
        )
    return text


def check_participant_id(text: str) -> str:
    """The id, if it is safe; raises ``ConfigurationError`` otherwise."""
    if not is_participant_id(text):
        raise ConfigurationError(
            f"{text[:40]!r} is not a participant id, which has letters, digits, '_', and '-'. Nothing was requested. "
            "Copy the id from the study's roster."
        )
    return text


def slug(text: str) -> str:
    """A short name for asset keys and groups: up to 80 lowercase letters, digits, and ``_``, without accents.

    Raises ``ConfigurationError`` if nothing is left, as of a name in another script: give the study a ``key``.
    """
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    result = re.sub(r"[^a-z0-9]+", "_", plain).strip("_")[:_LONGEST_SLUG].rstrip("_")
    if not result:
        raise ConfigurationError(
            "The study's name has no Latin letter or digit from which to make an asset key. Nothing was built. Set "
            "`key` in the study's configuration."
        )
    return result


def host_slug(url: str) -> str:
    """The server's host (and port) as a name for pools: ``beiwe.example.org`` gives ``beiwe_example_org``.

    Raises ``ConfigurationError`` for a malformed URL, without repeating it, because it may hold a password.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        pass
    else:
        return slug(f"{host or 'server'} {port or ''}")
    # Outside of the except block: the parser's exception holds a part of the URL.
    raise ConfigurationError(
        "The URL of the Beiwe server is malformed. Nothing was built. Write it as https://studies.example.org, with "
        "the keys in variables of their own."
    )
