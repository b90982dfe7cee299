"""JSON that somebody else keeps is read as a type, or not at all."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from dagster_beiwe.typed_json import read_json


@dataclass(frozen=True, kw_only=True)
class Kept:
    at: float = 0.0
    names: dict[str, str] = field(default_factory=dict)


def test_what_a_version_does_not_know_is_ignored() -> None:
    """So that versions read what others wrote, as far as fields mean the same."""
    assert read_json('{"at": 3, "names": {"a": "b"}, "later": [1]}', Kept) == Kept(at=3.0, names={"a": "b"})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        "null",
        "[]",
        '{"names": {"a": 1}}',
        '{"names": {"a": "\\ud800"}}',
        '{"names": {"\ud800": "a"}}',
        '{"at": NaN}',
        '{"at": -Infinity}',
        '{"at": 1e999}',
        '{"at": 1' + 400 * "0" + "}",
        '{"at": 1' + 5_000 * "0" + "}",
        100_000 * "[",
        '{"later": ' + 100_000 * "[" + 100_000 * "]" + "}",
    ],
    ids=range(14),
)
def test_what_is_not_of_the_type_is_nothing(text: str) -> None:
    """It raises nothing: whoever reads a cursor starts over."""
    assert read_json(text, Kept) is None
