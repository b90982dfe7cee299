"""Bring the windows of an old tree into the lake: what the server has with the same hash is not downloaded.

Each window is committed whole, by the same steps as a download: what the tree lacks comes from the server, and the
manifest is the one that a download would have given. A killed adoption continues with the windows that it left.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby
from typing import Final

from dagster_beiwe.adoption.forecast import Forecast
from dagster_beiwe.adoption.old_files import UNREADABLE, OldFiles
from dagster_beiwe.adoption.old_tree import OldFile, OldTree
from dagster_beiwe.adoption.storing import OldAndNew, processes_to_store
from dagster_beiwe.adoption.taking import Outcomes, Taking
from dagster_beiwe.cells import Cell
from dagster_beiwe.client import BeiweClient
from dagster_beiwe.environment import BEIWE_OLD_PASSPHRASE
from dagster_beiwe.errors import ConfigurationError, PassphraseMissingError, WrongPassphraseError
from dagster_beiwe.lake import Manifest, StudyLake
from dagster_beiwe.parallel import Processes, processes_for, work_seconds
from dagster_beiwe.sync import DailyIndex, FetchPolicy, StudySync, WindowReport
from dagster_beiwe.windows import Window, start_of_key

RUN_ID: Final = "adopt"
"""The run that the lake names for what was adopted."""

_PART_PARTICIPANTS: Final = 10
_PART_SECONDS: Final = 30.0
"""A part ends with the participant who brings it to about this much work for one process. What the server deletes in
that time is noticed only by a later run."""
_KEY_SECONDS: Final = 0.015
"""What it takes to derive the key of a locked file."""
_MOST_TRIED: Final = 20


@dataclass(frozen=True, kw_only=True)
class AdoptionPlan:
    """What an old tree has for a study.

    ``cells`` are windows to adopt, ``held`` those of which the lake has every file; both by participant. ``absent`` are
    paths of files to adopt that are missing from windows that the lake holds as complete, ``outside`` of those that are
    dated outside every window of the study.
    """

    cells: Mapping[str, Sequence[Cell]]
    held: Mapping[str, Sequence[Cell]]
    files: int
    size_bytes: int
    files_held: int
    absent: Sequence[str]
    outside: Sequence[str]


@dataclass
class Adoption:
    """Adopts windows of one study. ``windows`` are all of the study's, oldest first.

    ``passphrases`` may decrypt the old files; ``passphrase`` is the lake's own, under which files are kept as they are,
    unless ``reencrypt``.
    """

    client: BeiweClient
    lake: StudyLake
    tree: OldTree
    windows: Sequence[Window]
    streams: Sequence[str] = ()
    passphrases: Sequence[str] = field(default=(), repr=False)
    passphrase: str | None = field(default=None, repr=False)
    reencrypt: bool = False
    policy: FetchPolicy = field(default_factory=FetchPolicy)
    outcomes: Outcomes = field(default_factory=Outcomes)

    def plan(self, participants: Collection[str] = ()) -> AdoptionPlan:
        """Which windows to adopt, of some participants or all.

        Raises ``ConfigurationError`` if the server cannot compare files by hash, and ``WindowMismatchError`` if the
        lake has windows of another length.
        """
        if not self.client.supports("file_hashes", otherwise=False):
            raise ConfigurationError(
                "The server is older than January 2026, and cannot compare files by hash, so it would send all of them "
                "again. Nothing was adopted. Ask its operators to update it, or run a backfill of raw_data."
            )
        cells: dict[str, list[Cell]] = {}
        held: dict[str, list[Cell]] = {}
        absent: list[str] = []
        outside: list[str] = []
        files = size_bytes = files_held = 0
        lake = self.lake.at()
        for participant, own in sorted(self.tree.files.items()):
            if participants and participant not in participants:
                continue
            index = lake.index(participant)
            self._check_length(lake, participant, index)
            for window, inside in groupby(own, key=self._window_of):
                found = list(inside)
                if window is None:
                    outside += [file.path for file in found]
                    continue
                version, cell = index.get(window.key), Cell(participant, window)
                manifest = lake.manifest(participant, window) if version and version.complete else None
                if manifest:
                    lacking = _absent(found, manifest)
                    if not lacking:
                        held.setdefault(participant, []).append(cell)
                        files_held += len(found)
                        continue
                    absent += lacking
                cells.setdefault(participant, []).append(cell)
                files += len(found)
                size_bytes += sum(file.size_bytes for file in found)
        return AdoptionPlan(
            cells=cells,
            held=held,
            files=files,
            size_bytes=size_bytes,
            files_held=files_held,
            absent=sorted(absent),
            outside=sorted(outside),
        )

    def check_passphrases(self, plan: AdoptionPlan) -> None:
        """Raise ``WrongPassphraseError`` if nothing was adopted before, and no locked file can be opened.

        The first and the last one of a few participants are tried. Recordings are not: not every one would show it.
        """
        opener, failed = OldFiles(self.tree.folder, self.passphrases), 0
        participants = [] if plan.held or plan.absent else [*plan.cells]
        for participant in participants[:: -(-len(participants) // _MOST_TRIED) or 1]:
            windows = {cell.window for cell in plan.cells[participant]}
            files = (file for file in self.tree.files[participant] if file.encrypted and not file.is_recording)
            locked = [file for file in files if self._window_of(file) in windows]
            for file in dict.fromkeys((*locked[:1], *locked[-1:])):
                try:
                    opened = opener.open(file)
                    opened.rest.close()
                except (WrongPassphraseError, PassphraseMissingError):
                    failed += 1
                except UNREADABLE:
                    continue
                else:
                    if opened.recognized:
                        return
        if failed:
            raise WrongPassphraseError(
                f"None of the locked files that were tried ({failed:,}) opens with a passphrase that is known here. "
                f"Nothing was adopted. Set {BEIWE_OLD_PASSPHRASE} to that of the old files (lochness: name the section "
                "of the keyring with `--secrets`), or move the locked files out of the folder."
            )

    def forecast(
        self, participant: str, cells: Sequence[Cell], daily: DailyIndex, forecast: Forecast
    ) -> Iterator[OldFile]:
        """Add to a forecast what adopting windows of one participant will find, and yield each file that was looked at.

        Nothing is downloaded.
        """
        inside = {cell.window for cell in cells}
        files = [file for file in self.tree.files[participant] if self._window_of(file) in inside]
        streams = self.client.choose_streams(self.lake.study_id, tuple(self.streams))
        yield from forecast.add(files, OldFiles(self.tree.folder, self.passphrases), cells, daily, streams)

    def working(self, plan: AdoptionPlan, *, processes: bool = False) -> Processes[OldAndNew]:
        """What stores the files of a plan; use it as a context manager, for all participants.

        With ``processes``, one on each core works if there is much to store in a local lake. The program's main module
        must then be importable.
        """
        return processes_to_store(
            self.tree.folder,
            self.passphrases,
            self.lake.files,
            kept_under=None if self.reencrypt else self.passphrase,
            number=processes_for(plan.files, plan.size_bytes) if processes else 0,
        )

    def parts(self, plan: AdoptionPlan) -> Iterator[list[Cell]]:
        """The cells of a plan in parts that are soon adopted, so that the counts of each can be asked for in turn."""
        part: list[Cell] = []
        participants, seconds = 0, 0.0
        for participant, cells in plan.cells.items():
            files = self.tree.files[participant]
            part += cells
            participants += 1
            seconds += work_seconds(len(files), sum(file.size_bytes for file in files))
            seconds += _KEY_SECONDS * sum(file.encrypted for file in files)
            if participants == _PART_PARTICIPANTS or seconds > _PART_SECONDS:
                yield part
                part, participants, seconds = [], 0, 0.0
        if part:
            yield part

    def run(
        self,
        cells: Sequence[Cell],
        daily: DailyIndex,
        processes: Processes[OldAndNew],
        *,
        on_file: Callable[[OldFile], None] = lambda _: None,
    ) -> Generator[WindowReport, None, None]:
        """Adopt windows, and yield the report of each as soon as it is committed.

        Pass one of the ``parts``: processes store the files of later windows while the server compares earlier ones.
        ``daily`` are the server's counts of their days, and ``processes`` those that are ``working``. Raises as
        ``StudySync.run`` does.
        """
        processes.start()  # while the lake is read, and the server is asked what it can do
        taking = Taking(
            self.lake,
            self.tree.files,
            OldFiles(self.tree.folder, self.passphrases),
            cells,
            processes=processes,
            on_file=on_file,
        )
        sync = StudySync(self.client, self.lake, streams=self.streams, run_id=RUN_ID, policy=self.policy, daily=daily)
        reported: list[Cell] = []
        try:
            with closing(sync.run(cells, local=taking)) as reports:
                for report in reports:
                    reported.append(report.cell)
                    yield report
        finally:
            self.outcomes.add(taking.outcomes(reported))

    def _check_length(self, lake: StudyLake, participant: str, keys: Iterable[str]) -> None:
        """Raise ``WindowMismatchError`` if the lake has windows that begin within one of the study's."""
        for key in keys:
            window = self._window_at(start) if (start := start_of_key(key)) else None
            if window and window.key != key:
                lake.check_windows(participant, [window])

    def _window_of(self, file: OldFile) -> Window | None:
        return self._window_at(file.member.time)

    def _window_at(self, moment: datetime) -> Window | None:
        """The study's window in which a moment lies."""
        place = bisect_right(self.windows, moment, key=lambda window: window.start) - 1
        window = self.windows[place] if place >= 0 else None
        return window if window and moment in window else None


def _absent(files: Sequence[OldFile], manifest: Manifest) -> list[str]:
    """Paths of the files in whose place a window has nothing."""
    places = {(record.stream, record.survey_id, record.moment) for record in manifest.files}
    return [file.path for file in files if file.place not in places]
