"""Write to one study's lake: stage files as they arrive, then commit windows in records of the log.

The order makes a crash harmless: files (already encrypted) → manifest → record. Until the record is there the old
version counts; from then on the new one does. What a dead run left is garbage that a later collection removes.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Final

from dagster_beiwe.errors import (
    CommitConflictError,
    IntegrityError,
    LakeUnavailableError,
    ProcessLostError,
    WithdrawnError,
)
from dagster_beiwe.ids import check_participant_id
from dagster_beiwe.lake.catalog.batch import MOST_CHANGES, Batch, NewVersion, Outcome
from dagster_beiwe.lake.catalog.records import Compare, Place
from dagster_beiwe.lake.catalog.state import WITHDRAWN, State
from dagster_beiwe.lake.collecting import open_for_writing
from dagster_beiwe.lake.layout import Subject
from dagster_beiwe.lake.manifest import Manifest, encode
from dagster_beiwe.lake.merge import Changes, CommitRequest, FetchedFile, merge, plain_name
from dagster_beiwe.lake.staging import Examined, FileForm, FilePlace, StagedFile, stage_file, store_all
from dagster_beiwe.lake.study import StudyLake
from dagster_beiwe.member_names import MemberName

if TYPE_CHECKING:
    from typing_extensions import Self

    from dagster_beiwe.windows import Window

_MOST_COMPARED: Final = 500
"""So many comparisons share a record."""

_MOST_BYTES: Final = 4 * 1024 * 1024
"""Manifests of so many bytes wait for no others to share their file."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run works from while it brings windows of one participant up to date: the lake in one state.

    Nothing may be committed to windows whose manifest is ``damaged``: they have to be repaired first.
    """

    lake: StudyLake
    participant: str
    manifests: dict[str, Manifest | None]
    damaged: dict[str, IntegrityError]
    base: int
    taken: frozenset[str] = field(repr=False)
    """Paths of the windows' files: nothing new gets their names."""


@dataclass(kw_only=True)
class Submitted:
    """A commit that is done or waits for others to share its record: then it has no outcome yet."""

    manifest: Manifest
    changes: Changes
    outcome: Outcome | None = None

    def record(self) -> int:
        """The record that committed it; for after ``flush``.

        Raises ``CommitConflictError`` if it does not count, ``WithdrawnError`` if that is because of a withdrawal.
        """
        assert self.outcome is not None, "whoever asks has flushed"
        if self.outcome.refused is not None:
            what = (
                f"Window {self.manifest.window} of participant {self.manifest.participant} was not committed: "
                f"{self.outcome.refused}."
            )
            if self.outcome.refused == WITHDRAWN:
                raise WithdrawnError(f"{what} Run the partition again only if the data is wanted.")
            raise CommitConflictError(f"{what} The lake holds the other version. Run the partition again.")
        return self.outcome.record


