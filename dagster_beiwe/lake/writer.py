"""Write to one study's lake: stage files as they arrive, then commit a window in one step.

The order makes a crash harmless: staged files (already locked) → record of the commit, if it replaces anything →
moves → manifest → index. Until the manifest the old version counts; from then on the new one does. The study's roll is
written before a run's first commit and at its end (see ``roll``).
"""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from dagster_beiwe.errors import CommitConflictError, IntegrityError
from dagster_beiwe.lake.index import Index, IndexEntry, IndexMark, read_index, write_index
from dagster_beiwe.lake.manifest import Manifest
from dagster_beiwe.lake.merge import Arrival, Merge, Occasion, adoption, merge
from dagster_beiwe.lake.pending import Pending, finish, pending_path, read_pending, write_pending
from dagster_beiwe.lake.roll import Roll, change_roll, read_roll, trusted_indexes
from dagster_beiwe.lake.staging import Examined, FileForm, StagedFile, stage_file, store_all
from dagster_beiwe.names import MemberName, is_participant_id
from dagster_beiwe.private_files import PART_SUFFIX

if TYPE_CHECKING:
    from typing_extensions import Self

    from dagster_beiwe.lake.study import StudyLake

_RUN_SUFFIX = ".run"


def running(lake: StudyLake) -> list[str]:
    """Tokens of the runs that write to a study, or died while they did."""
    names = lake.storage.list(f"{lake.study_id}/.beiwe")
    return [name.removesuffix(_RUN_SUFFIX) for name in names if name.endswith(_RUN_SUFFIX)]


def run_path(lake: StudyLake, token: str) -> str:
    """The file that a run keeps in a study while it lives."""
    return f"{lake.study_id}/.beiwe/{token}{_RUN_SUFFIX}"


