"""Archives of the simulated server: names, orders, windows, registries, compression."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import zipfile
from collections.abc import Callable
from datetime import timedelta

import pytest
import zstandard
from simulator_helpers import ALPHA, BETA, DAY, Client, hour, window

from dagster_beiwe.simulator import ContentPlan, ParticipantPlan, SimulatedServer, StudyPlan, World
from dagster_beiwe.simulator.plans import OperatingSystem
from dagster_beiwe.simulator.zipping import Member, zip_stream
from dagster_beiwe.streams import STREAMS, Stream

ONE_DAY = timedelta(days=1)


def sha1(data: bytes) -> str:
    return base64.b64encode(hashlib.sha1(data, usedforsecurity=False).digest()).decode()


def md5(data: bytes) -> str:
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()


def test_archive_is_stored_readable_and_ends_with_its_registry(client: Client) -> None:
    """True headers, no compression, entry n of the registry belongs to member n, hashes are of the content."""
    archive = client.archive()
    members = archive.infolist()
    assert archive.testzip() is None
    assert members[-1].filename == "registry"
    assert {(m.compress_type, m.flag_bits, m.extract_version, m.extra) for m in members} == {(0, 0, 20, b"")}
    registry = json.loads(archive.read("registry"))
    assert len(registry) == len(members) - 1
    for member, (key, value) in zip(members, registry.items(), strict=False):
        stream = member.filename.split("/")[1]
        assert f"/{STREAMS[stream].storage_folder or stream}/" in key
        assert key.startswith("CHUNKED_DATA/") == STREAMS[stream].chunked
        assert value == (md5(archive.read(member)) if STREAMS[stream].chunked else "")


def test_download_is_chunked_without_a_length(client: Client) -> None:
    """No Content-Length: only the archive itself tells that it is complete."""
    answer = client.get_data()
    assert answer.headers["Transfer-Encoding"] == "chunked"
    assert "Content-Length" not in answer.headers
    assert answer.headers["Content-Disposition"] == 'inline; filename="data.zip"'


def test_empty_answer_is_a_zip_of_116_bytes(client: Client) -> None:
    """Nothing matches, or ids of another study only: a registry of nothing."""
    for form in ({"time_end": "2020-01-01T00:00:00"}, {"user_ids": '["andr1bbb"]'}, {"user_ids": '["nodt4aaa"]'}):
        answer = client.get_data(**form)
        assert len(answer.content) == 116
        assert zipfile.ZipFile(io.BytesIO(answer.content)).read("registry") == b"{}"


def test_empty_lists_mean_everything(client: Client) -> None:
    """[] is not "none"."""
    everything = set(client.archive().namelist())
    assert set(client.archive(user_ids="[]", data_streams="[]").namelist()) == everything
    assert {name.split("/")[0] for name in everything} == {"andr1aaa", "iphn2aaa", "12345678", "registry"}


def test_both_ends_of_the_window_are_inclusive(client: Client) -> None:
    """A file counts by its bin: an end on the next bin returns that bin too."""
    gps = {"user_ids": '["andr1aaa"]', "data_streams": '["gps"]', "time_start": "2026-10-05T00:00:00"}
    assert len(client.archive(**gps, time_end="2026-10-05T08:00:00").namelist()) == 3
    assert len(client.archive(**gps, time_end="2026-10-05T07:59:59").namelist()) == 2
    gps["time_start"] = "2026-10-05T00:00:01"
    assert len(client.archive(**gps, time_end="2026-10-05T07:59:59").namelist()) == 1


def test_order_differs_between_requests(client: Client) -> None:
    """Members come in no particular order."""
    orders = {tuple(client.archive().namelist()) for _ in range(3)}
    assert len(orders) == 3


def test_web_form_leaves_the_registry_out(client: Client) -> None:
    """As the website's own download page asks."""
    answer = client.get_data(web_form="")
    assert answer.headers["Content-Disposition"].startswith("attachment")
    assert "registry" not in zipfile.ZipFile(io.BytesIO(answer.content)).namelist()


def test_participant_ids_wins_over_user_ids(client: Client) -> None:
    """The newer name is stronger."""
    names = client.archive(user_ids='["iphn2aaa"]', participant_ids='["andr1aaa"]').namelist()
    assert {name.split("/")[0] for name in names} == {"andr1aaa", "registry"}


def test_v2_members_are_zstd_frames_that_declare_their_size(client: Client) -> None:
    """Same registry, same content, each member one frame."""
    gps = {**window(DAY, DAY + ONE_DAY), "user_ids": '["andr1aaa"]'}
    plain, packed = client.archive("v1", **gps), client.archive("v2", **gps)
    assert json.loads(plain.read("registry")) == json.loads(packed.read("registry"))
    for name in packed.namelist()[:-1]:
        frame = packed.read(name)
        content = zstandard.ZstdDecompressor().decompress(frame)
        assert zstandard.frame_content_size(frame) == len(content)
        assert content == plain.read(name.removesuffix(".zst"))


