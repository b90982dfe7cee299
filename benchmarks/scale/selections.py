"""Backfills that labs ask for, as partition keys of participants by windows; participants by enrollment."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence

ALL = "all"


def selections(people: Sequence[str], windows: Sequence[str]) -> Mapping[str, list[str]]:
    """{what is selected: keys}."""
    rng = random.Random(1)
    tenth = sorted(rng.sample(range(len(people)), max(1, len(people) // 10)))
    cells = list(_grid(people, windows))
    whole, half = [len(windows)] * len(people), [max(1, len(windows) // 2)] * len(people)
    shuffled = rng.sample(list(people), len(people))
    return {
        ALL: cells,
        "one participant": list(_grid(people[:1], windows)),
        "the newest 3 windows": list(_grid(people, windows[-3:])),
        "a tenth of the participants, scattered": list(_grid([people[n] for n in tenth], windows)),
        "a twentieth of the partitions, scattered": rng.sample(cells, max(1, len(cells) // 20)),
        "enrolled one after the other, all still in the study": _staggered(people, windows, whole),
        "enrolled one after the other, each for half of the time": _staggered(people, windows, half),
        "each for half of the time, participants in order of their ids": _staggered(shuffled, windows, half),
        "enrolled one after the other, each for another time": _staggered(
            people, windows, [rng.randint(1, len(windows)) for _ in people]
        ),
    }


def _grid(people: Sequence[str], windows: Sequence[str]) -> Iterator[str]:
    return (f"{person}|{window}" for person in people for window in windows)


def _staggered(people: Sequence[str], windows: Sequence[str], lasting: Sequence[int]) -> list[str]:
    """Enrollment spread evenly over the first half; everybody then has so many windows, if there are as many."""
    found: list[str] = []
    for number, person in enumerate(people):
        first = number * (len(windows) // 2) // max(1, len(people) - 1)
        found += _grid([person], windows[first : first + lasting[number]])
    return found
