"""``dagster-beiwe show``: print a table of the lake, or export it."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from itertools import groupby

import click
import pandas as pd

from dagster_beiwe.cells import dimensions
from dagster_beiwe.cli.command import Command
from dagster_beiwe.cli.context import named, not_held, open_lake, studies_in_lake, tables_of_no_study
from dagster_beiwe.cli.messages import say
from dagster_beiwe.cli.options import as_of_option, json_option, optional_study_option, participants_option
from dagster_beiwe.cli.output import print_json
from dagster_beiwe.cli.rows import export, plain, printable
from dagster_beiwe.client import StudyListing
from dagster_beiwe.errors import ConfigurationError
from dagster_beiwe.lake.study import When
from dagster_beiwe.tables.store import TableStore
from dagster_beiwe.text import counted, utc_minute

_MOST_ROWS = 60
"""So many are shown on a terminal."""


@dataclass(frozen=True, kw_only=True)
class _Table:
    """A table of the lake, with all partitions that were written; ``study`` is None for one that belongs to none."""

    store: TableStore
    study: StudyListing | None
    key: tuple[str, ...]
    partitions: tuple[str | None, ...]
    written: datetime

    @property
    def title(self) -> str:
        return "/".join(self.key)

    def read(self, participants: Sequence[str]) -> pd.DataFrame:
        """Its rows, or those of these participants; a column names the partition."""
        frames = []
        for partition in self.partitions:
            if partition is None or not participants or {*participants} & {*dimensions(partition)}:
                frame = self.store.read(self.key, partition=partition)
                if partition is None and participants and "participant" in frame:
                    frame = frame[frame["participant"].isin(participants)]
                frames.append(frame if partition is None else frame.assign(partition=partition))
        rows: pd.DataFrame = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()
        return rows


@click.command(cls=Command, examples=["show", 'show coverage --study "Sleep and Mood" --csv > coverage.csv'])
@click.argument("table", required=False)
@optional_study_option
@participants_option
@as_of_option
@json_option
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
def command(
    *,
    table: str | None,
    study: str | None,
    participants: Sequence[str],
    as_of: When | None,
    as_json: bool,
    as_csv: bool,
) -> int:
    """Print a table of the lake, or export it.

    TABLE is roster, settings, coverage or any other; without it, all are listed. On a terminal, long tables are cut. A
    file or another program gets all rows, with tabs between the columns.
    """
    if as_json and as_csv:
        raise click.UsageError("Use either --json or --csv.")
    held = list(_held(study, as_of))
    if table is None:
        _print_list(held, as_json=as_json)
        return 0
    found = _called(table, held)
    frames = [(each, each.read(participants)) for each in found]
    if participants and all(frame.empty for _, frame in frames):
        raise not_held(participants)
    if as_json or as_csv or not sys.stdout.isatty():
        export(_joined(frames), as_json=as_json, as_csv=as_csv)
    else:
        for each, frame in frames:
            _print_table(each, frame)
    return 0


def _held(study: str | None, as_of: When | None) -> Iterator[_Table]:
    """All tables of the studies, and without a choice of one, those that belong to no study."""
    lake = open_lake()
    for listing, own in studies_in_lake(lake, study):
        yield from _tables(TableStore.of_study(own.at(as_of)), listing)
    if study is None and as_of is None:
        for tables in tables_of_no_study(lake):
            yield from _tables(tables, None)


def _tables(store: TableStore, study: StudyListing | None) -> Iterator[_Table]:
    store = store.at()
    for _, group in groupby(store.tables(), key=lambda held: held[0].asset):
        versions = list(group)
        subject, newest = max(versions, key=lambda held: held[1].at)
        yield _Table(
            store=store,
            study=study,
            key=store.manifest(subject, newest).asset_key,
            partitions=tuple(subject.name for subject, _ in versions),
            written=datetime.fromtimestamp(newest.time, timezone.utc),
        )


def _called(name: str, held: Sequence[_Table]) -> list[_Table]:
    """The tables of this key, else of this last part of a key, else of a last part that contains the name.

    Raises ``ConfigurationError`` if there is none, or if a part of a name fits several.
    """
    for fits in (
        lambda table: table.title == name,
        lambda table: table.key[-1] == name,
        lambda table: name in table.key[-1],
    ):
        found = [table for table in held if fits(table)]
        if len({table.key[-1] for table in found}) == 1:
            return found
        if found:
            break
    names = ", ".join(sorted({table.key[-1] for table in found or held})) or "none"
    raise ConfigurationError(
        f"The lake has {'several tables' if found else 'no table'} called {name[:80]!r}. Nothing was read. Its tables "
        f"are: {names}. Materialize the asset if it is missing."
    )


def _joined(frames: Sequence[tuple[_Table, pd.DataFrame]]) -> pd.DataFrame:
    """All rows as text, times and numbers, with the study that they belong to."""
    parts = []
    for table, frame in frames:
        rows = plain(frame)
        if table.study:
            rows.insert(0, "study_id", table.study.id)
        parts.append(rows)
    return pd.concat(parts, ignore_index=True)


def _print_table(table: _Table, frame: pd.DataFrame) -> None:
    of = f" of {named(table.study)}" if table.study else ""
    print(f"{table.title}{of}: {counted(len(frame), 'row')}, written {utc_minute(table.written)}")
    half = _MOST_ROWS // 2
    cut = max(0, len(frame) - 2 * half)
    shown = printable(plain(pd.concat([frame[:half], frame[half + cut :]]))).astype(object)
    text = shown.where(shown.notna(), "").to_string(index=False, line_width=shutil.get_terminal_size().columns)
    print(text if len(frame) else "(no rows)")
    if cut:
        print(f"{counted(cut, 'row')} in between not shown. --csv prints all.")


def _print_list(held: Sequence[_Table], *, as_json: bool) -> None:
    if not held:
        say("note", "No tables. Materialize an asset that makes one, such as `coverage`.")
    for study, tables in groupby(held, key=lambda table: table.study):
        if not as_json:
            print(named(study) if study else "No study")
        for table in tables:
            partitions = sum(partition is not None for partition in table.partitions)
            if as_json:
                facts = {"table": table.title, "partitions": partitions, "written": table.written}
                print_json({"study_id": study and study.id, **facts})
            else:
                parts = f"{counted(partitions, 'partition')}, " if partitions else ""
                print(f"  {table.title}  {parts}written {utc_minute(table.written)}")