def test_suffixes_of_equal_names_move(world: World, client: Client) -> None:
    """Three answers in one second: the numbers are given anew with each request, the keys stay."""
    files = world.add_answers("iphn2aaa", hour(17), copies=3)
    assert any("-duplicate-" in file.key for file in files)
    seen = set()
    for _ in range(10):
        archive = client.archive(data_streams='["survey_answers"]', **window(hour(17), hour(18)))
        names, keys = archive.namelist()[:-1], list(json.loads(archive.read("registry")))
        assert [name.partition("+00_00")[2] for name in names] == [".csv", "_2.csv", "_3.csv"]
        assert set(keys) == {file.key for file in files}
        seen.add(tuple(keys))
    assert len(seen) > 1


def rows_of(stream: Stream, os: str, data: bytes) -> list[list[str]]:
    text = data.decode()
    assert not text.endswith("\n")
    lines = text.split("\n")
    columns = stream.ios_columns if os == "IOS" and stream.ios_columns else stream.columns
    assert lines[0] == ",".join(columns)
    return [line.split(",") for line in lines[1:]]


@pytest.mark.parametrize("os", ["ANDROID", "IOS"])
def test_files_keep_the_rules_of_chunked_csv(os: OperatingSystem) -> None:
    """Rows inside their hour, sorted, both times equal, header of the right system, text with commas unquoted."""
    plan = StudyPlan(participants=[ParticipantPlan(os=os)], content=ContentPlan(rows=12, audio_bytes=100))
    world = World.build(plan, now=DAY)
    (study,) = world.studies.values()
    streams = set()
    for file in world.files(study.id):
        streams.add(file.stream)
        stream = STREAMS[file.stream]
        if not stream.chunked:
            assert file.read().startswith(",".join(stream.columns).encode())
            continue
        times = []
        for row in rows_of(stream, os, file.read()):
            ms = int(row[0])
            assert file.start_ms <= ms < file.start_ms + 3_600_000
            assert row[1].endswith(f".{ms % 1000:03d}")
            times.append(ms)
        assert times == sorted(times)
    assert streams == {name for name, stream in STREAMS.items() if os.lower() in stream.platforms}


@pytest.mark.parametrize(("stream", "os"), [("app_log", "ANDROID"), ("ios_log", "IOS"), ("survey_answers", "IOS")])
def test_some_rows_are_ragged(stream: str, os: OperatingSystem) -> None:
    """A comma inside a text makes a row longer than the header, as on a real server."""
    plan = StudyPlan(participants=[ParticipantPlan(os=os)], streams=[stream])
    world = World.build(plan, now=DAY)
    (study,) = world.studies.values()
    widths = {
        len(row)
        for file in world.files(study.id)
        for row in csv.reader(io.StringIO(file.read().decode()), quoting=csv.QUOTE_NONE)
    }
    assert len(widths) > 1


def test_identifiers_have_one_row_of_their_participant(world: World) -> None:
    """One row per registration, in the file of its hour."""
    (file,) = world.files(ALPHA, participants=["andr1aaa"], streams=["identifiers"])
    (row,) = rows_of(STREAMS["identifiers"], "ANDROID", file.read())
    assert row[2] == "andr1aaa"


def test_wrong_clocks_leave_files_outside_every_window() -> None:
    """1969, 1970 and next year, with rows inside their hours."""
    world = World.build(StudyPlan(participants=[ParticipantPlan(wrong_clock=True)]), now=DAY)
    (study,) = world.studies.values()
    files = [file for file in world.files(study.id) if file.bin.year != 2026]
    assert [file.bin.year for file in files] == [1969, 1970, 2027]
    for file in files:
        times = [int(row[0]) for row in rows_of(STREAMS["power_state"], "ANDROID", file.read())]
        assert times == sorted(times)
        assert file.start_ms <= times[0] <= times[-1] < file.start_ms + 3_600_000


def test_large_files_are_stamped_correctly_and_differ() -> None:
    """The fast way to make many rows keeps the rules of the slow one, late rows included."""
    content = ContentPlan(rows_by_stream={"accelerometer": 5000})
    plan = StudyPlan(participants=2, streams=["accelerometer"], hours=(3, 4), content=content)
    world = World.build(plan, now=DAY)
    (study,) = world.studies.values()
    files = world.files(study.id)
    sizes = [file.size_bytes for file in files]
    assert sizes == [len(file.read()) for file in files]
    assert len({file.md5 for file in files}) == len(files)
    late = world.add_rows(files[0].participant_id, "accelerometer", files[0].bin, rows=7)
    assert late.size_bytes == len(late.read())
    for file, count in ((files[0], 5000), (late, 5007)):
        times = [int(row[0]) for row in rows_of(STREAMS["accelerometer"], "ANDROID", file.read())]
        assert len(times) == count
        assert times == sorted(times)
        assert file.start_ms <= times[0] <= times[-1] < file.start_ms + 3_600_000


def test_shared_content_is_equal_for_all_participants() -> None:
    """What lets a benchmark serve gigabytes from a small cache."""
    content = ContentPlan(shared=True, rows=500)
    plan = StudyPlan(participants=["aaa1", "aaa2", "aaa3"], streams=["gps"], hours=(3,), content=content)
    world = World.build(plan, now=DAY, seed=4)
    (study,) = world.studies.values()
    files = [file for file in world.files(study.id, participants=["aaa1", "aaa3"]) if file.bin.day == 4]
    assert len(files) == 2
    assert files[0].read() is files[1].read()


