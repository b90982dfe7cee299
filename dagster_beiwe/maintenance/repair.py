"""Take damaged data out of a study, so that it can be fetched again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone

from dagster_beiwe.errors import CommitConflictError, IntegrityError
from dagster_beiwe.ids import is_participant_id
from dagster_beiwe.lake.catalog.catalog import Catalog
from dagster_beiwe.lake.catalog.past import burn, drop, take_out
from dagster_beiwe.lake.catalog.records import Place
from dagster_beiwe.lake.catalog.state import State
from dagster_beiwe.lake.catalog.store import clear
from dagster_beiwe.lake.catalog.withdrawal import give_up
from dagster_beiwe.lake.collecting import collect
from dagster_beiwe.lake.layout import LogLayout, Subject, is_token, planned_on, version_of
from dagster_beiwe.lake.manifest import FetchFailure, FileRecord, Manifest, decode, decode_table
from dagster_beiwe.lake.merge import CommitRequest
from dagster_beiwe.lake.storage.base import StoredFile
from dagster_beiwe.lake.study import StudyLake
from dagster_beiwe.lake.writer import LakeWriter
from dagster_beiwe.maintenance.findings import Finding, partitions_of
from dagster_beiwe.maintenance.unaccounted import files_at
from dagster_beiwe.maintenance.verify import inspect_again, verify_study

_FILES = ("file changed", "file missing")
_MANIFESTS = ("manifest changed", "manifest missing", "table changed")
_TOKENS = ("token changed", "participant missing", "table missing")


@dataclass(frozen=True, kw_only=True)
class Repaired:
    """What a repair leaves to be done.

    ``partitions`` of raw data and ``tables`` have to be materialized again. ``snapshots`` keep versions that are
    damaged: nothing of these was removed.
    """

    partitions: list[str] = field(default_factory=list)
    tables: list[str] = field(default_factory=list)
    snapshots: list[str] = field(default_factory=list)


def repair_study(lake: StudyLake, findings: Iterable[Finding], *, run_id: str) -> Repaired:
    """Take out what is damaged, so that the next run of the partitions fetches it again.

    Records of the log are restored from its witness or its packs, and tokens from checkpoints or manifests. Files that
    nothing accounts for are removed, and so are versions whose manifest cannot be trusted, and damaged files of other
    versions. A version that a snapshot keeps stays as it is: a backup may have what is damaged. Runs may commit
    meanwhile: each finding is inspected again, and what was committed since is left alone. What was deleted upstream
    can't be fetched again: keep a copy of the lake if that matters.

    Raises ``IntegrityError`` if records of the log are lost.
    """
    suspects = list(findings)
    kinds = {each.kind for each in suspects}
    lake = lake.reopened()
    if "log damaged" in kinds:
        _heal(lake, next(each for each in suspects if each.kind == "log damaged"))
    if "copy changed" in kinds:
        _forget_copies(lake, suspects)
    catalog = lake.catalog()
    if catalog is None:
        lake.storage.delete_all([each.path for each in suspects if each.path and not each.participant])
        return Repaired()
    with lake.storage.guard(catalog.layout.inside, exclusive=False):
        _repair(lake, catalog, suspects, run_id=run_id)
    with suppress(CommitConflictError):  # a run is writing: a later collection does it
        collect(catalog, keep_days=lake.keep_superseded_days, run_id=run_id)
    return _left(catalog, suspects)


def _left(catalog: Catalog, findings: Sequence[Finding]) -> Repaired:
    state, known = catalog.refresh(), catalog.identities.known
    tables, snapshots = set[str](), set[str]()
    for each in findings:
        if each.place is None:
            continue
        if each.kind in ("table changed", "table missing"):
            identity = known.get(each.place.asset, {}).get(each.place.token)
            tables.add(f"{each.place.asset} [{identity.name}]" if identity and identity.name else each.place.asset)
        snapshots.update(state.snapshots_of(each.place, each.at))
    return Repaired(partitions=partitions_of(findings), tables=sorted(tables), snapshots=sorted(snapshots))


def _repair(lake: StudyLake, catalog: Catalog, suspects: list[Finding], *, run_id: str) -> None:
    """Repair a study whose log is whole; ``suspects`` gets what is found meanwhile."""
    kinds = {each.kind for each in suspects}
    if kinds.intersection(("log damaged", *_TOKENS)):
        _remove_links(lake, suspects)
        _Tokens(lake, catalog).restore(run_id=run_id)
        suspects += verify_study(lake, share=0).findings
    suspected = {*suspects}
    found = [each for each in inspect_again(lake.log, suspects).findings if each in suspected]
    _take_out(lake, catalog, found, run_id=run_id)
    later = inspect_again(lake.log, found).findings if found else []
    _remove(lake, catalog, [each for each in later if each.kind == "file unaccounted for"], found, run_id=run_id)


def _heal(lake: StudyLake, finding: Finding) -> None:
    healed = lake.log.heal()
    if not (healed.restored or healed.aside):
        raise IntegrityError(finding.detail)


def _forget_copies(lake: StudyLake, findings: Iterable[Finding]) -> None:
    """Remove what is derived from the log, so that the log itself is read."""
    layout = LogLayout(lake.study_id)
    paths = [each.path for each in findings if each.kind == "copy changed" and each.path]
    for path in sorted({*paths, layout.all_checkpoints}):
        clear(lake.storage, path)


def _take_out(lake: StudyLake, catalog: Catalog, findings: list[Finding], *, run_id: str) -> None:
    """Take out versions whose manifest cannot be trusted, and the damaged files of other versions."""
    state = catalog.refresh()
    kept = [each for each in findings if each.kind in _FILES and each.place and state.snapshots_of(each.place, each.at)]
    if kept:  # or a file that is fetched again would be where a backup puts back the one that a snapshot keeps
        burn(catalog, _first_names(catalog, [_path(lake, each) for each in kept]), run_id=run_id)
    versions = [(each.place, each.at) for each in findings if each.place and each.kind in _MANIFESTS]
    take_out(catalog, dict.fromkeys(versions), run_id=run_id)
    by_window: dict[tuple[str, str], set[str]] = {}
    for each in findings:
        if each.kind in _FILES and each.window and each.path:
            by_window.setdefault((each.participant, each.window), set()).add(each.path)
    if by_window:
        with LakeWriter(lake, run_id=run_id) as writer:
            for (participant, window), paths in by_window.items():
                plan = writer.plan(participant, [window])
                manifest = plan.manifests.get(window)
                damaged = [record for record in manifest.files if record.path in paths] if manifest else []
                if manifest and damaged:
                    submitted = writer.commit(plan, _reopened(manifest, damaged, run_id), [])
                    writer.flush()
                    with suppress(CommitConflictError):  # a run has just committed the window: its version counts
                        submitted.record()
    lasting = [each for each in findings if each.kind != "file unreadable"]  # which may be readable tomorrow
    drop(catalog, [(each.place, each.at) for each in lasting if each.place and each.at], run_id=run_id)


def _remove(
    lake: StudyLake, catalog: Catalog, unaccounted: list[Finding], found: list[Finding], *, run_id: str
) -> None:
    """Remove files that nothing accounts for: those found before, and those of versions that were taken out."""
    known = catalog.identities.known
    owners = {
        place: Subject(identity.name, place.asset)
        for place in {each.place._replace(window="") for each in found if each.place}
        if (identity := known.get(place.asset, {}).get(place.token)) is not None
    }
    prefixes = tuple(catalog.layout.home(subject).prefix for subject in owners.values())
    suspected = {*found}
    doomed = [_path(lake, each) for each in unaccounted if each in suspected or _path(lake, each).startswith(prefixes)]
    if not lake.storage.locks:
        burn(catalog, _first_names(catalog, doomed), run_id=run_id)
    lake.storage.delete_all(doomed)


def _first_names(catalog: Catalog, paths: Iterable[str]) -> dict[Place, str]:
    """For each participant the last of the first versions' names among these: such names might be used again."""
    state, names = catalog.refresh(), dict[Place, str]()
    for path in paths:
        participant = path.removeprefix(f"{catalog.layout.folder}/").partition("/")[0]
        if is_participant_id(participant) and planned_on(path) is None:
            token = catalog.identities.token(Subject(participant), state)
            if token is not None:
                place = Place(token)
                names[place] = max(names.get(place, ""), path.rpartition("/")[2])
    return names


