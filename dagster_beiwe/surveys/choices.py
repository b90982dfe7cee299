"""Which of the offered options were chosen. Pure.

Phones write no quotes: they replace commas, tabs, and line breaks, and join options with separators that an option may
contain, too. So a text is never split. The offered options are written as a phone writes them, and compared; a text
that several choices would give is ambiguous.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final, Literal

RADIO_BUTTON: Final = "radio_button"
CHECKBOX: Final = "checkbox"

Match = Literal["exact", "ambiguous", "no match", "options unknown"]
"""How an answer was found among the options."""

_BREAKS: Final = re.compile("[\t\n\r]")


@dataclass(frozen=True, kw_only=True)
class Spelling:
    """How an app writes options into a file: what it puts for a comma and for a line break, and what it joins with."""

    comma: str
    line_break: str
    between_options: str
    between_answers: str

    def of(self, text: str) -> str:
        return _BREAKS.sub(self.line_break, text).replace(",", self.comma)

    def writes(self, options: Sequence[str], text: str) -> bool:
        """Whether the app writes these options as this text, with or without brackets around."""
        joined = self.between_options.join(map(self.of, options))
        return text in (joined, f"[{joined}]")


SPELLINGS: Final = (
    Spelling(comma=";", line_break=" ", between_options=";", between_answers=";"),  # iOS
    Spelling(comma=";", line_break="  ", between_options="; ", between_answers="; "),  # Android
    Spelling(comma=".", line_break="  ", between_options=". ", between_answers="; "),  # Android, for a while
)


def spellings_of(options: Sequence[str], text: str) -> tuple[Spelling, ...]:
    """The ways in which an app can have written the options as this text."""
    return tuple(spelling for spelling in SPELLINGS if spelling.writes(options, text))


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """The positions of chosen options, starting at 0; none unless the match is exact."""

    match: Match
    options: tuple[int, ...] = ()

    @classmethod
    def among(cls, found: Iterable[tuple[int, ...]]) -> Chosen:
        different = {*found}
        if len(different) == 1:
            return cls(match="exact", options=different.pop())
        return cls(match="ambiguous" if different else "no match")


def radio_button(
    answer: str, options: Sequence[str], spellings: Sequence[Spelling], *, numbered: bool | None
) -> Chosen:
    """The option whose text, or position, the answer is. ``numbered`` says which; None if it is not known."""
    found = set[tuple[int, ...]]()
    if numbered is not True:
        found |= {(place,) for place in places_of(answer, options, spellings)}
    if numbered is not False and (place := position_in(answer, options)) is not None:
        found.add((place,))
    return Chosen.among(found)


def checkbox(answer: str, options: Sequence[str], spellings: Sequence[Spelling]) -> Chosen:
    """The options that the answer lists."""
    listed = answer[1:-1] if answer.startswith("[") and answer.endswith("]") else answer
    found = set[tuple[int, ...]]()
    for spelling in spellings:
        found.update(_listed(listed, tuple(map(spelling.of, options)), spelling.between_answers))
    return Chosen.among(found)


def places_of(answer: str, options: Sequence[str], spellings: Sequence[Spelling]) -> set[int]:
    """The places of the options that are written like this."""
    return {
        place
        for spelling in spellings
        for place, option in enumerate(options)
        if spelling.of(option) == spelling.of(answer)
    }


def position_in(answer: str, options: Sequence[str]) -> int | None:
    """The position that the answer says, as Android writes it for radio buttons."""
    is_position = answer.isascii() and answer.isdecimal() and len(answer) <= len(str(len(options)))
    return int(answer) if is_position and int(answer) < len(options) else None


def _listed(text: str, options: tuple[str, ...], separator: str) -> Sequence[tuple[int, ...]]:
    """At most two of the choices that are listed as this text, in the order in which they are offered; in any order
    only if no option contains the separator."""

    @cache
    def rest(start: int, first: int) -> tuple[tuple[int, ...], ...]:
        found: list[tuple[int, ...]] = []
        for place in range(first, len(options)):
            end = start + len(options[place])
            if text.startswith(options[place], start):
                if end == len(text):
                    found.append((place,))
                elif text.startswith(separator, end):
                    found += [(place, *more) for more in rest(end + len(separator), place + 1)]
            if len(found) > 1:
                break
        return tuple(found[:2])

    in_order = rest(0, 0)
    if in_order or any(separator in option for option in options):
        return in_order
    named = text.split(separator)
    are_options = len({*named}) == len(named) and all(options.count(each) == 1 for each in named)
    return [tuple(sorted(map(options.index, named)))] if are_options else []
