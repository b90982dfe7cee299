"""Inspect everything stored for a log's subjects, and find what differs from what was committed.

Sizes come from one listing of each subject's folder, without a request per file. Only the chosen files are read. Hashes
of the stored bytes are compared, so nothing has to be decrypted.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

from dagster_beiwe.errors import IntegrityError
from dagster_beiwe.lake.catalog.catalog import Catalog
from dagster_beiwe.lake.catalog.collector import read_markers
from dagster_beiwe.lake.catalog.records import Place
from dagster_beiwe.lake.catalog.state import State
from dagster_beiwe.lake.catalog.store import all_readable
from dagster_beiwe.lake.catalog.versions import Version
from dagster_beiwe.lake.layout import Home, Subject, is_made_here, is_token
from dagster_beiwe.lake.manifest import stored_files
from dagster_beiwe.lake.storage.base import Storage, StoredFile
from dagster_beiwe.maintenance.findings import Finding, FindingKind, Verification
from dagster_beiwe.maintenance.stored_hashes import StoredHashes
from dagster_beiwe.maintenance.unaccounted import files_at, still_there
from dagster_beiwe.meanwhile import BUSY_THREADS
from dagster_beiwe.progress import Progress

_HIDES_FILES = ("manifest missing", "manifest changed", "table changed", "past version damaged")
"""Findings that may leave unknown which files a version names."""


class _Held(NamedTuple):
    """One version and its window."""

    place: Place
    version: Version
    newest: bool


class Part(NamedTuple):
    """What one process has inspected.

    ``tokens`` are those whose files it saw, ``ownerless`` files of folders without any, and ``passed`` the number of
    windows, readable or not.
    """

    result: Verification
    tokens: set[str]
    ownerless: list[Finding]
    passed: int


class Inspection:
    """An inspection of a log in one state.

    ``read`` tells which files are read. ``past`` inspects only the state's own versions; else all retained versions are
    inspected, and files that nothing accounts for are found. What runs commit meanwhile is not a finding.
    """

    def __init__(
        self,
        catalog: Catalog,
        storage: Storage,
        state: State,
        result: Verification | None = None,
        *,
        read: Callable[[str], bool],
        past: bool = False,
        progress: Progress | None = None,
    ) -> None:
        self._catalog, self._storage, self._state = catalog, storage, state
        self._result = Verification() if result is None else result
        self._read, self._past, self._progress = read, past, progress or Progress()
        self._hashes = StoredHashes(storage)
        self._passed = self._read_before = 0
        """Windows and tables so far; bytes of the current folder that were read before the current one of them."""
        self._found: set[str] = set()
        """Tokens whose files were inspected."""
        self._manifests: dict[str, bytes | None] = {}
        self._ownerless: list[Finding] = []
        """Files of folders without a token: unaccounted for, unless somebody's token is missing."""

    def participant(self, name: str, *, threads: int = BUSY_THREADS) -> None:
        """Inspect a participant's folder, or what is in its place, with files hashed in so many ``threads``."""
        home = self._catalog.layout.home(Subject(name))
        held = self._place({file.path: file for file in files_at(self._storage, home.folder)}, name, threads=threads)
        self._result.participants += held or not self._past

    def part(self) -> Part:
        """What was inspected so far."""
        return Part(self._result, self._found, self._ownerless, self._passed)

    def add(self, part: Part) -> None:
        """Add what another process has inspected of the same state."""
        self._result.add(part.result)
        self._found |= part.tokens
        self._ownerless += part.ownerless
        self._progress.advance(part.passed, part.result.bytes_checked)

    def sort(self) -> None:
        """Sort the findings by participant, whoever was inspected first."""
        for findings in (self._result.findings, self._ownerless):
            findings.sort(key=lambda each: each.participant)

    def go_on(self) -> None:
        """Tell that other processes are still at work."""
        self._progress.within(0)

    def tables(self) -> None:
        """Inspect all tables of the log."""
        by_prefix: dict[str, dict[str, StoredFile]] = {}
        for file in self._storage.scan(self._catalog.layout.tables()):
            by_prefix.setdefault(f"{file.path.partition('~')[0]}~", {})[file.path] = file
        for files in by_prefix.values():
            self._place(files, "")

    def missing(self, *, participants: Collection[str] = ()) -> None:
        """Find subjects of the state whose folder or token is missing, among ``participants`` or everybody."""
        state, lacking = self._state, False
        places = [
            Place(token, "", asset)
            for asset in state.sections
            if not (asset and participants)
            for token in state.section(asset)
            if token not in self._found
        ]
        purged = self._newest().purged if places else {}
        for place in places:
            if place.token in purged:
                continue
            name = self._name(place, look=bool(participants))
            if participants and name and name not in participants:
                continue
            lacking = True
            if place.asset:
                path = f"{self._catalog.layout.tables(place.asset)}{name and f' [{name}]'}"
                self._result.findings.append(Finding(kind="table missing", path=path, place=place))
            elif name or not participants:
                detail = "" if name else "somebody whose folder is missing"
                self._result.findings.append(
                    Finding(kind="participant missing", participant=name, detail=detail, place=place)
                )
        if not lacking:
            self._result.findings += self._ownerless

    def _name(self, place: Place, *, look: bool) -> str:
        """Whose a token is, as far as this process knows or can ``look`` it up; else empty."""
        identities = self._catalog.identities
        if look:
            with suppress(IntegrityError):
                identities.subjects(place.asset, [place.token], self._state)
        known = identities.known.get(place.asset, {}).get(place.token)
        return (known.name if known else None) or ""

    def _place(self, files: Mapping[str, StoredFile], name: str, *, threads: int = BUSY_THREADS) -> bool:
        """Inspect the files of one subject, of a participant by name. Returns whether the state has a version of it."""
        self._hashes = StoredHashes(self._storage, threads=threads)
        findings, listed, tokens = self._owners(files, name)
        for token, subject in tokens.items():
            section, home = self._state.section(subject.asset), self._catalog.layout.home(subject)
            self._result.tables += bool(subject.asset) and token in section
            for window, versions in sorted(section.windows(token).items()):
                place = Place(token, window, subject.asset)
                kept = versions[-1:] if self._past else versions
                held = [_Held(place, each, newest=each is versions[-1]) for each in kept if each.readable]
                self._read_before = self._hashes.size_bytes
                findings += self._versions(home, subject, held, files, listed)
                self._result.windows += bool(held) and not subject.asset
                self._passed += 1
                self._progress.advance(1, self._hashes.size_bytes - self._read_before)
        if findings:
            findings = list(self._still(findings))
        self._result.findings += findings
        if not self._past:
            unaccounted = self._unaccounted(
                [path for path in files if path not in listed],
                tokens,
                is_complete=not any(each.kind in _HIDES_FILES for each in findings),
            )
            for path in unaccounted:
                sure = tokens or not files[path].is_regular
                findings = self._result.findings if sure else self._ownerless
                findings.append(self._finding("file unaccounted for", path, name))
        self._result.files_checked += self._hashes.files
        self._result.bytes_checked += self._hashes.size_bytes
        return any(token in self._state.section(subject.asset) for token, subject in tokens.items())

    def _owners(self, files: Mapping[str, StoredFile], name: str) -> tuple[list[Finding], set[str], dict[str, Subject]]:
        """Findings about the tokens among these files, the paths of tokens, and the owners of the valid ones."""
        findings: list[Finding] = []
        listed: set[str] = set()
        tokens: dict[str, Subject] = {}
        for path in filter(is_token, files):
            try:
                subject, token = self._catalog.identities.owner(path, self._storage.read(path))
            except FileNotFoundError:  # withdrawn meanwhile
                continue
            except IntegrityError as error:
                findings.append(self._finding("token changed", path, name, detail=str(error)))
                listed.add(path)
                continue
            if token not in self._state.purged:  # else the folder was put back after a withdrawal
                tokens[token] = subject
                listed.add(path)
        self._found |= tokens.keys()
        return findings, listed, tokens

    def _versions(
        self, home: Home, subject: Subject, held: Sequence[_Held], files: Mapping[str, StoredFile], listed: set[str]
    ) -> Iterator[Finding]:
        """Findings about the versions of one window or table; ``listed`` gets all paths that they name."""
        paths = [home.manifest(each.version.base, each.version.nonce) for each in held]
        listed.update(paths)
        contents = self._contents([path for path in paths if path in files])
        for path, each in zip(paths, held, strict=True):
            kind: FindingKind | None = None
            file = contents.get(path)
            manifest = each.version.manifest(file) if file is not None else None
            if manifest is None:
                kind = "manifest changed" if path in files else "manifest missing"
            else:
                yield from self._files(home, subject, each, manifest, files, listed)
            if kind:
                yield self._of(each, subject, kind, path)

    def _files(
        self, home: Home, subject: Subject, held: _Held, manifest: bytes, files: Mapping[str, StoredFile],
        listed: set[str],
    ) -> Iterator[Finding]:  # fmt: skip
        try:
            wanted = list(stored_files(home, manifest))
        except IntegrityError as error:
            yield self._of(held, subject, "manifest changed", "", detail=str(error))
            return
        there = {path: size for path, size, _ in wanted if path in files and files[path].size_bytes == size}
        chosen = {path: size for path, size in there.items() if self._read(path)}
        self._hashes.read_ahead(chosen)
        for path, size_bytes, sha256 in wanted:
            listed.add(path)
            if held.newest:
                self._result.files += 1
                self._result.size_bytes += size_bytes
            kind: FindingKind | None = None
            if path not in there:
                kind = "file changed" if path in files else "file missing"
            elif path in chosen:
                kind = self._hashes.wrong(path, size_bytes, sha256)
                self._progress.within(self._hashes.size_bytes - self._read_before)
            if kind:
                yield self._of(held, subject, kind, path)

    def _contents(self, paths: Sequence[str]) -> dict[str, bytes | None]:
        """Several files of manifests; None for those that cannot be read. Windows of one record share theirs."""
        if not self._manifests.keys() >= {*paths}:
            new = [path for path in dict.fromkeys(paths) if path not in self._manifests]
            self._manifests = {path: self._manifests[path] for path in paths if path in self._manifests}
            self._manifests |= zip(new, all_readable(self._storage, new), strict=True)
        return {path: self._manifests[path] for path in paths}

    def _still(self, findings: Sequence[Finding]) -> Iterator[Finding]:
        """The findings whose versions are still retained: others may have been collected or withdrawn meanwhile."""
        newest = self._newest()
        for each in findings:
            if each.place is None:
                yield each
                continue
            if each.place.token in newest.purged:
                continue
            versions = newest.section(each.place.asset).versions(each.place.token, each.place.window)
            if any(version.at == each.at for version in versions):
                yield each
            elif self._past:
                yield Finding(
                    kind="collected", participant=each.participant, window=each.window, place=each.place, at=each.at
                )

    def _unaccounted(self, paths: Sequence[str], tokens: Mapping[str, Subject], *, is_complete: bool) -> Iterator[str]:
        """The files among those without a version that no running batch wrote and that no new version names.

        ``is_complete`` says that every manifest was read: else an unread one may name them.
        """
        if not paths:
            return
        marked = {place.token for places in read_markers(self._catalog).values() for place in places}
        newest = self._newest()
        named: set[str] = set()
        for token, subject in tokens.items():
            home = self._catalog.layout.home(subject)
            before = self._state.section(subject.asset).windows(token)
            for window, versions in newest.section(subject.asset).windows(token).items():
                later = [each for each in versions if each.readable and each not in before.get(window, ())]
                manifests = [home.manifest(each.base, each.nonce) for each in later]
                named.update(manifests)
                contents = self._contents(manifests)
                for path, each in zip(manifests, later, strict=True):
                    if (data := each.manifest(contents[path] or b"")) is not None:
                        named.update(path for path, _, _ in stored_files(home, data))
        maybe_named = not is_complete or bool(marked & tokens.keys())
        left = [path for path in paths if not (path in named or (maybe_named and is_made_here(path)))]
        yield from still_there(self._storage, left)

    def _newest(self) -> State:
        """The newest state, from the one that was proven."""
        number = self._catalog.refresh().number
        if self._past or number <= self._state.number:
            return self._catalog.state if self._past else self._state
        later = self._catalog.history(after=self._state.number, last=number)
        return self._state.replayed(later, self._catalog.terms.rules)

    def _of(self, held: _Held, subject: Subject, kind: FindingKind, path: str, *, detail: str = "") -> Finding:
        """A finding about a version."""
        place, at = held.place, held.version.at
        if not (held.newest or self._past or kind == "file unreadable"):
            detail = detail or f"{kind}; record {at} committed it"
            kind = "past version damaged"
        if subject.asset:
            kind = kind if kind == "past version damaged" else "table changed"
            return Finding(kind=kind, path=path, detail=detail, place=place, at=at)
        name = str(subject.name)
        below = path.removeprefix(f"{self._catalog.layout.folder}/{name}/")
        shown = None if kind.startswith("manifest") else below
        return Finding(kind=kind, participant=name, window=place.window, path=shown, detail=detail, place=place, at=at)

    def _finding(self, kind: FindingKind, path: str, participant: str, *, detail: str = "") -> Finding:
        """A finding about a file that belongs to no version."""
        if participant:
            path = path.removeprefix(f"{self._catalog.layout.folder}/{participant}").removeprefix("/")
        return Finding(kind=kind, participant=participant, path=path, detail=detail)
