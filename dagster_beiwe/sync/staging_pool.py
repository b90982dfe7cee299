"""Stage: check, encrypt, and store the members of an archive while it arrives.

Small members are encrypted in batches, which is faster. Medium ones are too few for that, so each has a thread of its
own. Large ones must not be held in memory, so they are encrypted as they pass by.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from threading import Event
from typing import TYPE_CHECKING, Any, TypeVar

from dagster_beiwe.archive import Member
from dagster_beiwe.errors import BeiweError, DamagedMemberError
from dagster_beiwe.lake import LakeWriter, StudyLake
from dagster_beiwe.lake.staging import Examined, StagedFile, examine, small_size
from dagster_beiwe.member_names import MemberName
from dagster_beiwe.sync.requests import FetchPolicy

if TYPE_CHECKING:
    from typing_extensions import Self

_T = TypeVar("_T")
_Error = TypeVar("_Error", bound=BeiweError)

_LARGEST_WHOLE_BYTES = 8 * 1024 * 1024
_CHECKED_TOGETHER_BYTES = 128 * 1024
"""A thread checks small members in groups of this many bytes: waking it costs more than checking one."""

_BATCHES_AT_ONCE = 2
_LARGEST_BATCH = 500
"""With fewer files, encrypting them takes longer; with more, more is left to store when an archive ends."""


class Threads:
    """The threads that work on files, and those that wait for batches. Use it as a context manager.

    After an interrupt (any exception that is not an ``Exception``), they begin nothing new.
    """

    def __init__(self, workers: int) -> None:
        stop = Event()
        self._stop = stop
        self.files = _Pool(workers, name="beiwe-file", stop=stop)
        self.batches = _Pool(_BATCHES_AT_ONCE, name="beiwe-batch", stop=stop)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        if is_interrupt(kind):
            self._stop.set()
        for pool in (self.batches, self.files):
            pool.shutdown(wait=True)


class _Pool(ThreadPoolExecutor):
    """Threads that begin nothing new once ``stop`` is set.

    Canceling their work instead would block forever whoever waits for work that was canceled before it began.
    """

    def __init__(self, workers: int, *, name: str, stop: Event) -> None:
        super().__init__(workers, thread_name_prefix=name)
        self._stop = stop

    def submit(self, work: Callable[..., _T], /, *args: Any, **kwargs: Any) -> Future[_T]:
        return super().submit(self._unless_stopped, work, *args, **kwargs)

    def _unless_stopped(self, work: Callable[..., _T], /, *args: Any, **kwargs: Any) -> _T:
        if self._stop.is_set():
            raise _StoppedError
        return work(*args, **kwargs)


class _StoppedError(Exception):
    """Work that was not begun because the run was interrupted."""


def is_interrupt(kind: type[BaseException] | None) -> bool:
    """Whether a block ends because the run must stop now, not because of an error that a caller will handle."""
    return kind is not None and not issubclass(kind, Exception)


class Intake:
    """Stages members while the archive arrives, with a bounded number of bytes waiting; ``md5`` adds that hash.

    Use it as a context manager: when it ends, nothing is being written any more, unless it was interrupted.
    """

    def __init__(
        self, lake: StudyLake, writer: LakeWriter, threads: Threads, policy: FetchPolicy, *, md5: bool
    ) -> None:
        self._lake, self._writer, self._threads, self._policy, self._md5 = lake, writer, threads, policy, md5
        self._unchecked: list[_Small] = []
        self._unchecked_bytes = 0
        self._batch: list[Future[list[_Checked]]] = []
        self._unsettled: deque[tuple[Future[list[_Checked]], int]] = deque()
        """Parts of the batch that may be smaller once they are checked, and their bytes until then."""
        self._batch_files = self._batch_bytes = 0
        self._waiting: deque[tuple[Future[None], int]] = deque()
        self._waiting_bytes = 0
        self._outcomes: list[_Outcome] = []
        self.names: list[MemberName] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        if not is_interrupt(kind):
            self._finish()

    def add(self, name: MemberName, member: Member, *, compressed: bool) -> None:
        outcome = _Outcome()
        try:
            self._take(name, member, outcome, compressed=compressed)
        except DamagedMemberError as error:
            outcome.result = bare(error)
        self.names.append(name)
        self._outcomes.append(outcome)

    def _finish(self) -> None:
        self._send_batch()
        while self._waiting:
            self._wait_for_oldest()

    def outcomes(self) -> Iterator[StagedFile | DamagedMemberError]:
        """The outcome of each member, in order; valid when the block has ended."""
        for outcome in self._outcomes:
            assert outcome.result is not None, "what fails otherwise ends the block"
            yield outcome.result

    def _take(self, name: MemberName, member: Member, outcome: _Outcome, *, compressed: bool) -> None:
        if member.size_bytes > _LARGEST_WHOLE_BYTES:
            outcome.result = self._writer.stage(name, member.body, compressed=compressed, md5=self._md5)
            return
        form, body = self._lake.form(name.stream), list(member.body)
        head = body[0] if body else b""
        small = small_size(head, member.size_bytes, compressed=compressed, form=form)
        needed = member.size_bytes if small is None else small
        while self._waiting and self._waiting_bytes + self._batch_bytes + needed > self._policy.buffer_bytes:
            self._wait_for_oldest()
        if small is None:
            self._wait_for(
                self._threads.files.submit(self._store_one, name, body, outcome, compressed=compressed), needed
            )
            return
        check = partial(examine, b"".join(body), name=name.name, compressed=compressed, form=form, md5=self._md5)
        self._unchecked.append(_Small(name, check, outcome))
        self._unchecked_bytes += needed
        self._batch_files += 1
        self._batch_bytes += needed
        if self._unchecked_bytes >= _CHECKED_TOGETHER_BYTES:
            self._send_unchecked()
        while self._unsettled and self._batch_bytes >= self._policy.batch_bytes:
            self._settle_oldest()
        if self._batch_bytes >= self._policy.batch_bytes or self._batch_files >= _LARGEST_BATCH:
            self._send_batch()

    def _send_unchecked(self) -> None:
        checked = self._threads.files.submit(_check, self._unchecked)
        self._batch.append(checked)
        self._unsettled.append((checked, self._unchecked_bytes))
        self._unchecked, self._unchecked_bytes = [], 0

    def _settle_oldest(self) -> None:
        """Count the oldest part by what it holds now that it is checked, and perhaps compressed."""
        checked, size_bytes = self._unsettled.popleft()
        self._batch_bytes += sum(len(examined.content) for _, examined, _ in checked.result()) - size_bytes

    def _send_batch(self) -> None:
        if self._batch_files:
            if self._unchecked:
                self._send_unchecked()
            stored = self._threads.batches.submit(_store, self._batch, self._writer, self._threads.files)
            self._wait_for(stored, self._batch_bytes)
            self._batch, self._batch_files, self._batch_bytes = [], 0, 0
            self._unsettled.clear()

    def _store_one(self, name: MemberName, body: list[bytes], outcome: _Outcome, *, compressed: bool) -> None:
        """Check, encrypt, and store a medium member."""
        try:
            outcome.result = self._writer.stage(name, body, compressed=compressed, md5=self._md5)
        except DamagedMemberError as error:
            outcome.result = bare(error)

    def _wait_for(self, stored: Future[None], size_bytes: int) -> None:
        self._waiting.append((stored, size_bytes))
        self._waiting_bytes += size_bytes

    def _wait_for_oldest(self) -> None:
        stored, size_bytes = self._waiting.popleft()
        error = stored.exception()
        self._waiting_bytes -= size_bytes
        if error is not None:
            raise error


class _Outcome:
    """The outcome of one member. Not a ``Future``: nothing waits for it, and a ``Future`` costs more."""

    __slots__ = ("result",)

    def __init__(self) -> None:
        self.result: StagedFile | DamagedMemberError | None = None


@dataclass(frozen=True)
class _Small:
    """A small member, what checks it, and its outcome."""

    name: MemberName
    check: Callable[[], Examined]
    outcome: _Outcome


_Checked = tuple[MemberName, Examined, _Outcome]
"""Leaves out the downloaded bytes, which would double the memory of a batch."""


def _check(members: Sequence[_Small]) -> list[_Checked]:
    """The members that are undamaged; of the others, the outcome is known."""
    whole: list[_Checked] = []
    for small in members:
        try:
            whole.append((small.name, small.check(), small.outcome))
        except DamagedMemberError as error:
            small.outcome.result = bare(error)
    return whole


def _store(batch: Sequence[Future[list[_Checked]]], writer: LakeWriter, pool: Executor) -> None:
    """Encrypt and store the undamaged members of a batch."""
    whole = [each for checked in batch for each in checked.result()]
    staged = writer.stage_all([(name, examined) for name, examined, _ in whole], pool=pool)
    for (*_, outcome), file in zip(whole, staged, strict=True):
        outcome.result = file


def bare(error: _Error) -> _Error:
    """The error without its traceback and context, which would keep each other and the connection alive."""
    error.__context__ = None
    return error.with_traceback(None)