class LakeWriter:
    """One run's write access to a study; use it as a context manager. ``stage`` may be called from several threads.

    A file ``<token>.run`` is kept as a sign of life, in the study's ``.beiwe`` and in that of each participant that
    the run touches. Temporary files carry the token, so that the next run knows which ones a dead run left.
    """

    def __init__(self, lake: StudyLake, *, run_id: str) -> None:
        self._token = os.urandom(8).hex()
        self._lake, self._storage, self._run_id = lake, lake.storage.for_run(self._token), run_id
        self._parts: set[str] = set()
        self._roll: Roll | None = None
        self._marks: dict[str, IndexMark] = {}
        self._held = threading.local()
        self._numbers = itertools.count()
        self._touched: set[str] = set()
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        self._lake.authenticate()
        with ExitStack() as opening:
            opening.enter_context(self._storage.hold(self._run_path(self._token)))
            opening.callback(self._clean_up)
            opening.callback(self._leave_roll)
            self._authenticator = self._lake.authenticate(create=True, storage=self._storage)
            self._remove_leftovers()
            self._open = opening.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        self._open.close()

    def stage(
        self,
        member: MemberName,
        body: Iterable[bytes],
        *,
        arrives_compressed: bool,
        form: FileForm | None = None,
        md5: bool = False,
    ) -> StagedFile:
        """Check, hash, lock and store one member's bytes under a temporary name in its folder.

        ``form`` stands in for that of the member's stream; ``md5`` asks for that hash too.
        """
        return stage_file(
            self._storage,
            self._new_part(member),
            body,
            name=member.name,
            arrives_compressed=arrives_compressed,
            form=form or self._lake.form(member.stream),
            md5=md5,
        )

    def stage_all(self, files: Sequence[tuple[MemberName, Examined]], *, pool: Executor) -> list[StagedFile]:
        """Lock and store small members that were examined, together and with the threads of ``pool``."""
        staged: dict[int, StagedFile] = {}
        by_form: dict[FileForm, list[int]] = {}
        for number, (member, _) in enumerate(files):
            by_form.setdefault(self._lake.form(member.stream), []).append(number)
        for form, numbers in by_form.items():
            parts = [(self._new_part(files[number][0]), files[number][1]) for number in numbers]
            staged.update(zip(numbers, store_all(self._storage, parts, form=form, pool=pool), strict=True))
        return [staged[number] for number in range(len(files))]

    def _new_part(self, member: MemberName) -> str:
        self._touch(member.participant)
        part = f"{member.folder}/.{self._token}-{next(self._numbers)}{PART_SUFFIX}"
        path = self._lake.folder(member.participant, part)
        self._parts.add(path)
        return path

    def discard(self, staged: Iterable[StagedFile]) -> None:
        """Remove staged files that will not be committed."""
        for file in staged:
            self._storage.delete(file.part)
            self._parts.discard(file.part)

    def commit(self, occasion: Occasion, arrivals: Iterable[Arrival], *, base_generation: int) -> Merge:
        """Commit what arrived for a participant's window.

        ``base_generation`` is that of the manifest which the download was planned with (0: none). Raises
        ``CommitConflictError`` if another run has committed since, and discards what was staged: plan again.
        """
        arrivals = list(arrivals)
        folder = self._lake.folder(occasion.participant)
        with self.lock(occasion.participant):
            self._finish_pending(occasion.participant, occasion.window.key)
            old = self._lake.manifest(occasion.participant, occasion.window)
            if (old.generation if old else 0) != base_generation:
                self.discard(arrival.staged for arrival in arrivals)
                raise CommitConflictError(
                    f"Expected window {occasion.window.key} of participant {occasion.participant} as this run had "
                    "planned with, got a newer commit of another run; nothing was written. The window is planned again."
                )
            self._align_index(occasion.participant, occasion.window.key, old)
            result = merge(old, arrivals, occasion)
            sealed = self._write(folder, result)
            same = old is not None and old.data_version == sealed.data_version
            self._update_index(sealed, compared_at=occasion.compared_at, same=same)
        for part in result.discards:
            self._storage.delete(part)
        self._parts.difference_update(arrival.staged.part for arrival in arrivals)
        return replace(result, manifest=sealed)

    def note_compared(self, manifests: Sequence[Manifest], *, at: datetime) -> None:
        """Note that the contents of a participant's windows were compared and are the server's.

        That is no commit: manifests, generations and data versions stay as they are. Of a window that another run has
        committed since, nothing is noted.
        """
        (participant,) = {manifest.participant for manifest in manifests}
        with self.lock(participant):
            index = self._read_index(participant)
            macs = {manifest.window: manifest.mac for manifest in manifests}
            same = {key: entry for key, entry in index.windows.items() if macs.get(key) == entry.mac}
            if same:
                noted = {key: replace(entry, compared_at=at) for key, entry in same.items()}
                self._write_index(participant, index, {**index.windows, **noted})

    def adopt(
        self, manifest: Manifest, staged: Mapping[str, StagedFile], *, compared_at: datetime | None = None
    ) -> Manifest:
        """Commit a window as another lake has it; ``staged`` has the files that are new here, by their path.

        Commits are counted as this lake's own. Nobody else may write to the window meanwhile.
        """
        folder = self._lake.folder(manifest.participant)
        with self.lock(manifest.participant):
            self._finish_pending(manifest.participant, manifest.window)
            old = self._lake.manifest(manifest.participant, manifest.window)
            self._align_index(manifest.participant, manifest.window, old)
            sealed = self._write(folder, adoption(old, manifest, staged))
            self._update_index(sealed, compared_at=compared_at)
        self._parts.difference_update(file.part for file in staged.values())
        return sealed

    def _write(self, folder: str, result: Merge) -> Manifest:
        moves = tuple((part.removeprefix(f"{folder}/"), path) for part, path in result.moves)
        pending = Pending(manifest=result.manifest, moves=moves, removals=result.removals)
        if result.replaces:
            self._write_pending(folder, pending, {part for part, _ in result.moves})
        return finish(self._storage, self._authenticator, folder, pending)

    def _write_pending(self, folder: str, pending: Pending, parts: set[str]) -> None:
        """Write the record of a commit. From then on its staged files are its own: whoever finishes it needs them."""
        self._parts -= parts
        try:
            write_pending(self._storage, self._authenticator, folder, pending)
        except BaseException:
            if not self._storage.exists(pending_path(folder, pending.manifest.window)):
                self._parts |= parts
            raise

    @contextmanager
    def lock(self, participant: str) -> Iterator[None]:
        """Keep others from committing to a participant; this thread may do it inside the block."""
        held: set[str] = self._held.__dict__.setdefault("participants", set())
        if participant in held:
            yield
            return
        with self._storage.lock(self._lake.folder(participant, ".beiwe")):
            held.add(participant)
            try:
                yield
            finally:
                held.remove(participant)

    def forget(self, participant: str, window: str) -> None:
        """Drop a window whose manifest can't be trusted, so that the next run fetches it anew. Its files stay."""
        folder = self._lake.folder(participant)
        with self.lock(participant):
            for suffix in ("json", "pending"):
                self._storage.delete(f"{folder}/.beiwe/{window}.{suffix}")
            index = self._read_index(participant)
            self._write_index(participant, index, {key: each for key, each in index.windows.items() if key != window})

    def rebuild_index(self, participant: str) -> None:
        """Make a participant's index anew from the manifests that can be trusted.

        Nothing tells that they are the newest ones, so no count is kept: their windows are looked at again.
        """
        with self.lock(participant):
            known = self._join_roll().participants.get(participant, IndexMark(0, ""))
            old = Index()
            with suppress(IntegrityError):  # that is what it is made anew for
                old = read_index(self._storage, self._authenticator, self._lake.study_id, participant)
            windows = {}
            for window in self._lake.windows(participant):
                with suppress(IntegrityError):  # named by whoever asked for this, and dropped by ``forget``
                    if manifest := self._lake.manifest(participant, window):
                        windows[window] = replace(IndexEntry.of(manifest), counted="")
            self._write_index(participant, Index(edition=max(known.edition, old.edition)), windows)

    def delete(self, participant: str, path: str) -> None:
        """Remove a file that no manifest lists. The participant's lock is held."""
        self._storage.delete(self._lake.folder(participant, path))

    def _align_index(self, participant: str, window: str, manifest: Manifest | None) -> None:
        """Let the index know a manifest whose run died right after it, before the next one makes that two.

        Raises ``IntegrityError`` if the index knows a newer one: a commit on top would hide that it was put back.
        """
        windows = self._read_index(participant).windows
        known, present = (
            entry.generation if (entry := windows.get(window)) else 0,
            manifest.generation if manifest else 0,
        )
        if known > present:
            raise IntegrityError(
                f"Expected commit {known} of window {window} of participant {participant}, got "
                f"{f'commit {present}' if present else 'no manifest'}; nothing was written. It was removed or put back "
                "to an older state: restore it from a backup, or run `dagster-beiwe verify --repair` and then the "
                "partition again."
            )
        if manifest and known < present:
            self._update_index(manifest)

    def _update_index(self, manifest: Manifest, *, compared_at: datetime | None = None, same: bool = False) -> None:
        """Let the index know a commit. Contents that are the ``same`` as before stay compared when they last were."""
        index = self._read_index(manifest.participant)
        before = index.windows.get(manifest.window)
        if same and before:
            compared_at = compared_at or before.compared_at
        windows = {**index.windows, manifest.window: IndexEntry.of(manifest, compared_at=compared_at)}
        self._write_index(manifest.participant, index, windows)

    def _read_index(self, participant: str) -> Index:
        """A participant's index. Raises ``IntegrityError`` if the roll, or this run, knows of a newer one."""
        roll = self._join_roll()
        index = read_index(self._storage, self._authenticator, self._lake.study_id, participant)
        known = self._marks.get(participant) or roll.participants.get(participant)
        if known and not known.precedes(index):
            raise IntegrityError(
                f"Expected index {known.edition} of participant {participant}, got "
                f"{f'another, {index.edition}' if index.edition else 'none'}; nothing was written. It was removed or "
                "put back to an older state: restore it from a backup, or run `dagster-beiwe verify --repair` and then "
                "the partition again."
            )
        return index

    def _write_index(self, participant: str, before: Index, windows: Mapping[str, IndexEntry]) -> None:
        index = Index(windows=windows, edition=before.edition + 1, roll=self._join_roll().edition)
        study_id = self._lake.study_id
        self._marks[participant] = write_index(self._storage, self._authenticator, study_id, participant, index)

    def _join_roll(self) -> Roll:
        """The roll as it was when this run came on it, at the latest now.

        Runs that died are taken off it, and what they left of indexes counts from now on.
        """
        if self._roll is None:
            storage, authenticator, study_id = self._storage, self._authenticator, self._lake.study_id
            before = read_roll(storage, authenticator, study_id) or Roll()
            dead = {token for token in before.sessions if not storage.is_held(self._run_path(token))}
            left = dict(trusted_indexes(storage, authenticator, study_id)) if dead else {}
            marks = {participant: index.mark for participant, index in left.items()}
            self._roll = change_roll(
                storage, authenticator, study_id, lambda roll: roll.closed(dead, marks).opened(self._token)
            )
        return self._roll

    def _leave_roll(self) -> None:
        """Put the indexes that this run has written on the roll."""
        if self._roll is not None:
            leave = (self._storage, self._authenticator, self._lake.study_id)
            change_roll(*leave, lambda roll: roll.closed({self._token}, self._marks))

    def _finish_pending(self, participant: str, window: str) -> None:
        """Finish what a dead run began to commit. The lock is held, so no living run is at it."""
        folder = self._lake.folder(participant)
        pending = read_pending(self._storage, self._authenticator, folder, window)
        if pending:
            self._update_index(finish(self._storage, self._authenticator, folder, pending))

    def _touch(self, participant: str) -> None:
        with self._lock:
            if participant not in self._touched:
                self._touched.add(participant)
                self._storage.write(self._lake.folder(participant, f".beiwe/{self._token}{_RUN_SUFFIX}"), b"")

    def _clean_up(self) -> None:
        for path in self._parts:
            self._storage.delete(path)
        for participant in self._touched:
            self._storage.delete(self._lake.folder(participant, f".beiwe/{self._token}{_RUN_SUFFIX}"))

    def _remove_leftovers(self) -> None:
        """Finish the commits and remove the temporary files of runs that died."""
        dead = [
            token
            for token in running(self._lake)
            if token != self._token and not self._storage.is_held(self._run_path(token))
        ]
        if not dead:
            return
        for participant in filter(is_participant_id, self._storage.list(self._lake.study_id)):
            inside = self._storage.list(self._lake.folder(participant, ".beiwe"))
            for token in dead:
                if any(name.startswith((f"{token}{_RUN_SUFFIX}", f".{token}-")) for name in inside):
                    self._finish_all_pending(participant, inside)
                    self._remove_parts(self._lake.folder(participant), token)
                    self._storage.delete(self._lake.folder(participant, f".beiwe/{token}{_RUN_SUFFIX}"))
        self._join_roll()
        for token in dead:
            self._remove_parts(f"{self._lake.study_id}/.beiwe", token)
            self._storage.delete(self._run_path(token))

    def _finish_all_pending(self, participant: str, inside: Iterable[str]) -> None:
        windows = [name.removesuffix(".pending") for name in inside if name.endswith(".pending")]
        if windows:
            with self.lock(participant):
                for window in windows:
                    self._finish_pending(participant, window)

    def _remove_parts(self, folder: str, token: str) -> None:
        for path in list(self._storage.walk(folder)):
            name = path.rpartition("/")[2]
            if name.startswith(f".{token}-") and name.endswith(PART_SUFFIX):
                self._storage.delete(path)

    def _run_path(self, token: str) -> str:
        return run_path(self._lake, token)
