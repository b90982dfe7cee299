"""What the threads of an export are given at once."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest

from dagster_beiwe.exports.folder import Notes
from dagster_beiwe.exports.outputs import Output
from dagster_beiwe.exports.raw_data import in_jobs
from dagster_beiwe.reading import RawFile

TIME = datetime(2024, 3, 4, tzinfo=timezone.utc)


def output(number: int, size_bytes: int | None) -> Output:
    file = RawFile(
        participant="abcd1234", window="2024-03-04", stream="gps", survey_id=None, name=f"gps/{number}.csv",
        time=TIME, size_bytes=size_bytes, sha256=None,
    )  # fmt: skip
    return Output(path=str(number), files=[file], write=lambda sink, tick: Notes())


@pytest.mark.parametrize(
    ("sizes", "jobs"),
    [
        ([4, 4, 4, 4, 1], ["012", "34"]),
        ([50, 1, 50, 50], ["0", "12", "3"]),
        ([1, 0, None, 1, 1, 1, 1], ["0123", "456"]),
        ([], []),
    ],
)
def test_a_job_is_of_so_many_bytes_or_so_many_files(sizes: list[int | None], jobs: list[str]) -> None:
    """Whichever comes first; every file is in one of them, in order."""
    outputs = [output(number, size_bytes) for number, size_bytes in enumerate(sizes)]
    found = in_jobs(outputs, size_bytes=10, most_files=4)
    assert ["".join(each.path for each in job) for job in found] == jobs


def test_what_is_apart_has_jobs_of_its_own() -> None:
    """A large file among small ones does not keep these from other processes."""
    outputs = [output(number, size_bytes) for number, size_bytes in enumerate([1, 50, 1, 1, 50, 1, 1])]
    found = in_jobs(outputs, size_bytes=10, most_files=3, apart=lambda each: each.size_bytes > 10)
    assert ["".join(each.path for each in job) for job in found] == ["1", "023", "4", "56"]
