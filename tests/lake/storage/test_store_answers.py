"""Answers of a store that are lost, late, partial, or a refusal: what the lake makes of them."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import replace
from enum import Enum
from typing import cast

import botocore.exceptions  # type: ignore[import-untyped]
import pytest
from object_helpers import S3, Answer, Call

from dagster_beiwe.cli.check import check_place
from dagster_beiwe.errors import LakeUnavailableError, OutcomeUnknownError
from dagster_beiwe.lake.catalog.batch import Batch, Outcome
from dagster_beiwe.lake.catalog.catalog import Catalog
from dagster_beiwe.lake.catalog.collector import Collector, Retention
from dagster_beiwe.lake.catalog.records import Place
from dagster_beiwe.lake.catalog.terms import TERMS
from dagster_beiwe.lake.catalog.withdrawal import withdraw
from dagster_beiwe.lake.layout import Subject
from dagster_beiwe.lake.storage.object_errors import advice, is_of_the_store
from dagster_beiwe.lake.storage.object_store import PART_BYTES, ObjectStorage

STUDY = "AnswersAnswersAnswersAns"
ANN = Subject("ann1person")
CHEAP = replace(TERMS, log2_n=10)
CREDENTIALS = "Check the store's credentials"
NETWORK = "Check the network"
BUSY = "overloaded"
_AZURE = Enum("StorageErrorCode", {"MISSING": "ContainerNotFound"})  # type: ignore[misc]


def commit(catalog: Catalog, window: str = "w", data: bytes = b"[]") -> dict[Place, Outcome]:
    """One window, with a file of its own. Returns what does not count."""
    with Batch(catalog, run_id="r", subjects=[ANN]) as batch:
        home = catalog.layout.home(ANN)
        path, storage = f"{home.folder}/gps/{window}.csv", cast("ObjectStorage", catalog.store)
        with storage.create(path, otherwise=batch.own_name(path, "")) as file:
            file.write(data)
        outcomes = batch.commit([batch.change(ANN, window, data, files=[file.path])])
        return {place: outcome for place, outcome in outcomes.items() if outcome.refused}


def lost_once(method: str, pattern: str) -> Callable[[Call], Answer]:
    """The first such request is carried out, and its answer does not arrive."""
    left = [True]

    def meddle(call: Call) -> Answer:
        answer = call.pass_on()
        if left and call.method == method and re.search(pattern, call.path):
            left.clear()
            call.lose_answer()
        return answer

    return meddle


@pytest.mark.parametrize(
    ("method", "pattern"),
    [
        ("PUT", "/log/000000/000$"),
        ("PUT", "/log/000000/001$"),
        ("PUT", r"/\.beiwe/token-"),
        ("PUT", "/runs/"),
        ("PUT", r"\.json\.zst$"),
        ("PUT", r"w\.csv$"),
        ("DELETE", "/runs/"),
    ],
    ids=["record 0", "record", "token", "marker", "manifest", "data file", "removal"],
)
def test_an_answer_that_is_lost_once_changes_nothing(url: str, s3: S3, method: str, pattern: str) -> None:
    """The client asks again, and the store says that its own object is in the way."""
    s3.meddle = lost_once(method, pattern)
    catalog = Catalog.create(ObjectStorage(url), STUDY, "x", terms=CHEAP)
    assert commit(catalog) == {}
    s3.meddle = None
    assert sum(m == method and bool(re.search(pattern, path)) for m, path in s3.requests) > 1
    fresh = Catalog.open(ObjectStorage(url), STUDY, "x", terms=CHEAP)
    assert fresh is not None
    assert fresh.state.number == 1
    fresh.check()


def test_a_large_upload_whose_last_answer_is_lost_is_there(url: str, s3: S3) -> None:
    """Asked again, a store may know no such upload any more."""
    completed = list[Answer]()

    def meddle(call: Call) -> Answer:
        if call.method != "POST" or "uploadId=" not in call.path:
            return call.pass_on()
        if completed:
            return call.refuse("404 Not Found", "NoSuchUpload")
        completed.append(call.pass_on())
        return call.lose_answer()

    s3.meddle = meddle
    storage, data = ObjectStorage(url), os.urandom(PART_BYTES + 1)
    with storage.create("a/file", otherwise="a/file~1-aaaa") as file:
        file.write(data)
    assert storage.read(file.path) == data
    assert s3.unfinished_uploads(url) == []


@pytest.mark.parametrize("before", [True, False], ids=["before another's", "after another's"])
def test_a_request_that_arrives_late_replaces_nothing(url: str, s3: S3, before: bool) -> None:
    """The record of a run that was told of a failure comes when another run is at work."""
    late: list[Call] = []

    def keep(call: Call) -> Answer:
        if call.method == "PUT" and call.path.endswith("/log/000000/001"):
            late.append(call)
            return call.refuse("500 Internal Server Error", "InternalError")
        return call.pass_on()

    stopped = Catalog.create(ObjectStorage(url), STUDY, "x", terms=CHEAP)
    s3.meddle = keep
    with pytest.raises(OutcomeUnknownError):
        commit(stopped, "first")
    s3.meddle = None
    if before:
        assert late[0].pass_on().status.startswith("200")
    other = Catalog.create(ObjectStorage(url), STUDY, "x", terms=CHEAP)
    assert commit(other, "second") == {}
    records = [other.store.read(other.layout.record(number)) for number in range(1, 2 + before)]
    for call in late:
        assert call.pass_on().status.startswith("412")
    assert [other.store.read(other.layout.record(number)) for number in range(1, 2 + before)] == records
    windows = Catalog.create(ObjectStorage(url), STUDY, "x", terms=CHEAP).refresh().section("")
    assert sum(len(windows.windows(token)) for token in windows) == len(records)


def test_whatever_is_written_is_written_on_condition(url: str, s3: S3) -> None:
    """So no request, however late, lays anything over what is there."""
    puts: list[tuple[str, str | None]] = []

    def watch(call: Call) -> Answer:
        if call.method == "PUT":
            puts.append((call.path, call.environ.get("HTTP_IF_NONE_MATCH")))
        return call.pass_on()

    s3.meddle = watch
    catalog = Catalog.create(ObjectStorage(url), STUDY, "x", terms=replace(CHEAP, checkpoint_every=2))
    for _ in range(3):
        commit(catalog)
    retention = Retention(keep_days=0, spare_seconds=-60)
    Collector(catalog, lambda *_: (), retention=retention, run_id="c").collect([ANN])
    withdraw(catalog, [ANN], run_id="p")
    assert len(puts) > 15
    assert [path for path, condition in puts if condition != "*"] == []


def test_a_store_without_conditional_writes_is_refused_by_name(url: str, s3: S3) -> None:
    """By `check`, and before a run fetches anything: there, two runs could overwrite each other's commits."""

    def forget_condition(call: Call) -> Answer:
        call.environ.pop("HTTP_IF_NONE_MATCH", None)
        return call.pass_on()

    storage = ObjectStorage(url)
    Catalog.create(storage, STUDY, "x", terms=CHEAP)
    s3.meddle = forget_condition
    catalog = Catalog.create(storage, STUDY, "x", terms=CHEAP)
    with pytest.raises(LakeUnavailableError, match=rf"{url} replaced a file .*`If-None-Match`"):
        catalog.prepare()
    with pytest.raises(LakeUnavailableError, match="Nothing was committed"):
        commit(catalog)
    with pytest.raises(LakeUnavailableError, match="replaced a file"):
        check_place(storage)
    assert storage.list(catalog.layout.record_folder(0)) == ["000"]
    assert storage.list("") == [STUDY]


