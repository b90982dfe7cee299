"""How far an export is, as those who wait see it."""

from __future__ import annotations

from pathlib import Path

from core_helpers import DAY, HOUR, PASSPHRASE, PERSON, START, STUDY, commit_request, finished, stage

from dagster_beiwe.exports.folder import ExportFolder, Request
from dagster_beiwe.exports.raw_data import export
from dagster_beiwe.exports.selection import Contents, Selection
from dagster_beiwe.lake import BeiweLake, LakeWriter, StudyLake
from dagster_beiwe.progress import Progress
from dagster_beiwe.windows import Window

CHAT = b"speaker,message\n" + b"assistant,how are you today\n" * 20
PICTURE = b"\xff\xd8\xff\xe0\0\x10JFIF"
GPS = b"timestamp,UTC time,latitude,longitude,altitude,accuracy\n"


class Seen(Progress):
    """The bytes that were shown as done, every time."""

    def __init__(self) -> None:
        self.shown: list[int] = []
        self._done = 0

    def within(self, size_bytes: int) -> None:
        self.shown.append(self._done + size_bytes)

    def advance(self, number: int = 1, size_bytes: int = 0) -> None:
        self._done += size_bytes
        self.within(0)


def fill(lake: StudyLake) -> None:
    """Two weeks: a stream that is no table from the second one on, and one that is."""
    with LakeWriter(lake, run_id="run-1") as writer:
        for week, chat in enumerate((CHAT, PICTURE)):
            start = START + 7 * week * DAY
            window = Window(start, start + 7 * DAY)
            hours = (start + HOUR - START) // HOUR
            plan = writer.plan(PERSON, [window])
            files = [
                stage(writer, lake, data, stream=stream, hours=hours)
                for stream, data in (("a_stream_of_this_server", chat), ("gps", GPS))
            ]
            streams = ("a_stream_of_this_server", "gps")
            finished(writer, writer.commit(plan, commit_request(window, streams=streams), files))


def test_a_table_that_cannot_be_made_leaves_nothing_in_the_progress(tmp_path: Path) -> None:
    """Its rows were written in vain: what comes after it does not seem further than it is."""
    lake = BeiweLake(tmp_path / "lake").study(STUDY, passphrase=PASSPHRASE)
    fill(lake)
    selection, seen = Selection(form="csv"), Seen()
    contents = Contents.of(lake, selection)
    request = Request(study_id=STUDY, form="csv")
    with ExportFolder.open(tmp_path / "plain", request, lake.state.head, temporary=False) as folder:
        result = export(lake, selection, contents, folder, seen)
    assert result.not_tables == {"a_stream_of_this_server"}
    assert max(seen.shown) == seen.shown[-1] == contents.size_bytes
