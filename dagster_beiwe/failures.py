"""How errors of this package end a step: with their message alone, and retried only where that can help."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import dagster as dg

from dagster_beiwe import errors
from dagster_beiwe.client import HttpPolicy
from dagster_beiwe.errors import BeiweError, ServerBusyError

PASSING = frozenset(
    error.__name__
    for error in (
        errors.ConnectionFailedError,
        errors.ServerBusyError,
        errors.TruncatedArchiveError,
        errors.CommitConflictError,
    )
)
"""Errors that may be gone in a minute. The others need somebody to change something first."""

RETRY_POLICY = dg.RetryPolicy(max_retries=2, delay=30, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS)
"""For steps: the client itself has waited and tried several times before."""

_LONGEST_WAIT_SECONDS = HttpPolicy().retry_after_cap_seconds
_NAMED = 200


@contextmanager
def clear_failures(*, unfinished: Callable[[], Iterable[str]] = tuple) -> Iterator[None]:
    """Turn an error of this package into a failure with its message only: no traceback with local values.

    ``unfinished`` gives the partitions that the step did not get to; the failure names them. A server that says when to
    come back is believed, up to the client's own limit of five minutes.
    """
    try:
        yield
    except BeiweError as error:
        if isinstance(error, ServerBusyError) and error.retry_after_seconds:
            wait = min(error.retry_after_seconds, _LONGEST_WAIT_SECONDS)
            raise dg.RetryRequested(max_retries=RETRY_POLICY.max_retries, seconds_to_wait=wait) from None
        name = type(error).__name__
        keys = sorted(unfinished())
        rest = f" Not done, to be materialised again: {listed(keys)}" if keys else ""
        raise dg.Failure(
            description=f"{name}: {error}{rest}",
            metadata={"error": name, "unfinished partitions": len(keys)},
            allow_retries=is_passing(name),
        ) from None


def listed(keys: Sequence[str]) -> str:
    """Partition keys, ready to be pasted into Dagster's partition field; the first ones if they are many."""
    more = f" and {len(keys) - _NAMED} more" if len(keys) > _NAMED else ""
    return f"{', '.join(keys[:_NAMED])}{more}"


def is_passing(error_name: str) -> bool:
    """Whether trying again soon may help."""
    return error_name in PASSING