def test_a_conflict_of_conditional_writes_is_tried_again(url: str, s3: S3) -> None:
    """S3 answers 409 while another request for the same name is on its way."""
    codes = ["ConditionalRequestConflict", "ConditionalRequestConflict"]
    s3.meddle = lambda call: call.refuse("409 Conflict", codes.pop()) if codes else call.pass_on()
    storage = ObjectStorage(url)
    storage.create_new("study/file", b"1")
    assert storage.read("study/file") == b"1"
    codes.append("ConditionalRequestConflict")
    with pytest.raises(FileExistsError):
        storage.create_new("study/file", b"2")


def refused_keys(pattern: str, *, alone: bool) -> Callable[[Call], Answer]:
    """A removal that says 200, and that these keys were not removed; asked for ``alone``, they are not either."""

    def meddle(call: Call) -> Answer:
        if call.method == "DELETE" and alone and re.search(pattern, call.path):
            return call.refuse("403 Forbidden", "AccessDenied")
        if call.method != "POST" or "delete" not in call.path:
            return call.pass_on()
        keys = re.findall(rf"<Object><Key>([^<]*{pattern}[^<]*)</Key></Object>", call.body.decode())
        body = call.body
        for key in keys:
            body = body.replace(f"<Object><Key>{key}</Key></Object>".encode(), b"")
        call.environ.pop("HTTP_CONTENT_MD5", None)
        status, headers, answer = call.pass_on(body)
        errors = "".join(f"<Error><Key>{key}</Key><Code>InternalError</Code></Error>" for key in keys)
        answer = re.sub(rb"<(\w+)([^<]*)/>\s*$", rb"<\1\2></\1>", answer).replace(
            b"</DeleteResult>", errors.encode() + b"</DeleteResult>"
        )
        return Answer(status, [each for each in headers if each[0].lower() != "content-length"], answer)

    return meddle


