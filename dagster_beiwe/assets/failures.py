"""How errors of this package end a step: with their message alone, and retried only where that can help."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from dagster_beiwe import errors
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

RETRY_POLICY = dg.RetryPolicy(
    max_retries=2, delay=30, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS
)
"""For steps: the client itself has waited and tried several times before."""


@contextmanager
def clear_failures() -> Iterator[None]:
    """Turn an error of this package into a failure with its message only: no traceback with local values.

    A server that says when to come back is believed.
    """
    try:
        yield
    except ServerBusyError as error:
        if error.retry_after_seconds:
            raise dg.RetryRequested(
                max_retries=RETRY_POLICY.max_retries, seconds_to_wait=error.retry_after_seconds
            ) from None
        raise failure(error) from None
    except BeiweError as error:
        raise failure(error) from None


def failure(error: BeiweError) -> dg.Failure:
    """The error as a failure of a step."""
    name = type(error).__name__
    return dg.Failure(description=f"{name}: {error}", metadata={"error": name}, allow_retries=is_passing(name))


def is_passing(error_name: str) -> bool:
    """Whether trying again soon may help."""
    return error_name in PASSING