def test_long_recordings_are_served_in_both_versions(ask: Callable[[SimulatedServer], Client]) -> None:
    """A recording beyond one zstd window arrives whole, and is one valid frame in v2."""
    content = ContentPlan(audio_bytes=5_000_000)
    plan = StudyPlan(id=ALPHA, participants=1, streams=["ambient_audio"], hours=(3,), content=content)
    world = World.build(plan, now=DAY)
    (file,) = world.files(ALPHA)
    with SimulatedServer(world) as server:
        plain = ask(server).archive("v1")
        packed = ask(server).archive("v2")
    content_v1 = plain.read(plain.namelist()[0])
    content_v2 = zstandard.ZstdDecompressor().decompress(packed.read(packed.namelist()[0]))
    assert len(content_v1) == 5_000_000
    assert content_v1 == content_v2 == file.read()
    assert file.sha1 == sha1(content_v1)
    assert packed.namelist()[0].endswith(".mp4.zst")


def test_zip64_is_used_beyond_two_gibibytes() -> None:
    """Headers of a large member carry zip64 numbers that zipfile agrees with."""
    size = (1 << 31) + 5
    member = Member(name="a/big.mp4", size_bytes=size, crc32=1, chunks=lambda: ())
    small = Member(name="registry", size_bytes=2, crc32=2745614147, chunks=lambda: (b"{}",))
    chunks = list(zip_stream([member, small], now=DAY))
    directory = b"".join(chunks)
    with zipfile.ZipFile(io.BytesIO(directory)) as archive:
        assert archive.getinfo("a/big.mp4").file_size == size
        assert archive.getinfo("registry").file_size == 2


CHUNKED = '["accelerometer", "gps"]'
OLD_RULES = ["2023-11", "2025-06"]


def changed_after_listing(world: World, client: Client) -> tuple[dict[str, str | None], str]:
    """The registry of a first answer, and the key of a file that changed since."""
    registry = client.registry(data_streams=CHUNKED)
    return registry, world.add_rows("andr1aaa", "gps", hour(8)).key


def test_registry_sent_back_as_it_is_hides_the_changed_file(world: World, client: Client) -> None:
    """The trap of current servers: a full path with any value is skipped."""
    registry, _ = changed_after_listing(world, client)
    assert client.registry(data_streams=CHUNKED, registry=json.dumps(registry)) == {}
    anything = json.dumps(dict.fromkeys(registry, "x"))
    assert client.registry(data_streams=CHUNKED, registry=anything) == {}
    nothing = json.dumps(dict.fromkeys(registry, " "))
    assert len(client.registry(data_streams=CHUNKED, registry=nothing)) == len(registry)


@pytest.mark.parametrize("kind", ["md5", "sha1"])
def test_short_keys_find_exactly_the_changed_file(world: World, client: Client, kind: str) -> None:
    """Keys without the prefix are compared with the hash; the answer then holds SHA-1."""
    hashes = {file.key.removeprefix("CHUNKED_DATA/"): getattr(file, kind) for file in world.files(ALPHA)}
    _, changed = changed_after_listing(world, client)
    answer = client.archive(data_streams=CHUNKED, registry=json.dumps(hashes))
    registry = json.loads(answer.read("registry"))
    assert registry == {changed: sha1(answer.read(answer.namelist()[0]))}


def test_unchunked_files_have_no_hash_until_a_registry_is_sent(client: Client) -> None:
    """Empty at first, which makes them come again; then SHA-1, or any word, keeps them away."""
    answers = {"data_streams": '["survey_answers"]'}
    first = client.registry(**answers)
    assert set(first.values()) == {""}
    again = client.registry(**answers, registry=json.dumps(first))
    assert {len(value or "") for value in again.values()} == {28}
    assert client.registry(**answers, registry=json.dumps(dict.fromkeys(first, "have it"))) == {}


def test_audio_recordings_are_known_by_hash_alone(world: World, client: Client) -> None:
    """Under any key; ambient audio is not."""
    streams = ["audio_recordings", "ambient_audio"]
    files = world.files(ALPHA, streams=streams)
    hashes = json.dumps({f"anything{n}": file.sha1 for n, file in enumerate(files)})
    sent = client.registry(data_streams=json.dumps(streams), registry=hashes)
    assert sent
    assert all("/ambientAudio/" in key for key in sent)


def test_files_without_a_known_sha1_show_their_md5(world: World, client: Client) -> None:
    """Data untouched since before the table of SHA-1 hashes."""
    world.forget_sha1("12345678")
    sent = client.registry(user_ids='["12345678"]', registry='{"other": "x"}')
    assert {len(value) if value else value for value in sent.values()} == {24, None}


def test_kolkata_files_are_in_utc_names(client: Client) -> None:
    """No time zone is involved in downloads."""
    names = client.archive(study_id=BETA, data_streams='["gps"]').namelist()
    assert all("+00_00" in name for name in names[:-1])