PATHS = [f"a/file {number}" for number in range(5)]


def filled(url: str) -> ObjectStorage:
    storage = ObjectStorage(url)
    for path in PATHS:
        storage.create_new(path, b"x")
    return storage


def test_keys_that_a_removal_leaves_are_removed_singly(url: str, s3: S3) -> None:
    """An answer of 200 may hold errors."""
    storage = filled(url)
    s3.requests.clear()
    s3.meddle = refused_keys("file [13]", alone=False)
    storage.delete_all([*PATHS, "a/none"])
    assert storage.list("a") == []
    assert [method for method, _ in s3.requests] == ["POST", "DELETE", "DELETE", "GET"]


def test_keys_that_can_not_be_removed_are_told(url: str, s3: S3) -> None:
    """The others are removed."""
    storage = filled(url)
    s3.meddle = refused_keys("file(?: |%20)[13]", alone=True)
    with pytest.raises(LakeUnavailableError, match=rf"a/file [13].*{CREDENTIALS}"):
        storage.delete_all(PATHS)
    assert storage.list("a") == ["file 1", "file 3"]


def test_a_store_that_removes_one_at_a_time_is_served(url: str, s3: S3) -> None:
    """Some have no request for many."""
    storage = filled(url)
    s3.meddle = lambda call: call.refuse("501", "NotImplemented") if call.method == "POST" else call.pass_on()
    storage.delete_all(PATHS)
    assert storage.list("a") == []


def test_markers_of_folders_are_no_files_and_go_with_the_person(url: str, s3: S3) -> None:
    """Consoles make an empty object for a folder; its name holds the participant's id."""
    catalog = Catalog.create(ObjectStorage(url), STUDY, "x", terms=CHEAP)
    commit(catalog)
    table = Subject(f"{ANN.name}|2026-03-02", "lab/daily")
    with Batch(catalog, run_id="r", subjects=[table]) as batch:
        batch.commit([batch.change(table, "", b"[]")])
    bucket, _, root = url.removeprefix("s3://").partition("/")
    before = sorted(file.path for file in catalog.store.scan(""))
    person, log = f"{STUDY}/{ANN.name}", catalog.layout.log
    tables = catalog.layout.home(table).folder
    for folder in (STUDY, person, f"{person}/gps", f"{person}/empty", tables, f"{log}/000000"):
        s3.administrator.put_object(Bucket=bucket, Key=f"{root}/{folder}/", Body=b"")
    assert sorted(file.path for file in catalog.store.scan("")) == before
    assert catalog.store.list(person) == [".beiwe", "empty", "gps"]
    assert catalog.store.list(f"{person}/empty") == []
    assert commit(catalog, "v") == {}
    withdraw(catalog, [ANN, table], run_id="p")
    left = [each["Key"] for each in s3.administrator.list_objects_v2(Bucket=bucket)["Contents"]]
    assert [key for key in left if str(ANN.name) in key] == []
    assert f"{root}/{log}/000000/" in left


