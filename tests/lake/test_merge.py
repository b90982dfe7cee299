"""What a commit decides: names, first sight, restatements, deleted files and counts. No disk, no server."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from itertools import permutations
from typing import Any

from core_helpers import DAY, HOUR, NOW, PERSON, START, STUDY, commit_request
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from dagster_beiwe.encryption import CrypteaseCipher
from dagster_beiwe.lake import CommitRequest, FetchedFile, FetchFailure, Manifest, Merge
from dagster_beiwe.lake.merge import merge
from dagster_beiwe.lake.staging import FileForm, StagedFile
from dagster_beiwe.member_names import parse_member_name

LOCKED = FileForm(cipher=CrypteaseCipher("x"), compression="zstd")
LATER = NOW + timedelta(days=3)


def fetched_file(
    key: str, content: bytes, *, number: int = 1, form: FileForm = LOCKED, ending: str = ".csv"
) -> FetchedFile:
    """A file of the survey answers of one second; ``number`` is the suffix that the server gave this time."""
    suffix = f"_{number}" if number > 1 else ""
    staged = StagedFile(
        path=f"{STUDY}/{PERSON}/survey_answers/{key}~{content.hex()}",
        size_bytes=len(content),
        md5=hashlib.md5(content).hexdigest(),
        sha1=hashlib.sha1(content).hexdigest(),
        sha256=hashlib.sha256(content).hexdigest(),
        stored_size_bytes=len(content) + 50,
        stored_sha256=hashlib.sha256(b"stored" + content).hexdigest(),
        encryption=form.encryption,
        compression=form.compression,
    )
    name = f"{PERSON}/survey_answers/s1/{START + HOUR:%Y-%m-%d %H_%M_%S}+00_00{suffix}{ending}"
    member = parse_member_name(name)
    return FetchedFile(key=f"{STUDY}/{key}", member=member, staged=staged, form=form)


def merged(old: Manifest | None, *fetched_files: FetchedFile, **facts: Any) -> Merge:
    return merge(old, fetched_files, commit_request(**facts))


def keys_by_name(manifest: Manifest) -> dict[str, str]:
    return {record.member: record.key for record in manifest.files}


def test_a_first_commit_adds_everything() -> None:
    """All files are new, seen and fetched now, by this run."""
    result = merged(None, fetched_file("a", b"12345"))
    (record,) = result.manifest.files
    assert (result.changes.added, result.changes.added_bytes, result.changes.unchanged) == (1, 5, 0)
    assert (record.first_seen, record.fetched_at, record.run_id) == (NOW.isoformat(), NOW.isoformat(), "run-1")
    assert (record.restatements, record.previous, record.present) == (0, None, True)
    assert record.path == "survey_answers/a~3132333435"
    assert result.manifest.complete


def test_an_empty_window_is_a_commit() -> None:
    """No files is a result like any other."""
    result = merged(None)
    assert (result.manifest.files, result.manifest.complete) == ((), True)


def test_restated_files_keep_name_and_first_sight_and_count() -> None:
    """A changed file keeps its name and gets a place beside it; what it was before is told, once per restatement."""
    first = merged(None, fetched_file("a", b"old"), fetched_file("b", b"same"))
    second = merged(first.manifest, fetched_file("a", b"newer!"), now=LATER, run_id="run-2")
    third = merged(second.manifest, fetched_file("a", b"newest"), now=LATER + HOUR)
    old, new, newest = (one.manifest.by_key()[f"{STUDY}/a"] for one in (first, second, third))
    assert (new.member, new.first_seen) == (old.member, NOW.isoformat())
    assert len({old.path, new.path, newest.path}) == 3
    assert (new.fetched_at, new.run_id, new.restatements, newest.restatements) == (LATER.isoformat(), "run-2", 1, 2)
    assert new.previous is not None
    assert (new.previous.sha256, new.previous.size_bytes, new.previous.fetched_at) == (old.sha256, 3, old.fetched_at)
    assert newest.previous is not None
    assert newest.previous.sha256 == new.sha256
    assert (second.changes.changed, second.changes.changed_bytes) == (1, 6)
    assert (second.changes.unchanged, second.changes.unchanged_bytes) == (1, 4)
    assert second.changes.added == 0


def test_the_same_content_again_changes_nothing() -> None:
    """A file that came although it was held (older servers do that) keeps its record; the copy is dropped."""
    first = merged(None, fetched_file("a", b"same"))
    again = merged(first.manifest, fetched_file("a", b"same"), now=LATER, run_id="run-2")
    assert again.manifest.files == first.manifest.files
    assert [staged.path for staged in again.discards] == [f"{STUDY}/{PERSON}/survey_answers/a~73616d65"]
    assert (again.changes.unchanged, again.changes.changed, again.changes.added) == (1, 0, 0)


def test_moving_suffixes_never_rename_a_file() -> None:
    """The server numbers files of one second anew in each answer; names in the lake belong to keys and stay."""
    first = merged(
        None, fetched_file("a", b"A"), fetched_file("b", b"B", number=2), fetched_file("c", b"C", number=3)
    ).manifest
    assert len(keys_by_name(first)) == 3
    for order in permutations((1, 2, 3)):
        numbered = zip("abc", order, strict=True)
        shuffled = merged(first, *(fetched_file(key, key.encode() * 2, number=number) for key, number in numbered))
        assert keys_by_name(shuffled.manifest) == keys_by_name(first)
        assert shuffled.changes.changed == 3


def test_a_new_file_of_the_same_second_gets_a_free_name() -> None:
    """A file that comes later under a name that is taken is numbered, and replaces nothing."""
    first = merged(None, fetched_file("a", b"A")).manifest
    second = merged(first, fetched_file("b", b"B")).manifest
    third = merged(second, fetched_file("c", b"C", number=2)).manifest
    names = {record.key[-1]: record.member.rpartition("+00_00")[2] for record in third.files}
    assert names == {"a": ".csv", "b": "_2.csv", "c": "_3.csv"}
    assert len(keys_by_name(third)) == 3


def test_duplicated_uploads_keep_their_extension() -> None:
    """The marks of repeated uploads stay in the name, and do not collide with the first upload."""
    marked = fetched_file("b", b"B", ending=".mp4-duplicate-abcdefghij")
    manifest = merged(None, fetched_file("a", b"A", ending=".mp4"), marked).manifest
    assert {record.member.partition(".")[2] for record in manifest.files} == {"mp4", "mp4-duplicate-abcdefghij"}


def test_deleted_files_are_kept_and_marked() -> None:
    """What the server no longer has stays in the lake, marked once with the day; the data version moves."""
    first = merged(None, fetched_file("a", b"A"), fetched_file("b", b"B")).manifest
    gone = merged(first, deleted_upstream={f"{STUDY}/a", f"{STUDY}/never held"}, now=LATER)
    still = merged(gone.manifest, deleted_upstream={f"{STUDY}/a"}, now=LATER + HOUR)
    record = still.manifest.by_key()[f"{STUDY}/a"]
    assert (record.present, record.deleted_upstream_at) == (False, LATER.isoformat())
    assert (gone.changes.deleted_upstream, gone.changes.deleted_upstream_bytes, gone.changes.unchanged) == (1, 1, 1)
    assert still.changes.deleted_upstream == 0
    assert len(gone.manifest.files) == 2
    assert gone.manifest.data_version != first.data_version
    assert gone.manifest.data_version == merged(None, fetched_file("b", b"B")).manifest.data_version
    assert merged(gone.manifest, fetched_file("a", b"A")).manifest.data_version == first.data_version


def test_deleted_files_are_removed_if_that_is_wanted() -> None:
    """With the setting the file goes; its history stays apart from the files."""
    first = merged(None, fetched_file("a", b"A"), fetched_file("b", b"B", number=2)).manifest
    gone = merged(first, deleted_upstream={f"{STUDY}/a"}, remove_deleted_upstream=True)
    assert [record.key for record in gone.manifest.files] == [f"{STUDY}/b"]
    assert [record.key for record in gone.manifest.removed] == [f"{STUDY}/a"]
    assert (gone.changes.deleted_upstream, gone.changes.deleted_upstream_bytes) == (1, 1)


def test_a_file_that_comes_back_is_present_again() -> None:
    """The mark goes, with the same content or with other."""
    first = merged(None, fetched_file("a", b"A")).manifest
    gone = merged(first, deleted_upstream={f"{STUDY}/a"}).manifest
    same, other = merged(gone, fetched_file("a", b"A")), merged(gone, fetched_file("a", b"B"))
    assert [record.present for result in (same, other) for record in result.manifest.files] == [True, True]
    assert same.manifest.files == (replace(first.files[0], times_deleted_upstream=1),)
    assert [result.manifest.files[0].times_deleted_upstream for result in (same, other)] == [1, 1]
    assert other.manifest.files[0].restatements == 1


def test_a_file_that_comes_back_goes_on_with_its_history() -> None:
    """Removed in between or taken out as damaged: first sight and counts are as before, under a name that is free."""
    first = merged(None, fetched_file("a", b"A")).manifest
    restated = merged(first, fetched_file("a", b"AA"), now=LATER).manifest
    for facts, times in (
        ({"deleted_upstream": {f"{STUDY}/a"}, "remove_deleted_upstream": True}, 1),
        ({"damaged": {f"{STUDY}/a"}}, 0),
    ):
        gone = merged(restated, fetched_file("b", b"B", number=2), now=LATER + HOUR, **facts).manifest
        assert [record.key for record in gone.files] == [f"{STUDY}/b"]
        back = merged(gone, fetched_file("a", b"AAA"), now=LATER + DAY)
        record = back.manifest.by_key()[f"{STUDY}/a"]
        assert (record.first_seen, record.restatements, record.times_deleted_upstream) == (NOW.isoformat(), 2, times)
        assert record.previous is not None
        assert record.previous.sha256 == restated.files[0].sha256
        assert (len(keys_by_name(back.manifest)), back.manifest.removed) == (2, ())


def test_when_a_file_was_last_seen_is_known_of_each() -> None:
    """A commit that looked and found it; not one that could not fetch it, did not ask for it, or missed it."""
    failure = FetchFailure(
        start=START.isoformat(), end=(START + DAY).isoformat(), streams=("survey_answers",), error="E"
    )
    key = f"{STUDY}/a"
    first = merged(None, fetched_file("a", b"A")).manifest
    assert first.last_seen(first.files[0]) == NOW.isoformat()
    looked = merged(first, now=LATER).manifest
    assert looked.last_seen(looked.files[0]) == LATER.isoformat()
    for facts in ({"failures": (failure,)}, {"streams": ("gps",)}, {"not_sent": {key}}, {"deleted_upstream": {key}}):
        missed = merged(looked, now=LATER + HOUR, **facts).manifest
        again = merged(missed, now=LATER + 2 * HOUR, **facts).manifest
        assert again.last_seen(again.files[0]) == LATER.isoformat()
    removed = merged(looked, deleted_upstream={key}, remove_deleted_upstream=True, now=LATER + HOUR).manifest
    assert removed.last_seen(removed.removed[0]) == LATER.isoformat()
    found = merged(missed, fetched_file("a", b"A"), now=LATER + DAY).manifest
    assert found.last_seen(found.files[0]) == (LATER + DAY).isoformat()


class OtherCipher(CrypteaseCipher):
    """Encrypts under the same ending, but in another way."""

    name = "other"


def test_another_form_is_another_file() -> None:
    """After the study's compression or cipher was changed, the same content is stored anew, and is no restatement."""
    ciphers = (None, LOCKED.cipher, OtherCipher("x"))
    forms = [FileForm(cipher=cipher, compression=form) for cipher in ciphers for form in ("zstd", "none")]
    for before in forms:
        first = merged(None, fetched_file("a", b"A", form=before)).manifest
        for after in forms:
            result = merged(first, fetched_file("a", b"A", form=after))
            (record,) = result.manifest.files
            assert (record.encryption, record.compression) == (after.encryption, after.compression)
            assert (record.member, record.restatements) == (first.files[0].member, 0)
            assert len(result.discards) == (before == after)


