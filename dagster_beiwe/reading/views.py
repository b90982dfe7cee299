"""Read raw data out of the lake: list files, open one, or read a stream as one DataFrame. Knows nothing of Dagster.

    lake = BeiweLake("/data/lake").study(study_id, passphrase=...)
    raw = BeiwePartitions.of(lake, participants=["abcd1234"], start=datetime(2024, 3, 1, tzinfo=timezone.utc))
    frame = raw.read("gps", columns=["timestamp", "latitude", "longitude"])

Nothing is read until you ask for it, and only a few manifests and files are in memory at a time, so a view of a whole
study costs nothing by itself. Everything that is read is checked against the manifests.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime, timedelta, timezone
from typing import BinaryIO, Final

import pandas as pd

from dagster_beiwe.arguments import check_list
from dagster_beiwe.cells import CellKey
from dagster_beiwe.errors import ConfigurationError
from dagster_beiwe.ids import check_participant_id, is_study_id
from dagster_beiwe.lake.manifest import FileRecord, Manifest
from dagster_beiwe.lake.study import StudyLake, When
from dagster_beiwe.reading.raw_files import RawFile, RawFiles, TimeRange
from dagster_beiwe.text import counted

_LONGEST_WINDOW: Final = timedelta(days=31)
_KEPT_CELLS: Final = 16
_EVERYTHING: Final = TimeRange()


class WindowFiles(RawFiles):
    """The files of one participant's window; ``key`` is its partition key, ``window`` that of its window.

    It keeps the state of the lake that it was created with: later commits do not change it.
    """

    def __init__(self, lake: StudyLake, participant: str, window: str, *, span: TimeRange = _EVERYTHING) -> None:
        super().__init__(span)
        self.participant = check_participant_id(participant)
        self.window = window
        self._lake = lake.at()
        self._lock = threading.Lock()
        self._loaded: tuple[Manifest | None, dict[str, FileRecord]] | None = None

    def __repr__(self) -> str:
        return f"<WindowFiles {self.key}>"

    @property
    def key(self) -> str:
        return str(CellKey(self.participant, self.window))

    @property
    def participants(self) -> list[str]:
        return [self.participant]

    @property
    def manifest(self) -> Manifest | None:
        """The committed manifest of the window, read once; None if nothing was committed."""
        return self._load()[0]

    @property
    def committed(self) -> bool:
        """Whether the lake holds the window, with or without files."""
        return self.manifest is not None

    @property
    def complete(self) -> bool:
        """Whether all of the window was fetched."""
        return self.manifest is not None and self.manifest.complete

    def open(self, file: RawFile) -> BinaryIO:
        return self._lake.open(self.participant, self.record(file), window=self.window)

    def content(self, file: RawFile) -> bytes:
        return self._lake.read(self.participant, self.record(file), window=self.window)

    def by_window(self) -> Iterator[tuple[str, str, Iterable[RawFile]]]:
        manifest = self.manifest
        if manifest is not None:
            files = (_raw_file(manifest, record) for record in manifest.files)
            yield self.participant, self.window, sorted(files, key=lambda file: (file.time, file.name))

    def _load(self) -> tuple[Manifest | None, dict[str, FileRecord]]:
        with self._lock:
            if self._loaded is None:
                manifest = self._lake.manifest(self.participant, self.window)
                self._loaded = (manifest, manifest.by_key() if manifest else {})
            return self._loaded

    def record(self, file: RawFile) -> FileRecord:
        """What the manifest says of a file. Raises ``ConfigurationError`` for one of another view."""
        own = str(CellKey(file.participant, file.window))
        if own != self.key:
            raise ConfigurationError(
                f"The file belongs to {own}, and this view has only the files of {self.key}. Nothing was read. "
                "Open it with the view that listed it."
            )
        try:
            return self._load()[1][file.identity]
        except KeyError:
            raise ConfigurationError(
                f"{self.key} has no file {file.name!r} in the state that is read here; nothing was read. Another view "
                "listed it: list the files again."
            ) from None


class BeiwePartitions(RawFiles, Mapping[str, WindowFiles]):
    """A lazy view of many windows of one study: a mapping {partition key: ``WindowFiles``}.

    ``cells`` are pairs of a participant's id and a window's key; a partition key is ``<participant>|<window>``. The
    mapping holds every cell asked for; those that the lake does not hold have no files and are named by ``missing``.
    ``start`` and ``end`` (aware) narrow whatever is listed or read. The view keeps the state of the lake that it was
    created with; what was collected since raises ``PastStateError``. Usable from several threads.
    """

    def __init__(
        self,
        lake: StudyLake,
        cells: Iterable[tuple[str, str]],
        *,
        start: datetime | None = None,
        end: datetime | None = None,
    ) -> None:
        super().__init__(TimeRange(start, end))
        self.study_id = lake.study_id
        self._lake = lake.at()
        self._cells = {
            str(cell): cell
            for cell in (CellKey(check_participant_id(participant), window) for participant, window in cells)
        }
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, WindowFiles] = OrderedDict()
        self._held: dict[str, frozenset[str]] = {}
        self._incomplete: dict[str, bool] = {}

    @classmethod
    def of(
        cls,
        lake: StudyLake,
        *,
        participants: Iterable[str] | None = None,
        start: datetime | None = None,
        end: datetime | None = None,
        out_of_range: bool = False,
        as_of: When | None = None,
    ) -> BeiwePartitions:
        """Everything that the lake holds of a study, or of some participants, in [start, end).

        ``out_of_range`` adds the files that phones with a wrong clock dated outside every window. ``as_of`` reads a
        past state: a record's number, a snapshot's name or an aware time. Raises ``WrongPassphraseError`` at once,
        ``ConfigurationError`` if the lake holds nothing of the study or of a participant, and ``UnknownStateError`` for
        a state that the study does not have.
        """
        if not lake.exists:
            raise _nothing_held(lake)
        lake = lake.at(as_of)
        span = TimeRange(start, end)
        held = lake.participants()
        wanted = held if participants is None else check_list("participants", participants)
        if absent := sorted(set(map(check_participant_id, wanted)) - set(held)):
            raise ConfigurationError(
                f"The lake holds no data of {', '.join(absent)}. Nothing was read. It holds "
                f"{counted(len(held), 'participant')} of study {lake.study_id}: correct the ids, or "
                "materialize their raw data."
            )
        cells = [(participant, key) for participant in wanted for key in _windows_in(lake, participant, span)]
        if out_of_range:
            cells += [(each, key) for each in wanted for key in lake.windows(each) if not _is_dated(key)]
        return cls(lake, cells, start=start, end=end)

    @classmethod
    def of_keys(cls, lake: StudyLake, keys: Iterable[str]) -> BeiwePartitions:
        """The windows that partition keys name, whether the lake holds them or not.

        They are sorted by participant and window, because Dagster hands out keys in no order.
        """
        return cls(lake, sorted(map(CellKey.parse, keys)))

    def __repr__(self) -> str:
        return f"<BeiwePartitions of study {self.study_id}: {len(self._cells)} windows>"

    def __getitem__(self, key: str) -> WindowFiles:
        try:
            participant, window = self._cells[str(key)]
        except KeyError:
            example = f", such as {next(iter(self._cells))!r}" if self._cells else ""
            raise KeyError(
                f"The view has no window {str(key)[:60]!r}. Its {len(self._cells)} keys are participant and first day "
                f"of a window{example}."
            ) from None
        with self._lock:
            cell = self._kept.pop(str(key), None) or WindowFiles(self._lake, participant, window, span=self.span)
            self._kept[str(key)] = cell
            if len(self._kept) > _KEPT_CELLS:
                self._kept.popitem(last=False)
            return cell

    def __iter__(self) -> Iterator[str]:
        return iter(self._cells)

    def __len__(self) -> int:
        return len(self._cells)

    def __hash__(self) -> int:
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other

    @property
    def participants(self) -> list[str]:
        return list(dict.fromkeys(participant for participant, _ in self._cells.values()))

    @property
    def windows(self) -> list[str]:
        """Keys of the windows in the view, oldest first."""
        return sorted({window for _, window in self._cells.values()})

    @property
    def missing(self) -> list[str]:
        """Partition keys of windows that are not in the lake."""
        return [key for key in self._cells if not self._is_held(key)]

    @property
    def incomplete(self) -> list[str]:
        """Partition keys of windows of which a part could not be fetched. Reads every manifest."""
        for _ in self.by_window():
            pass
        return [key for key in self._cells if self._incomplete.get(key)]

    def open(self, file: RawFile) -> BinaryIO:
        return self[str(CellKey(file.participant, file.window))].open(file)

    def content(self, file: RawFile) -> bytes:
        return self[str(CellKey(file.participant, file.window))].content(file)

    def stored(self, file: RawFile) -> tuple[str, FileRecord]:
        """Where the lake has a file, and its record."""
        record = self[str(CellKey(file.participant, file.window))].record(file)
        return self._lake.folder(file.participant, record.path), record

    def by_window(self) -> Iterator[tuple[str, str, Iterable[RawFile]]]:
        for key in self._cells:
            if self._is_held(key):
                cell = self[key]
                self._incomplete[key] = not cell.complete
                yield from cell.by_window()

    def _noted(self, frame: pd.DataFrame, stream: str) -> pd.DataFrame:  # noqa: ARG002
        frame.attrs["beiwe"] |= {
            "missing_windows": len(self.missing),
            "incomplete_windows": sum(self._incomplete.values()),
        }
        return frame

    def sizes(self, streams: Collection[str] = ()) -> Iterator[int]:
        """Plain bytes of each file that ``files`` lists, of some streams or all; many times as fast."""
        windows: dict[str, set[str]] = {}
        for participant, window in self._cells.values():
            windows.setdefault(participant, set()).add(window)
        for participant, keys in windows.items():
            for found in self._lake.sizes(participant, keys):
                names = [name if not streams or name in streams else "" for name in found.streams]
                for number, seconds, size_bytes in zip(found.stream, found.seconds, found.size_bytes, strict=True):
                    name = names[number]
                    if name and self.span.holds(name, datetime.fromtimestamp(seconds, timezone.utc)):
                        yield size_bytes

    def _is_held(self, key: str) -> bool:
        """One listing per participant instead of a failed look-up per window."""
        participant, window = self._cells[key]
        if participant not in self._held:
            self._held[participant] = frozenset(self._lake.windows(participant))
        return window in self._held[participant]


def _nothing_held(lake: StudyLake) -> ConfigurationError:
    others = [name for name in lake.storage.list("") if is_study_id(name)]
    held = f"It holds the studies {', '.join(others)}" if others else "It holds no study at all"
    return ConfigurationError(
        f"The lake at {lake.storage.describe()} holds nothing of study {lake.study_id}; nothing was read. {held}: "
        "correct the place or the id, or materialize raw_data first."
    )


def _raw_file(manifest: Manifest, record: FileRecord) -> RawFile:
    return RawFile(
        participant=manifest.participant,
        window=manifest.window,
        stream=record.stream,
        survey_id=record.survey_id,
        name=record.member,
        time=record.moment,
        size_bytes=record.size_bytes,
        sha256=record.sha256,
        present=record.present,
        identity=record.key,
    )


def _is_dated(key: str) -> bool:
    """Whether a window is one of time; those of files outside all windows have words as keys."""
    return key[:1].isdigit()


def _windows_in(lake: StudyLake, participant: str, span: TimeRange) -> Iterator[str]:
    """Keys of a participant's committed windows that overlap a range. Only windows at its start are looked into."""
    for key in filter(_is_dated, lake.windows(participant)):
        start = datetime.strptime(key, "%Y-%m-%dT%H" if "T" in key else "%Y-%m-%d").replace(tzinfo=timezone.utc)
        if not span.overlaps(start, start + _LONGEST_WINDOW):
            continue
        if span.start is not None and start < span.start:
            manifest = lake.manifest(participant, key)
            if manifest is not None and not span.overlaps(manifest.span.start, manifest.span.end):
                continue
        yield key
