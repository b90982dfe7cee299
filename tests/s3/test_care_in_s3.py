"""Looking after a lake in S3: what `verify` asks for, what it repairs, and when a withdrawal is certain."""

from __future__ import annotations

from collections import Counter
from functools import partial

import numpy as np
import pandas as pd
import pytest
from object_helpers import PEOPLE, S3, STUDY, Answer, Call, contents, study_lake, sync, truth

from dagster_beiwe.errors import IntegrityError
from dagster_beiwe.lake import LakeWriter, collecting
from dagster_beiwe.lake.catalog.collector import Retention
from dagster_beiwe.maintenance.purge import purge_participant
from dagster_beiwe.maintenance.repair import repair_study
from dagster_beiwe.maintenance.verify import verify_study
from dagster_beiwe.simulator import SimulatedServer, World
from dagster_beiwe.tables.partitions import TablePartitions
from dagster_beiwe.tables.store import TableStore


def test_verify_asks_nothing_file_by_file(url: str, s3: S3, server: SimulatedServer) -> None:
    """Listings tell the sizes: manifests are read, and the share of the files that was asked for."""
    sync(server, lake := study_lake(url))
    s3.requests.clear()
    found = verify_study(lake, share=0)
    assert (found.findings, found.files, found.files_checked) == ([], 22, 0)
    manifests = [path for _, path in s3.requests if path.endswith(".json.zst")]
    assert (len(manifests), found.windows) == (2, 4)  # windows that were committed in one record share a file
    assert found.head
    records = 2 * (found.head.number + 1)  # to open the log, and to replay it
    assert len(s3.requests) - len(manifests) - records <= 10 + 2 * len(PEOPLE)
    assert "HEAD" not in {method for method, _ in s3.requests}
    s3.requests.clear()
    assert verify_study(lake).files_checked == 22
    assert len([path for _, path in s3.requests if "/gps/" in path]) == 22
    assert "HEAD" not in {method for method, _ in s3.requests}


def test_a_column_of_a_table_is_asked_for_in_few_ranges(url: str, s3: S3) -> None:
    """Of each partition its owner, its manifest, the file's end, and the column in each group of rows."""
    store = TableStore.of_study(study_lake(url))
    frame = pd.DataFrame({"day": range(200_000), "latitude": np.random.default_rng(1).normal(47, 1, 200_000)})
    written = store.write_all(["lab", "places"], dict.fromkeys(PEOPLE, frame), run_id="r")
    assert all(each.stored_size_bytes > 1_000_000 for each in written.values())
    lake = study_lake(url)
    assert lake.exists
    s3.requests.clear()
    table = TablePartitions.of(lake, "places", columns=["day"])
    assert table.dataset.to_table().num_rows == 200_000 * len(PEOPLE)
    asked = Counter(path.rpartition(".")[2] for method, path in s3.requests if "~" in path)
    assert (asked["zst"], asked["parquet"]) == (len(PEOPLE) + 1, 3 * len(PEOPLE))
    assert len(s3.requests) - sum(asked.values()) <= 10
    assert {method for method, _ in s3.requests} == {"GET"}


def test_verify_asks_nothing_stranger_by_stranger(url: str, s3: S3, server: SimulatedServer) -> None:
    """Files that nothing accounts for, and markers, are as many as somebody wants them to be."""
    sync(server, lake := study_lake(url), PEOPLE[0])
    places = (".beiwe/log/000000/{}.old", ".beiwe/runs/x{}", f"{PEOPLE[0]}/gps/{{}}", "notes/{}", "p9person/gps/{}")
    counts = []
    for numbers in (range(2), range(2, 12)):
        for path in (place.format(number) for place in places for number in numbers):
            lake.storage.create_new(f"{lake.study_id}/{path}", b"whose?")
        s3.requests.clear()
        assert len(verify_study(study_lake(url)).findings) == len(places) * (numbers.stop)
        counts.append(len([path for _, path in s3.requests if "/runs/" not in path]))
    assert counts[0] == counts[1]


def test_what_a_run_commits_to_a_cut_log_is_refused_where_it_differs(
    url: str, s3: S3, server: SimulatedServer, world: World
) -> None:
    """The lost end of the log may have let another run use a file's first name, which this run did not hear of."""
    person, lake = PEOPLE[0], study_lake(url)
    lost: list[str] = []

    def lose(call: Call) -> Answer:
        if call.method == "PUT" and call.path.endswith(".json.zst") and not lost:
            lost.append(min(file.path for file in lake.storage.scan(lake.folder(person, "gps"))))
            lake.storage.delete(lost[0])
            lake.storage.create_new(lost[0], b"of another run")
        return call.pass_on()

    lake.log.begun()
    s3.meddle = lose
    sync(server, study_lake(url), person)
    (record,) = (each for found in lake.manifests(person) for each in found.files if lost[0].endswith(each.path))
    with pytest.raises(IntegrityError, match="is not what was committed"):
        lake.read(person, record)
    found = verify_study(lake).findings
    assert [(each.kind, each.path) for each in found] == [("file changed", record.path)]
    repair_study(lake, found, run_id="repair")
    sync(server, lake := study_lake(url), person)
    assert contents(lake, person) == truth(world, person)


