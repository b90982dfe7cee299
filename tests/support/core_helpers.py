"""What the tests of lake and sync share: archives, files, a small study, and how a lake is compared with a server."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from zoneinfo import ZoneInfo

from dagster_beiwe.client import BeiweClient, HttpPolicy
from dagster_beiwe.credentials import Credentials
from dagster_beiwe.lake import BeiweLake, CommitRequest, FetchedFile, LakeWriter, Manifest, StudyLake
from dagster_beiwe.lake.layout import Subject
from dagster_beiwe.lake.writer import Submitted
from dagster_beiwe.maintenance.verify import verify_study
from dagster_beiwe.member_names import parse_member_name, short_key
from dagster_beiwe.simulator import ContentPlan, ParticipantPlan, SimulatedServer, StudyPlan, World
from dagster_beiwe.sync import Cell, DailyIndex, StudySync, WindowReport
from dagster_beiwe.windows import Granularity, Window, windows_between

STUDY = "CoreCoreCoreCoreCoreCore"
PERSON = "p1person"
PASSPHRASE = "correct horse battery staple"
NOW = datetime(2026, 3, 9, tzinfo=timezone.utc)
START = NOW - timedelta(days=14)  # a Monday, as NOW is
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
STREAMS = ("accelerometer", "audio_recordings", "gps", "power_state", "survey_answers", "survey_timings")


# Archives


def zip_of(members: Iterable[tuple[str, bytes]]) -> bytes:
    """An archive as the server writes them: stored members with sizes in front, ``registry`` last."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name, data in members:
            archive.writestr(zipfile.ZipInfo(name), data)
    return out.getvalue()


def chunked(data: bytes, size: int) -> Iterator[bytes]:
    """``data`` in chunks of ``size`` bytes."""
    return (data[start : start + size] for start in range(0, len(data), size))


# A lake by hand


def week() -> Window:
    return Window(START, START + 7 * DAY)


def commit_request(window: Window | None = None, **facts: object) -> CommitRequest:
    """A commit of one participant's window."""
    usual: dict[str, object] = {
        "study_id": STUDY,
        "participant": PERSON,
        "window": window or week(),
        "streams": STREAMS,
        "run_id": "run-1",
        "now": NOW,
    }
    return CommitRequest(**{**usual, **facts})  # type: ignore[arg-type]


def stage(
    writer: LakeWriter,
    lake: StudyLake,
    data: bytes,
    *,
    stream: str = "gps",
    hours: int = 1,
    key: str | None = None,
    name: str | None = None,
    participant: str = PERSON,
) -> FetchedFile:
    """A file of the given content, as if it had just been downloaded."""
    moment = START + hours * HOUR
    member = parse_member_name(name or f"{participant}/{stream}/{moment:%Y-%m-%d %H_%M_%S}+00_00.csv")
    staged = writer.stage(member, [data], compressed=False)
    return FetchedFile(
        key=key or f"{STUDY}/{participant}/{stream}/{moment:%Y-%m-%dT%H:%M:%S}.csv",
        member=member,
        staged=staged,
        form=lake.form(member.stream),
    )


def commit(lake: StudyLake, files: dict[int, bytes], *, window: Window | None = None, **facts: object) -> Manifest:
    """Commit gps files by hour, on top of what the window holds."""
    wanted = commit_request(window, **facts)
    with LakeWriter(lake, run_id=wanted.run_id) as writer:
        plan = writer.plan(wanted.participant, [wanted.window])
        fetched_files = [
            stage(writer, lake, data, hours=hours, participant=wanted.participant) for hours, data in files.items()
        ]
        return finished(writer, writer.commit(plan, wanted, fetched_files))


def finished(writer: LakeWriter, commit: Submitted) -> Manifest:
    """The manifest of a commit that counts. Raises ``CommitConflictError`` if it does not."""
    writer.flush()
    commit.record()
    return commit.manifest


# A small study on a simulated server


def small_world(*, people: Sequence[ParticipantPlan] | None = None, **plan: object) -> World:
    """Two weeks of one participant: a few hours a day of streams of every kind."""
    usual: dict[str, object] = {
        "name": "Core",
        "id": STUDY,
        "start": START,
        "hours": (5, 18),
        "streams": STREAMS,
        "content": ContentPlan(rows=4, audio_bytes=3000),
        "participants": people or (ParticipantPlan(id=PERSON),),
    }
    return World.build(StudyPlan(**{**usual, **plan}), now=NOW)  # type: ignore[arg-type]


