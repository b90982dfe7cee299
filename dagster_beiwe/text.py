"""Text for people: texts of others, shown so that they format and control nothing, and numbers with their nouns."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timezone

_LONGEST_SHOWN = 200

_FORMATS_NOTHING = re.compile(r"(?!.*www\.)(?:[^\W_]|[ .,:;'!?()-]|&(?=\s))+", re.IGNORECASE)

_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")


def one_line(text: str) -> str:
    """Free text of the server for a terminal, a log, or an error.

    Characters that would be obeyed and not shown (line breaks, escapes, marks of direction) become spaces.
    """
    return "".join(character if character.isprintable() else " " for character in text)


def as_typed(text: str) -> str:
    """Text of a command line or a variable as it was typed, in UTF-8, even if the locale is ASCII."""
    with suppress(UnicodeError):
        return text.encode(errors="surrogateescape").decode()
    return text


def as_code(text: str) -> str:
    """Free text of the server for Markdown, where it formats nothing: at most 200 characters between backticks."""
    shown = text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."
    return f"`{one_line(shown).replace('`', chr(39))}`"


def as_title(text: str) -> str:
    """Free text of the server for a description, which Dagster shows as Markdown on one page and as it is on another:
    as code only if it could format something."""
    return text if len(text) <= _LONGEST_SHOWN and _FORMATS_NOTHING.fullmatch(text) else as_code(text)


def first_sentence(error: BaseException) -> str:
    """What an error says is wrong, without the state that this leaves and the advice."""
    return str(error).partition(". ")[0]


def counted(number: int, one: str) -> str:
    """A number with its noun, as in "1 file" and "2,127 files"."""
    return f"{number:,} {one}{'' if number == 1 else 's'}"


def error_in_words(name: str) -> str:
    """What the class name of an error says: "damaged member" for ``DamagedMemberError``."""
    words = [word.lower() for word in _WORDS.findall(name)]
    return " ".join(words[:-1] if len(words) > 2 and words[-1] == "error" else words)


def utc_minute(moment: datetime) -> str:
    """An aware moment to the minute, as in "2026-03-04 08:00 UTC"."""
    return f"{moment.astimezone(timezone.utc):%Y-%m-%d %H:%M} UTC"


def listed(names: Sequence[str], *, most: int = 200) -> str:
    """The first names, and how many more there are, as in "anna, bert and 3 more"."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def human_size(size_bytes: float) -> str:
    """A size in the largest unit that keeps it above one: ``1.4 MB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if size_bytes < 1000:
            return f"{size_bytes:.0f} {unit}" if unit == "B" else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1000
    return f"{size_bytes:.1f} TB"