def test_a_listing_is_read_a_page_at_a_time(url: str, s3: S3) -> None:
    """So a folder of millions needs no memory; here a page has two names."""
    storage = filled(url)

    def small_pages(call: Call) -> Answer:
        if "list-type=2" in call.path:
            call.environ["QUERY_STRING"] += "&max-keys=2"
        return call.pass_on()

    s3.meddle = small_pages
    s3.requests.clear()
    listing = storage.scan("a")
    assert next(listing).path == PATHS[0]
    assert len(s3.requests) == 1
    assert [file.path for file in listing] == PATHS[1:]
    assert storage.list("a") == [path.removeprefix("a/") for path in PATHS]
    assert len(s3.requests) == 6


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        ("403 Forbidden", "AccessDenied", CREDENTIALS),
        ("403 Forbidden", "InvalidAccessKeyId", CREDENTIALS),
        ("403 Forbidden", "SignatureDoesNotMatch", CREDENTIALS),
        ("400 Bad Request", "ExpiredToken", CREDENTIALS),
        ("400 Bad Request", "InvalidToken", CREDENTIALS),
        ("400 Bad Request", "TokenRefreshRequired", CREDENTIALS),
        ("503 Service Unavailable", "ServiceUnavailable", BUSY),
        ("507 Insufficient Storage", "XMinioStorageFull", "Free space"),
    ],
)
def test_a_refusal_is_called_what_it_is(url: str, s3: S3, status: str, code: str, words: str) -> None:
    """Also that of a HEAD request, which is a bare number. What the store wrote beside it is not repeated."""
    storage = ObjectStorage(url)
    s3.meddle = lambda call: call.refuse(status, code)
    attempts: list[Callable[[], object]] = [
        lambda: storage.create_new("a/file", b"x"),
        lambda: storage.delete("a/file"),
        lambda: storage.delete_all(PATHS),
        lambda: storage.exists("a/file"),
        lambda: storage.read("a/file"),
        lambda: storage.open("a/file"),
        lambda: storage.list("a"),
        lambda: list(storage.scan("a")),
    ]
    for attempt in attempts:
        with pytest.raises(LakeUnavailableError, match=words) as caught:
            attempt()
        assert "geheim" not in str(caught.value)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (botocore.exceptions.NoCredentialsError(), CREDENTIALS),
        (botocore.exceptions.PartialCredentialsError(provider="env", cred_var="x"), CREDENTIALS),
        (botocore.exceptions.CredentialRetrievalError(provider="x", error_msg="x"), CREDENTIALS),
        (botocore.exceptions.TokenRetrievalError(provider="sso", error_msg="x"), CREDENTIALS),
        (botocore.exceptions.UnauthorizedSSOTokenError(), CREDENTIALS),
        (botocore.exceptions.SSOTokenLoadError(error_msg="x"), CREDENTIALS),
        (botocore.exceptions.MetadataRetrievalError(error_msg="x"), CREDENTIALS),
        (botocore.exceptions.RefreshWithMFAUnsupportedError(), CREDENTIALS),
        (botocore.exceptions.ProfileNotFound(profile="x"), CREDENTIALS),
        (PermissionError("Forbidden"), CREDENTIALS),
        (OSError("Forbidden: bucket/file"), CREDENTIALS),
        (botocore.exceptions.NoRegionError(), "region"),
        (botocore.exceptions.EndpointConnectionError(endpoint_url="x"), NETWORK),
        (botocore.exceptions.ConnectTimeoutError(endpoint_url="x"), NETWORK),
        (botocore.exceptions.ReadTimeoutError(endpoint_url="x"), NETWORK),
        (botocore.exceptions.SSLError(endpoint_url="x", error="x"), NETWORK),
        (TimeoutError(), NETWORK),
        (OSError(5, "x"), NETWORK),
        (type("HttpResponseError", (Exception,), {"status_code": 429})(), BUSY),
        (type("HttpError", (Exception,), {"code": 401})(), CREDENTIALS),
        (type("ResourceNotFoundError", (Exception,), {"error_code": _AZURE.MISSING})(), "Create the bucket"),
        (botocore.exceptions.ClientError({"Error": {"Code": "RequestTimeTooSkewed"}}, "PutObject"), "clock"),
        (botocore.exceptions.ClientError({"Error": {"Code": "SlowDown"}}, "PutObject"), BUSY),
        (botocore.exceptions.ClientError({"Error": {"Code": "AuthorizationHeaderMalformed"}}, "PutObject"), "region"),
    ],
    ids=lambda given: given if isinstance(given, str) else type(given).__name__,
)
def test_failures_of_every_client_have_their_advice(error: Exception, words: str) -> None:
    """Credentials, the network, too many requests, the clock and the region are told apart."""
    assert words in advice(error)


@pytest.mark.parametrize(
    ("module", "of_the_store"), [("adlfs.spec", True), ("gcsfs.retry", True), ("dagster_beiwe.lake.layout", False)]
)
def test_errors_of_pythons_own_kinds_are_the_stores_if_its_client_raised_them(module: str, of_the_store: bool) -> None:
    """adlfs says RuntimeError of an upload that fails, and gcsfs ValueError of a request that the store refuses."""
    for kind in (RuntimeError, ValueError):
        with pytest.raises(kind) as caught:
            exec(f"raise {kind.__name__}", {"__name__": module})
        assert is_of_the_store(caught.value) == of_the_store