def test_failures_leave_a_window_incomplete() -> None:
    """A commit with failures is not complete; the next one without is."""
    failures = (FetchFailure(start="s", end="e", streams=("gps",), error="ArchiveError"),)
    first = merged(None, fetched_file("a", b"A"), failures=failures).manifest
    assert not first.complete
    assert merged(first, fetched_file("b", b"B")).manifest.complete


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[dict[str, bytes], set[str]]]:
    """Commits: what arrives, and what has deleted."""
    keys = st.sampled_from("abcde")
    step = st.tuples(st.dictionaries(keys, st.binary(min_size=1, max_size=2), max_size=4), st.sets(keys, max_size=2))
    return draw(st.lists(step, max_size=6))


@given(history=histories(), remove=st.booleans())
def test_any_history_gives_what_came_last(history: list[tuple[dict[str, bytes], set[str]]], remove: bool) -> None:
    """After any commits: the newest content of each key, names that never change or collide, counts that add up."""
    manifest: Manifest | None = None
    expected: dict[str, bytes] = {}
    names: dict[str, str] = {}
    for number, (arriving, missing) in enumerate(history):
        deleted = missing - arriving.keys()
        before = manifest.by_key() if manifest else {}
        facts = CommitRequest(
            **{
                **vars(commit_request()),
                "deleted_upstream": {f"{STUDY}/{key}" for key in deleted},
                "remove_deleted_upstream": remove,
            }
        )
        shuffled = enumerate(sorted(arriving, key=lambda key: hash((number, key))), start=1)
        result = merge(manifest, [fetched_file(key, arriving[key], number=place) for place, key in shuffled], facts)
        manifest = result.manifest
        expected |= arriving
        for key in deleted if remove else ():
            expected.pop(key, None)
        records = manifest.by_key()
        assert {key.rpartition("/")[2]: record.sha256 for key, record in records.items()} == {
            key: hashlib.sha256(content).hexdigest() for key, content in expected.items()
        }
        for key in expected:
            assert names.setdefault(key, records[f"{STUDY}/{key}"].member) == records[f"{STUDY}/{key}"].member
        assert len(set(names.values())) == len(names)
        changes = result.changes
        assert changes.added == len(records.keys() - before.keys())
        placed = {record.path for record in manifest.files}
        assert len(placed - {record.path for record in before.values()}) + len(result.discards) == len(arriving)
        present = sum(record.present for record in manifest.files)
        assert changes.added + changes.changed + changes.unchanged == present