class LakeWriter:
    """One run's write access to a study; use it as a context manager. ``stage`` may be called from several threads.

    Opening it begins the study's log if there is none; ``participants`` will be written for. Raises
    ``WrongPassphraseError``, ``IntegrityError`` or ``LakeUnavailableError`` before anything is written.

    Whoever writes shares the study's guard, which on a local disk keeps collections and withdrawals out. ``plan``
    before anything of a participant is fetched; on a disk that locks, where nobody collects meanwhile, files of windows
    that the lake lacks may be stored earlier. Where a record costs requests, commits wait to share one: report what
    has an outcome, and ``flush`` for the rest.
    """

    def __init__(self, lake: StudyLake, *, run_id: str, participants: Collection[str] = ()) -> None:
        self._lake, self._storage, self._run_id = lake, lake.storage, run_id
        self._participants = [check_participant_id(each) for each in participants]
        self._joining = threading.Lock()
        self._counting = threading.Lock()
        self._storing = 0
        """How many blocks store files just now."""
        self._closed = False
        self._waiting: list[tuple[Subject, Place, int, NewVersion, Submitted]] = []
        self._compared: list[tuple[str, str, int, datetime]] = []
        self._plan: Plan | None = None

    def __enter__(self) -> Self:
        lake = self._lake
        with ExitStack() as opening:
            catalog = opening.enter_context(
                open_for_writing(lake.log, keep_days=lake.keep_superseded_days, run_id=self._run_id)
            )
            self._catalog = catalog
            later = map(Subject, self._participants)
            self._batch = opening.enter_context(Batch(catalog, run_id=self._run_id, later=later))
            self._open = opening.pop_all()
        return self

    def __exit__(self, kind: object, *rest: object) -> None:
        with self._open:
            with self._counting:
                self._closed = True
                if self._storing:  # an interrupt does not wait for it
                    self._batch.doubt()
            if not (isinstance(kind, type) and issubclass(kind, LakeUnavailableError)):
                self.flush()
                self._note_compared()
                self._catalog.end_run()

    def plan(self, participant: str, windows: Iterable[Window | str]) -> Plan:
        """Look at what the lake holds of these windows now; what is staged and committed next is based on that.

        Commits of other participants may go on waiting: they stay based on what was planned for them. Raises
        ``WithdrawnError`` if the participant's data was withdrawn since this writer was opened.
        """
        subject = Subject(participant)
        if any(waiting == subject for waiting, *_ in self._waiting):
            self.flush()
        lake = self._lake.at(self._batch.plan())
        self._batch.check(subject)
        manifests: dict[str, Manifest | None] = {}
        damaged: dict[str, IntegrityError] = {}
        for window in windows:
            key = window if isinstance(window, str) else window.key
            try:
                if self._catalog.identities.assigned(subject, lake.state):
                    self._batch.place(subject)
                manifests[key] = lake.manifest(participant, window)
            except IntegrityError as error:
                damaged[key] = error
        held = (record for manifest in manifests.values() if manifest for record in manifest.files)
        self._plan = Plan(
            lake=lake,
            participant=participant,
            manifests=manifests,
            damaged=damaged,
            base=self._batch.base,
            taken=frozenset(lake.folder(participant, record.path) for record in held),
        )
        return self._plan

    def admits(self, participant: str) -> bool:
        """Whether files of a participant may be stored ahead of ``plan``. If not, ``plan`` or ``place`` raises why."""
        try:
            self._batch.place(Subject(participant))
        except (IntegrityError, LakeUnavailableError, WithdrawnError):
            return False
        return True

    def counts_secret(self, participant: str) -> bytes:
        """The key of the fingerprint of the server's counts; made if there is none."""
        self._batch.place(Subject(participant))
        secret = self._catalog.identities.secret(Subject(participant), self._batch.state)
        assert secret is not None, "who has joined has one"
        return secret

    def stage(self, member: MemberName, body: Iterable[bytes], *, compressed: bool, md5: bool = False) -> StagedFile:
        """Check, hash, encrypt and store one member's bytes in its folder; ``md5`` asks for that hash too."""
        form = self._lake.form(member.stream)
        place = self.place(member, form)
        with self.storing() as stored:
            file = stage_file(self._storage, place, body, name=member.name, compressed=compressed, form=form, md5=md5)
            stored.append(file)
        return file

    def stage_all(self, files: Sequence[tuple[MemberName, Examined]], *, pool: Executor) -> list[StagedFile]:
        """Encrypt and store small members that were examined, together and with the threads of ``pool``."""
        staged: dict[int, StagedFile] = {}
        by_form: dict[FileForm, list[int]] = {}
        for number, (member, _) in enumerate(files):
            by_form.setdefault(self._lake.form(member.stream), []).append(number)
        for form, numbers in by_form.items():
            places = [(self.place(files[number][0], form), files[number][1]) for number in numbers]
            with self.storing() as stored:
                stored.extend(store_all(self._storage, places, form=form, pool=pool))
            staged.update(zip(numbers, stored, strict=True))
        return [staged[number] for number in range(len(files))]

    @contextmanager
    def storing(self) -> Iterator[list[StagedFile]]:
        """Store files in their places meanwhile, and add them to the list: those that are not committed are removed.

        If this writer is closed before the block ends, the next run collects what the block has stored. Raises
        ``RuntimeError`` if it was closed before the block begins: an interrupt may lose sight of a thread.
        """
        files: list[StagedFile] = []
        with self._counting:
            if self._closed:
                raise RuntimeError("The writer is closed, so nothing more is stored.")
            self._storing += 1
        # In an object store that fails, something may still appear; a disk has removed it, but a lost process has not.
        kinds = ProcessLostError if self._storage.locks else (ProcessLostError, LakeUnavailableError)
        try:
            with self._batch.doubted(kinds):
                yield files
        finally:
            for file in files:
                self._batch.note(file.path, doubtful=file.doubtful)
            with self._counting:
                self._storing -= 1

    def discard(self, staged: Iterable[StagedFile]) -> None:
        """Remove staged files that will not be committed."""
        self._batch.remove([file.path for file in staged])

    def commit(self, plan: Plan, request: CommitRequest, fetched: Iterable[FetchedFile]) -> Submitted:
        """Commit what arrived for a participant's window, now or with others that share the record.

        If nothing is new, nothing is committed: that the contents were compared is noted, for many windows at once. It
        does not count if another run has committed the window since the plan: see ``Submitted.record``.
        """
        if (damage := plan.damaged.get(request.window.key)) is not None:
            raise damage
        fetched = list(fetched)
        old, window = plan.manifests[request.window.key], request.window.key
        version = plan.lake.index(request.participant).get(window)
        if old and version and version.compared:  # all that it has was seen then
            old = old.seen(datetime.fromtimestamp(version.compared, timezone.utc))
        result = merge(old, fetched, request)
        self.discard(result.discards)
        compared_at = request.compared_at
        if old and version and result.manifest.says_the_same(old):
            if compared_at:
                self.note_compared(request.participant, [(window, version.at)], at=compared_at)
            return Submitted(manifest=old, changes=result.changes, outcome=Outcome(record=version.at))
        same = old is not None and old.data_version == result.manifest.data_version
        useless = set(result.discards)
        files = [file.staged for file in fetched if file.staged not in useless]
        before = version.compared if same and version else 0  # contents that are the same stay compared
        compared = int(compared_at.timestamp()) if compared_at else before
        return self.adopt(plan, result.manifest, files, compared=compared, changes=result.changes)

    def adopt(
        self,
        plan: Plan,
        manifest: Manifest,
        files: Collection[StagedFile],
        *,
        compared: int,
        changes: Changes | None = None,
    ) -> Submitted:
        """Commit a window as the manifest says, which may be another lake's; ``files`` are new here."""
        subject = Subject(manifest.participant)
        place = self._batch.place(subject, manifest.window)
        if any(waiting == place for _, waiting, *_ in self._waiting):
            self.flush()
        paths = [file.path for file in files]
        for folder in sorted({path.rpartition("/")[0] for path in paths}):
            self._storage.sync_folder(folder)
        version = NewVersion(
            window=manifest.window,
            manifest=encode(manifest),
            files=paths,
            complete=manifest.complete,
            counts=manifest.counts_fingerprint if manifest.complete else "",
            compared=compared,
        )
        submitted = Submitted(manifest=manifest, changes=changes or Changes())
        self._waiting.append((subject, place, plan.base, version, submitted))
        size_bytes = sum(len(each.manifest) for *_, each, _ in self._waiting)
        if self._storage.locks or len(self._waiting) >= MOST_CHANGES or size_bytes >= _MOST_BYTES:
            self.flush()
        return submitted

    def flush(self) -> None:
        """Commit all that waits to share a record; windows of one participant share the file of their manifests."""
        waiting, self._waiting = self._waiting, []
        by_file: dict[tuple[Subject, str, int], list[NewVersion]] = {}
        for subject, place, base, version, _ in waiting:
            by_file.setdefault((subject, place.token, base), []).append(version)
        changes = [
            change
            for (subject, token, base), versions in by_file.items()
            for change in self._batch.changes(subject, versions, token=token, base=base)
        ]
        outcomes = self._batch.commit(changes) if changes else {}
        for _, place, _, _, submitted in waiting:
            submitted.outcome = outcomes[place]

    def note_compared(self, participant: str, windows: Iterable[tuple[str, int]], *, at: datetime) -> None:
        """Note that the contents of windows, each with its record, were compared and are the server's.

        That is no commit: manifests and data versions stay as they are. Of a window that another run has committed
        since, nothing is noted.
        """
        self._compared += [(participant, window, record, at) for window, record in windows]
        if len(self._compared) >= _MOST_COMPARED:
            self._note_compared()

    def place(self, member: MemberName, form: FileForm) -> FilePlace:
        """Where a new file goes: under Beiwe's own name if it is the first one of that name, as of the last plan."""
        subject = Subject(member.participant)
        with self._joining:
            self._batch.place(subject)
        name = plain_name(member)
        stem, _, extension = name.partition(".")
        own = self._batch.own_name(
            self._lake.folder(member.participant, f"{member.folder}/{stem}"), f".{extension}{form.suffix}"
        )
        first = self._lake.folder(member.participant, f"{member.folder}/{name}{form.suffix}")
        taken = self._plan.taken if self._plan else ()
        identities = self._catalog.identities
        if first in taken or not identities.may_be_first(subject, name + form.suffix, self._batch.state):
            return FilePlace(own)
        return FilePlace(first, otherwise=own)

    def _note_compared(self) -> None:
        if not self._compared:
            return
        compared, self._compared = self._compared, []
        first = min(at for *_, at in compared)

        def draft(state: State, start: dict[str, Any]) -> Compare | None:
            windows: dict[str, list[tuple[str, int]]] = {}
            for participant, window, record, _ in compared:
                token = self._catalog.identities.token(Subject(participant), state)
                version = state.current(token).get(window) if token else None
                if token and version and version.at == record:
                    windows.setdefault(token, []).append((window, record))
            if not windows:
                return None
            found = {token: tuple(own) for token, own in windows.items()}
            return Compare(**start, compared=int(first.timestamp()), windows=found)

        self._catalog.append(draft, run_id=self._run_id)
