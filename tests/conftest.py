"""What holds for every test: signals as a service has them, lakes and histories that cost little.

Folders mirror the package's rooms: ``foundations`` are the modules that others stand on, ``definitions`` those at the
top. What is not about one room has a folder of its own: whole lakes in an object store (``s3``), ``faults``, ``leaks``,
processes that are stopped (``stopping``), ``deploy``, ``docs``, ``packaging``, ``benchmarks``. What several folders use
is in ``support``.
"""

from __future__ import annotations

import functools
import gc
import itertools
import os
import shutil
import signal
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings
from unignored_signals import take_back_ignored_signals

if TYPE_CHECKING:
    import dagster as dg

settings.register_profile(
    "no clock", deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
settings.register_profile("few", settings.get_profile("no clock"), max_examples=20)  # of `run.py lowest`
settings.load_profile("no clock")

LONG_FILES = (
    "test_engines.py",
    "test_container_schedules.py",
    "test_leaks.py",
    "test_fault_life.py",
    "test_wheel.py",
    "test_benchmarks.py",
    "test_dead_runs.py",
    "test_interrupts.py",
    "test_postgres_and_s3.py",
    "test_model.py",
    "test_fault_soak.py",
    "test_fault_downloads.py",
    "test_dg.py",
    "test_ending.py",
    "test_forest_assets.py",
    "test_completeness_docs.py",
    "test_crash.py",
    "test_merged_project.py",
    "test_real_schedules.py",
    "test_checks.py",
    "test_sync_faults.py",
)


IN_MEMORY = "/dev/shm"
ENOUGH_BYTES = 4_000_000_000
"""More than the tests leave at any time."""


def pytest_configure() -> None:
    """Signals as a service has them; folders in memory where there is room, as to make a file costs a disk ten times as
    much. What is imported from here on is no garbage."""
    gc.disable()
    take_back_ignored_signals()
    if os.path.isdir(IN_MEMORY) and shutil.disk_usage(IN_MEMORY).free > ENOUGH_BYTES:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", IN_MEMORY)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where two processes share the files (``run.py test``), the longest go first, or one would wait for the other."""
    if hasattr(config, "workerinput"):
        places = {name: place for place, name in enumerate(LONG_FILES)}
        items.sort(key=lambda item: places.get(item.path.name, len(LONG_FILES)))


def pytest_collection_finish() -> None:
    """What is imported by now stays: the collector of garbage need not look at it again."""
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session", autouse=True)
def _cheap_lakes() -> Iterator[None]:
    """Keys that cost little, and no waiting for disks: tests open thousands of lakes."""
    # here, or the process that starts those that test would import them, too, while these wait for it
    import cryptease

    from dagster_beiwe.encryption import cryptease as cryptease_files
    from dagster_beiwe.lake.catalog import key_file

    salts = itertools.cycle([cryptease_files.new_salt() for _ in range(4)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cryptease, "kdf", functools.cache(cryptease.kdf))
        patch.setattr(cryptease_files, "new_salt", salts.__next__)
        patch.setattr(os, "fsync", lambda descriptor: None)
        patch.setattr(key_file, "LOG2_N", 10)
        yield


@pytest.fixture(scope="session", autouse=True)
def _cheap_dagster() -> Iterator[None]:
    from cheap_dagster import cheap_dagster

    with cheap_dagster():
        yield


@pytest.fixture(scope="session")
def shared_instance() -> Iterator[dg.DagsterInstance]:
    """Dagster's history in memory. Who uses it empties it: that costs a tenth of making another."""
    import dagster as dg

    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral


@pytest.fixture
def deep_stack() -> Iterator[None]:
    """For tests of input that is nested until the stack ends: what earlier tests left is not collected meanwhile.

    A finalizer that has to run at that depth fails, and pytest would blame the test.
    """
    gc.disable()
    yield
    gc.enable()


@pytest.fixture
def at_once() -> Iterator[None]:
    """For what must make nobody wait: where it does, the test fails after a while and does not hang."""

    def fail(number: int, frame: object) -> None:
        raise TimeoutError("It waits.")

    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(30)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)