def _path(lake: StudyLake, finding: Finding) -> str:
    """The path of a finding in the lake."""
    path = finding.path or ""
    return lake.folder(finding.participant, path) if finding.participant else path


def _remove_links(lake: StudyLake, findings: Iterable[Finding]) -> None:
    """Remove what is not a file, and may be in a folder's place."""
    paths = {_path(lake, each) for each in findings if each.kind == "file unaccounted for"}
    for path in sorted(paths):
        if any(file.path == path and not file.is_regular for file in files_at(lake.storage, path)):
            lake.storage.delete(path)


def _reopened(manifest: Manifest, damaged: list[FileRecord], run_id: str) -> CommitRequest:
    """The commit that takes damaged files out of a window and leaves their hours as failures."""
    failures = (FetchFailure(start=r.time, end=r.time, streams=(r.stream,), error="IntegrityError") for r in damaged)
    return CommitRequest(
        study_id=manifest.study_id,
        participant=manifest.participant,
        window=manifest.span,
        streams=manifest.streams,
        run_id=run_id,
        now=datetime.now(timezone.utc),
        failures=(*manifest.failures, *failures),
        damaged=frozenset(record.key for record in damaged),
        not_sent=frozenset(record.key for record in manifest.files),
    )


class _Tokens:
    """Restores tokens whose files are missing or damaged."""

    def __init__(self, lake: StudyLake, catalog: Catalog) -> None:
        self._lake, self._catalog = lake, catalog
        self._proven: set[str] = set()
        self._manifests: dict[tuple[int, str], str] = {}

    def restore(self, *, run_id: str) -> None:
        """Write the files of tokens again. Tokens without a known owner are withdrawn, so that runs can continue."""
        self._scan()
        state = self._catalog.refresh()
        lost = []
        for asset in state.sections:
            for token in state.section(asset):
                if token in self._proven:
                    continue
                known = self._catalog.identities.known.get(asset, {}).get(token)
                subject = Subject(known.name, asset) if known else self._by_manifest(state, asset, token)
                if subject is None:
                    lost.append(Place(token, "", asset))
                else:
                    self._catalog.identities.restore(subject, token, state)
        if lost:
            give_up(self._catalog, lost, run_id=run_id)

    def _scan(self) -> None:
        """Note which tokens are proven, and where manifests are. Remove damaged files of tokens."""
        for file in self._files():
            if is_token(file.path):
                try:
                    _, token = self._catalog.identities.owner(file.path, self._lake.storage.read(file.path))
                    self._proven.add(token)
                except IntegrityError:
                    self._lake.storage.delete(file.path)
            elif (version := version_of(file.path)) is not None:
                self._manifests[version] = file.path

    def _files(self) -> Iterator[StoredFile]:
        layout = self._catalog.layout
        for name in filter(is_participant_id, self._lake.storage.list(layout.folder)):
            yield from self._lake.storage.scan(layout.documents_of(name))
        yield from self._lake.storage.scan(layout.tables())

    def _by_manifest(self, state: State, asset: str, token: str) -> Subject | None:
        """The owner of a token, from the manifest of one of its versions, which the log proves."""
        for versions in state.section(asset).windows(token).values():
            for version in versions:
                path = self._manifests.get((version.base, version.nonce))
                if path is None:
                    continue
                with suppress(IntegrityError):
                    manifest = version.manifest(self._lake.storage.read(path))
                    if manifest is not None:
                        return Subject(_name(path, manifest, asset), asset)
        return None


def _name(path: str, data: bytes, asset: str) -> str | None:
    return decode_table(data, name=path).partition if asset else decode(data, name=path).participant
