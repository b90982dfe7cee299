"""Dagster calls some features that this package needs "beta" and warns whoever loads a project, who can't change it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg


@contextmanager
def beta_features() -> Iterator[None]:
    """Use backfill policies and data versions without the warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)
        yield
