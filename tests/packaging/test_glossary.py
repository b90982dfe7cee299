"""One word for each idea, in code, documents and messages: the words that the glossary gave up stay out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("dagster_beiwe", "beiwe_project", "benchmarks", "docs", "tests")
SUFFIXES = (".py", ".md", ".yaml")

GIVEN_UP = {
    "unlock unlocks unlocked unlocking": "decrypt",
    "haul hauls hauler hauled": "result, fetched file",
    "arrival arrivals": "fetched file",
    "occasion occasions": "commit request",
    "seal seals sealed": "table manifest",
    "stray strays": "out-of-range file",
    "vanish vanishes vanished vanishing": "deleted upstream",
    "unlisted unseen": "not sent, unaccounted for",
    "settled": "up to date",
    "hole holes": "fetch failure, incomplete",
    "piece pieces": "request, chunk",
}
"""Words, and what says it instead."""

EXCEPTIONS: dict[str, dict[str, str]] = {
    "dagster_beiwe/simulator/rows.py": {"unlocked": "what an iPhone says of its screen"},
    "dagster_beiwe/streams.py": {"strays": "the folder of out-of-range files in earlier lakes"},
    "docs/completeness.md": {"strays": "the asset's earlier name, and what to do about it"},
    "tests/assets/test_out_of_range.py": {"strays": "reads a lake with the earlier name"},
}
"""{path: {word: why it may stand there}}"""

EARLIER_NAMES = ("StudyFacts", "KnownStudy", "ChosenStudy", "sign of life", "changed hands")

WORD = re.compile(r"[a-z]+|[A-Z]+(?![a-z])|[A-Z][a-z]+")


def pages() -> Iterator[Path]:
    yield ROOT / "README.md"
    for folder in FOLDERS:
        yield from (path for path in sorted((ROOT / folder).rglob("*")) if path.suffix in SUFFIXES)


def words(text: str) -> Iterator[tuple[int, str]]:
    """Line number and word, lower case; names such as ``fooBar`` and ``foo_bar`` are taken apart."""
    for number, line in enumerate(text.splitlines(), start=1):
        yield from ((number, word.lower()) for word in WORD.findall(line))


@cache
def given_up_words() -> dict[str, list[str]]:
    """Where each of them stands without being an exception."""
    places: dict[str, list[str]] = {word: [] for words_given_up in GIVEN_UP for word in words_given_up.split()}
    for path in pages():
        name = path.relative_to(ROOT).as_posix()
        if path == Path(__file__):
            continue
        allowed = EXCEPTIONS.get(name, {})
        for number, word in words(path.read_text(encoding="utf-8")):
            if word in places and word not in allowed:
                places[word].append(f"{name}:{number}: {word}")
    return places


@pytest.mark.parametrize("given_up", GIVEN_UP, ids=lambda given_up: given_up.split()[0])
def test_a_word_that_was_given_up_stays_out(given_up: str) -> None:
    """The failure names the places."""
    found = [place for word in given_up.split() for place in given_up_words()[word]]
    assert not found, f"say {GIVEN_UP[given_up]}"


@pytest.mark.parametrize("name", EARLIER_NAMES)
def test_an_earlier_name_stays_out(name: str) -> None:
    """Nothing was released under it, so nothing has to be kept for it."""
    assert [path for path in pages() if path != Path(__file__) and name in path.read_text(encoding="utf-8")] == []


def test_each_exception_is_needed() -> None:
    """One that is left over would let the word come back."""
    for name, allowed in EXCEPTIONS.items():
        assert {*allowed} <= {word for _, word in words((ROOT / name).read_text(encoding="utf-8"))}
