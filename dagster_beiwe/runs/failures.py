"""Convert package errors into Dagster failures; retry transient ones."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import dagster as dg

from dagster_beiwe.errors import BeiweError, ServerBusyError
from dagster_beiwe.retries import STEP_FIRST_WAIT_SECONDS, STEP_RETRIES, HttpPolicy
from dagster_beiwe.text import listed

RETRY_POLICY = dg.RetryPolicy(
    max_retries=STEP_RETRIES,
    delay=STEP_FIRST_WAIT_SECONDS,
    backoff=dg.Backoff.EXPONENTIAL,
    jitter=dg.Jitter.PLUS_MINUS,
)

_T = TypeVar("_T")
_LONGEST_WAIT_SECONDS = HttpPolicy().retry_after_cap_seconds


class BusyFailure(dg.Failure):
    """The failure of a step whose server says when to come back."""

    def __init__(self, *, wait_seconds: float, description: str, metadata: dict[str, str | int]) -> None:
        super().__init__(description=description, metadata=metadata)
        self.wait_seconds = wait_seconds


@contextmanager
def clear_failures(*, unfinished: Callable[[], Iterable[str]] = tuple) -> Iterator[None]:
    """Turn an error of this package into a failure with its message only: no traceback with local values.

    The failure names the ``unfinished`` partitions. If the server says when to come back, the failure says so too, up
    to the client's own limit of five minutes.
    """
    try:
        yield
    except BeiweError as error:
        name = type(error).__name__
        keys = sorted(unfinished())
        rest = f" Materialize again: {listed(keys)}" if keys else ""
        description = f"{name}: {error}{rest}"
        metadata: dict[str, str | int] = {"error": name, "unfinished partitions": len(keys)}
        if isinstance(error, ServerBusyError) and error.retry_after_seconds:
            wait = min(error.retry_after_seconds, _LONGEST_WAIT_SECONDS)
            raise BusyFailure(wait_seconds=wait, description=description, metadata=metadata) from None
        raise dg.Failure(description=description, metadata=metadata, allow_retries=error.transient) from None


def partly_failed(what: str, failed: Sequence[str]) -> dg.Failure:
    """The failure of a step that recorded all partitions but the ``failed`` ones; ``what`` says what became of them."""
    return dg.Failure(
        f"{what}; all others are recorded. See the run's log, then materialize again: {listed(failed)}",
        metadata={"unfinished partitions": len(failed)},
        allow_retries=False,
    )


def with_retries(
    work: Callable[[], _T],
    *,
    policy: dg.RetryPolicy,
    log: logging.Logger,
    unfinished: Callable[[], Iterable[str]] = tuple,
    sleep: Callable[[float], None] = time.sleep,
) -> _T:
    """Return what a step's ``work`` returns, and retry it after a transient failure. Fails as ``clear_failures`` does.

    The steps of this package have no Dagster retry policy: Dagster also retries a step that was interrupted, so that
    Terminate would not stop a run, and its in-process executor can't be interrupted while it waits for a retry.
    """
    attempt = 0
    while True:
        attempt += 1
        try:
            with clear_failures(unfinished=unfinished):
                return work()
        except dg.Failure as failure:
            if not failure.allow_retries or attempt > policy.max_retries:
                raise
            wait = failure.wait_seconds if isinstance(failure, BusyFailure) else policy.calculate_delay(attempt)
            log.warning(
                "The step failed (attempt %d of %d) and is retried in %.0f s. %s",
                attempt,
                policy.max_retries + 1,
                wait,
                failure.description,
            )
        sleep(wait)


def withdrawn_advice(partitions: Iterable[str]) -> str:
    """What became of partitions whose participants were withdrawn from the lake while they were fetched."""
    return f"Withdrawn from the lake meanwhile, and not fetched again: {listed(sorted(partitions))}."


def never_seen_advice(participants: Iterable[str]) -> str:
    """What to do about partitions of participants that never were on the server."""
    return (
        f"Partitions of participants that the server does not list, and of which nothing was ever fetched: "
        f"{listed(sorted(participants))}. If an id was mistyped, remove it with `dagster-beiwe partitions remove`."
    )
