"""The faults of this machine, and what each must lead to: the second half of the table of failure modes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class MachineFault:
    """A fault on our side. ``check`` names the test that inflicts it, with its file where that is not
    ``test_fault_machine.py``; ``outcome`` says what it proves."""

    name: str
    check: str
    outcome: str


MACHINE_FAULTS: tuple[MachineFault, ...] = (
    MachineFault(
        name="disk full",
        check="disk_full",
        outcome="`LakeUnavailableError` that says to free space; nothing committed is lost; the next run recovers",
    ),
    MachineFault(
        name="disk full at each operation of a commit",
        check="tests/lake/test_commit.py::a_disk_that_fails_at_any_moment_is_named_and_loses_nothing",
        outcome="the old version or the new one, never a mixture",
    ),
    MachineFault(
        name="lake mounted read-only",
        check="read_only_lake",
        outcome="`LakeUnavailableError` before the first download; reading still works",
    ),
    MachineFault(
        name="lake removed during a run",
        check="lake_removed",
        outcome="`LakeUnavailableError`; no empty lake is created in its place",
    ),
    MachineFault(
        name="two runs start a study at the same moment",
        check="study_begun_twice",
        outcome="one key file, from whichever is first; both complete",
    ),
    MachineFault(
        name="SIGTERM during a download",
        check="tests/faults/test_fault_kills.py::sigterm",
        outcome="committed windows stay; no plaintext is left; the next run cleans up and completes",
    ),
    MachineFault(
        name="SIGKILL during a download",
        check="tests/faults/test_fault_kills.py::sigkill",
        outcome="committed windows stay; no plaintext is left; the next run cleans up and completes",
    ),
    MachineFault(
        name="SIGKILL at each operation of a commit",
        check="tests/lake/test_commit.py::a_run_that_dies_at_any_moment_of_a_commit_leaves_old_or_new",
        outcome="the old version or the new one, never a mixture",
    ),
    MachineFault(
        name="Dagster's event log locked for a while",
        check="tests/faults/test_fault_dagster.py::event_log_locked_briefly",
        outcome="recovered: Dagster waits",
    ),
    MachineFault(
        name="Dagster's event log locked for good",
        check="tests/faults/test_fault_dagster.py::event_log_locked",
        outcome="the run fails with Dagster's error; what was committed stays, and the next run records it",
    ),
    MachineFault(
        name="wrong clock of a phone (1969, 1970, next year)",
        check="phone_clock_wrong",
        outcome="files are fetched as out-of-range files, or counted outside every window; windows stay complete",
    ),
    MachineFault(
        name="wrong clock of this machine, by ten years in either direction",
        check="our_clock_wrong",
        outcome="recovered: identity and order come from the server's hours and the log",
    ),
    MachineFault(
        name="study names with Unicode, slashes, line breaks, terminal escapes",
        check="hostile_study_names",
        outcome="asset keys stay plain, the lake's folders are IDs, messages are one line",
    ),
    MachineFault(
        name="object missing from the server's storage",
        check="missing_object",
        outcome="the window is committed without it, because the server gives no sign; the server's counts reveal it",
    ),
)