def test_what_is_damaged_in_a_store_is_taken_out_and_fetched_again(
    any_url: str, server: SimulatedServer, world: World
) -> None:
    """A file and a manifest that were replaced, and files that nothing accounts for."""
    sync(server, lake := study_lake(any_url))
    storage = lake.storage
    files = sorted(file.path for file in storage.scan(lake.folder(PEOPLE[0], "gps")))
    manifests = [file.path for file in storage.scan(lake.folder(PEOPLE[1], ".beiwe")) if file.path.endswith(".zst")]
    for path in (files[0], manifests[0]):
        storage.delete(path)
        storage.create_new(path, b"not this")
    for path in (f"{lake.study_id}/notes.txt", f"{files[1]}.copy"):
        storage.create_new(path, b"whose?")
    found = verify_study(lake).findings
    assert sorted(each.kind for each in found) == [
        "file changed",
        "file unaccounted for",
        "file unaccounted for",
        "manifest changed",
        "manifest changed",
    ]
    repair_study(lake, found, run_id="repair")
    lake = study_lake(any_url)
    assert verify_study(lake).findings == []
    sync(server, lake)
    assert contents(lake) == truth(world)
    assert verify_study(lake).findings == []


@pytest.mark.parametrize("name", ["000000/007/x", "000000/007/", "000009/000/x"])
def test_what_lies_in_the_place_of_a_record_is_taken_out(url: str, s3: S3, server: SimulatedServer, name: str) -> None:
    """An object below it, or a marker of a folder, looks like a record in a listing."""
    sync(server, lake := study_lake(url), PEOPLE[0])
    bucket, _, prefix = url.removeprefix("s3://").partition("/")
    number = lake.state.number + 1
    key = f"{prefix}/{lake.study_id}/.beiwe/log/{name.replace('007', f'{number:03}')}"
    s3.administrator.put_object(Bucket=bucket, Key=key, Body=b"")
    found = verify_study(study_lake(url)).findings
    assert [each.kind for each in found] == ["log damaged"]
    repair_study(study_lake(url), found, run_id="repair")
    lake = study_lake(url)
    assert verify_study(lake).findings == []
    sync(server, lake, PEOPLE[1])


def test_a_collection_asks_nothing_of_runs_that_it_spares(
    url: str, s3: S3, server: SimulatedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What they may have left can't be removed yet; a day later it is."""
    sync(server, study_lake(url))
    with LakeWriter(study_lake(url), run_id="alive", participants=PEOPLE) as alive:
        alive.counts_secret(PEOPLE[0])
        collector, left = study_lake(url), f"{STUDY}/{PEOPLE[0]}/gps/of a dead run~0-01234567.csv"
        collector.storage.create_new(left, b"")
        s3.requests.clear()
        assert collecting.collect(collector.log.begun(), keep_days=30, run_id="collector").number
        assert not [path for _, path in s3.requests if "~" in path or ("list-type" in path and "person" in path)]
        monkeypatch.setattr(collecting, "Retention", partial(Retention, spare_seconds=-60))
        assert collecting.collect(collector.log.begun(), keep_days=30, run_id="collector").files == 1
    assert verify_study(study_lake(url)).findings == []


def test_a_withdrawal_is_certain_when_a_later_collection_has_found_nothing(
    any_url: str, server: SimulatedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that was stopped may continue: what it lays there is removed, and nothing of it can be committed."""
    sync(server, lake := study_lake(any_url))
    late = lake.folder(PEOPLE[0], "gps/2026-03-02 05_00_00+00_00~1-01234567.csv")
    first = purge_participant(lake, PEOPLE[0], run_id="purge")
    assert (first.certain, first.files > 10) == (False, True)
    lake.storage.create_new(late, b"of a run that was stopped")
    assert [each.kind for each in verify_study(lake).findings] == ["file unaccounted for"]
    monkeypatch.setattr(collecting, "Retention", partial(Retention, spare_seconds=-60))  # a day later
    second = purge_participant(lake, PEOPLE[0], run_id="purge")
    assert (second.files, second.certain) == (1, True)
    assert not [file.path for file in lake.storage.scan("") if PEOPLE[0] in file.path]
    assert verify_study(study_lake(any_url)).findings == []
