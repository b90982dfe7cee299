"""Dagster warns of beta and preview features that this package needs, which users of a project can't change."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg


@contextmanager
def beta_features() -> Iterator[None]:
    """Use backfill policies, data versions, partition mappings, and Pipes without warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)
        warnings.simplefilter("ignore", dg.PreviewWarning)
        yield
