"""Prove that the log, manifests and files are what was committed, and that nothing else is stored."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import replace
from typing import Final

from dagster_beiwe.errors import IntegrityError
from dagster_beiwe.ids import is_participant_id
from dagster_beiwe.lake.catalog.catalog import Catalog
from dagster_beiwe.lake.catalog.opening import Opening, Seen
from dagster_beiwe.lake.catalog.state import State
from dagster_beiwe.lake.layout import LogLayout, Subject
from dagster_beiwe.lake.study import StudyLake, When
from dagster_beiwe.maintenance.findings import Finding, FindingKind, Verification
from dagster_beiwe.maintenance.inspection import Inspection
from dagster_beiwe.maintenance.inspectors import Inspectors, inspect_in, processes_to_inspect
from dagster_beiwe.maintenance.sampling import Sample
from dagster_beiwe.maintenance.unaccounted import unaccounted_files
from dagster_beiwe.progress import Progress
from dagster_beiwe.tables.files import TableFiles

__all__ = ["Finding", "FindingKind", "Verification", "verify_study"]

_MANIFEST_BYTES: Final = 125
"""About what a file takes in a stored manifest: most of it is hashes."""


def verify_study(
    lake: StudyLake | TableFiles,
    *,
    share: float = 1.0,
    participants: Collection[str] = (),
    as_of: When | None = None,
    remembered: Iterable[Seen] = (),
    progress: Progress | None = None,
    processes: bool = False,
) -> Verification:
    """Check a study with its tables, or the tables of no study: the log, everything that it names, and other files.

    ``participants`` restricts the check to their data. ``share`` is the part of the files that is read, between 0 and
    1: each day a different sample, so that a small share covers everything over time. Other files are checked by their
    size. With 1, every record of the log is read from its own file, too. ``as_of`` checks a past state. ``remembered``
    are heads that Dagster, for instance, has seen. ``progress`` counts windows and tables. With ``processes``, one on
    each core works if a local lake has very many files. The program's main module must then be importable.

    A damaged log is the only finding of its study. Raises ``WrongPassphraseError`` and ``PastStateError``.
    """
    log = lake.log
    try:
        catalog = log.reopened().check(remembered)
        newest = _replayed(catalog, whole=share >= 1) if catalog else State()
        state = catalog.at(as_of) if catalog and as_of is not None else newest
        result = Verification(
            head=Seen(log.folder, *newest.head, catalog.begin.lineage) if catalog else None,
            withdrawn=tuple(sorted(state.withdrawn.values())),
        )
        whole = not participants and as_of is None
        if catalog is not None:
            result.findings += _copies(catalog, newest) if whole else []
            sample, past = Sample.of_today(share), as_of is not None
            inspection = Inspection(catalog, log.storage, state, result, read=sample.has, past=past, progress=progress)
            windows, files = _held(catalog, state, participants)
            if progress is not None:
                progress.expect(windows)
            others = None
            if processes:
                others = processes_to_inspect(log, state, participants, files=files, sample=sample, past=past)
            _inspect_all(inspection, log, participants, others)
        result.findings += _unaccounted(log, catalog) if whole else []
    except IntegrityError as error:
        return Verification(findings=[Finding(kind="log damaged", path=LogLayout(log.folder).log, detail=str(error))])
    return result


def inspect_again(log: Opening, suspects: Collection[Finding]) -> Verification:
    """Inspect again, reading the suspected files."""
    result = Verification()
    catalog = log.catalog()
    if catalog is not None:
        home = catalog.layout.home
        paths = {
            f"{home(Subject(each.participant)).folder}/{each.path}" if each.participant else each.path
            for each in suspects
        }
        inspection = Inspection(catalog, log.storage, catalog.refresh(), result, read=paths.__contains__)
        beside = any(not each.participant for each in suspects)
        _inspect_all(inspection, log, () if beside else {each.participant for each in suspects})
    result.findings += _unaccounted(log, catalog)
    return result


def _unaccounted(log: Opening, catalog: Catalog | None) -> list[Finding]:
    """Files beside those of participants and tables that nothing accounts for; without a log, all files."""
    paths = unaccounted_files(log.storage, log.folder, catalog)
    return [Finding(kind="file unaccounted for", path=path) for path in paths]


def _inspect_all(
    inspection: Inspection, log: Opening, participants: Collection[str], others: Inspectors | None = None
) -> None:
    """Inspect everybody and everything, or some participants. If there are ``others``, they share the participants."""
    names = [
        name
        for name in log.storage.list(log.folder)
        if is_participant_id(name) and (not participants or name in participants)
    ]
    if others is None:
        for name in names:
            inspection.participant(name)
    else:
        inspect_in(others, inspection, names)
    if not participants:
        inspection.tables()
    inspection.missing(participants=participants)


def _held(catalog: Catalog, state: State, participants: Collection[str]) -> tuple[int, int]:
    """How many windows and tables a state has, and about how many files: of everybody, or of ``participants``."""
    if participants:
        section, names = state.section(), map(Subject, participants)
        held = []
        for name in names:
            with suppress(IntegrityError):  # its token is damaged, which is found later
                held += [section.windows(token) for token in [catalog.identities.token(name, state)] if token]
    else:
        held = [section.windows(token) for section in map(state.section, state.sections) for token in section]
    manifests = sum(versions[-1].size_bytes for windows in held for versions in windows.values())
    return sum(map(len, held)), manifests // _MANIFEST_BYTES


def _replayed(catalog: Catalog, *, whole: bool) -> State:
    """The newest state, replayed from the first record; each record is proven."""
    number = catalog.state.number
    return State().replayed(catalog.history(last=number, packs=not whole), catalog.terms.rules)


def _copies(catalog: Catalog, proven: State) -> list[Finding]:
    """Checkpoints and packs that disagree with the log."""
    paths = catalog.damaged_copies()
    if not paths and not _same(catalog.at(proven.number), proven):
        paths = [catalog.layout.checkpoints]
    return [Finding(kind="copy changed", path=path) for path in paths]


def _same(one: State, other: State) -> bool:
    if replace(one, sections={}) != replace(other, sections={}):
        return False
    for asset in one.sections.keys() | other.sections.keys():
        mine, theirs = one.section(asset), other.section(asset)
        if {*mine} != {*theirs} or any(mine.windows(token) != theirs.windows(token) for token in mine):
            return False
    return True