def client_of(server: SimulatedServer, **policy: object) -> BeiweClient:
    """A client that never waits between retries."""
    credentials = Credentials(url=server.url, access_key=server.access_key, secret_key=server.secret_key)
    return BeiweClient(credentials, policy=HttpPolicy(**policy), sleep=lambda seconds: None)  # type: ignore[arg-type]


def cells_of(
    *people: str, granularity: Granularity = "weekly", start: datetime = START, end: datetime = NOW
) -> list[Cell]:
    """Every window of the participants."""
    return [Cell(person, window) for person in people for window in windows_between(granularity, start, end)]


def sync(client: BeiweClient, lake: StudyLake, cells: Iterable[Cell], **options: object) -> list[WindowReport]:
    """One run over the cells."""
    return list(StudySync(client, lake, run_id="run-1", **options).run(cells))  # type: ignore[arg-type]


def daily(client: BeiweClient, zone: str = "America/New_York", *former: str) -> DailyIndex:
    """What the server counts per day now, in a study of this zone that had the ``former`` ones."""
    records = client.summary_statistics(STUDY)
    return DailyIndex.of(ZoneInfo(zone), records, former=map(ZoneInfo, former), uncounted=client.uncounted_streams)


def downloads(server: SimulatedServer) -> int:
    """How many archives were asked for with keys; probes of routes have none and get 400 or 403."""
    return sum(1 for request in server.requests if "get-data/" in request.route and request.form)


# Comparing


def contents(lake: StudyLake, person: str = PERSON) -> dict[str, str]:
    """{key: SHA-256} of all present files, read back and decrypted from the lake."""
    return {
        record.key: hashlib.sha256(lake.read(person, record)).hexdigest()
        for manifest in lake.manifests(person)
        for record in manifest.files
        if record.present
    }


def truth(world: World, person: str = PERSON, *, start: datetime = START, end: datetime = NOW) -> dict[str, str]:
    """{key: SHA-256} of what the server has."""
    found = world.files(STUDY, participants=[person], start=start, end=end)
    return {short_key(file.key): hashlib.sha256(file.read()).hexdigest() for file in found if not file.lost}


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder with its bytes."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def leftovers(folder: Path) -> list[str]:
    """Files that only a running commit may have."""
    found = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    return [name for name in found if name.endswith(".part") or "/.beiwe/runs/" in name]


def unaccounted_in(folder: Path, lake: StudyLake) -> list[str]:
    """Files in participants' folders that no manifest of a version that is kept lists."""
    listed = {
        lake.folder(person, record.path)
        for person in lake.participants()
        for manifest in kept_manifests(lake, person)
        for record in manifest.files
    }
    found = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    return [name for name in found if "/.beiwe/" not in name and name not in listed]


def kept_manifests(lake: StudyLake, person: str) -> Iterator[Manifest]:
    """The manifests of all versions that are kept, also of those that were superseded."""
    catalog = lake.catalog()
    assert catalog is not None
    token = catalog.identities.token(Subject(person), catalog.state)
    for window, versions in catalog.state.section().windows(token or "").items():
        yield from (lake.manifest_of(person, window, version) for version in versions if version.readable)


def too_open(folder: Path) -> list[str]:
    """Files looser than 0600 and folders looser than 0700."""
    return [
        f"{path} {stat.S_IMODE(path.stat().st_mode):o}"
        for path in folder.rglob("*")
        if stat.S_IMODE(path.stat().st_mode) & 0o077
    ]


def check_lake(folder: Path, lake: StudyLake) -> dict[str, str]:
    """The lake is as a finished run leaves it: everything readable, nothing left over, nothing open to others.

    Gives what ``contents`` gives, of all participants.
    """
    fresh = BeiweLake(folder).study(lake.study_id, passphrase=PASSPHRASE)
    held: dict[str, str] = {}
    for person in fresh.participants():
        for manifest in fresh.manifests(person):
            for record in manifest.files:
                digest = hashlib.sha256(fresh.read(person, record)).hexdigest()
                held |= {record.key: digest} if record.present else {}
    assert leftovers(folder) == []
    assert unaccounted_in(folder, fresh) == []
    assert too_open(folder) == []
    assert verify_study(fresh).findings == []
    return held


def as_other_user() -> bool:
    """Whether permissions bind this process: root may write anywhere."""
    return os.geteuid() != 0
