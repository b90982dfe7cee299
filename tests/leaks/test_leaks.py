"""The leak hunt: a lab's day over data with canaries; afterwards nothing of them is anywhere, and planted leaks are."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone
from pathlib import Path

import pytest
from leak_lab import SECTION, STUDIES
from leak_needles import VARIABLE, Needles
from leak_planted import PLACES, TOKENS, UNSHOWN
from leak_search import Leak, search_folder
from leak_watch import Written, search_strace, strace_command, strace_works

from dagster_beiwe.credentials import write_keyring
from dagster_beiwe.simulator import ContentPlan, ParticipantPlan, SimulatedServer, StudyPlan, World

HERE = Path(__file__).parent
NOW = datetime.now(timezone.utc).replace(minute=0, second=0, microsecond=0)
START = NOW.replace(hour=0) - timedelta(days=3)
ROW = "12.34567123401,-98.76541234502"  # the digits stay the same when it is rounded
DATA = {
    "coordinate": ROW,
    "phone number": "+15550100777",
    "text": "the heron waits by the ninth lamp",
    "day of the surgery": "1987-06-05",
}
STREAMS = ("gps", "power_state", "survey_answers", "texts")


def canary_world() -> World:
    """Two studies; the first participant of each has canaries in several streams and tables."""
    plans = [
        StudyPlan(
            name=name,
            start=START,
            hours=(3, 12),
            streams=STREAMS,
            content=ContentPlan(rows=4),
            participants=tuple(ParticipantPlan(id=f"{prefix}{number}person") for number in range(3)),
        )
        for name, prefix in zip(STUDIES, "ab", strict=True)
    ]
    world = World.build(*plans)
    for study in world.studies.values():
        for person in study.participants.values():
            person.fields["cohort"] = DATA["phone number"]
            person.interventions["Surgery"] = date.fromisoformat(DATA["day of the surgery"])
            for file in list(person.files.values()):
                header, *rows = file.read().decode().split("\n")
                world.set_content(
                    person.id, file.stream, file.bin, "\n".join([header, *_canaries(file.stream, rows)]).encode()
                )
    return world


def _canaries(stream: str, rows: list[str]) -> list[str]:
    """The rows with canaries where a phone would have put such things."""
    said: dict[str, Callable[[str], str]] = {
        "gps": lambda row: ",".join([*row.split(",")[:2], ROW, "10.0", "5.0"]),
        "texts": lambda row: ",".join([*row.split(",")[:2], DATA["phone number"], "sent SMS", "12", "0"]),
        "survey_answers": lambda row: f"{row.rpartition(',')[0]},{DATA['text']}",
        "power_state": lambda row: row,
    }
    return [said[stream](row) for row in rows]


@dataclass
class Hunt:
    """What a lab's day left behind, and what was seen of it."""

    folder: Path
    needles: Needles
    on_disk: list[Leak] = field(default_factory=list)
    written: Written | None = None
    guarded: list[Leak] = field(default_factory=list)
    anonymous: list[str] = field(default_factory=list)

    def everywhere(self) -> list[Leak]:
        return [*self.on_disk, *(self.written.leaks if self.written else ()), *self.guarded]

    def text(self, name: str) -> str:
        return (self.folder / "answers" / name).read_text()


def hunt(folder: Path, *, plant: bool) -> Hunt:
    """Run the lab below ``folder`` and look everywhere."""
    watched = folder / "watched"
    for name in ("home", "tmp", "answers", "lake", "user"):
        (watched / name).mkdir(parents=True, mode=0o700)
    (watched / "home" / "dagster.yaml").write_text((HERE / "dagster.yaml").read_text())
    world = canary_world()
    with SimulatedServer(world) as server:
        secrets = _secrets(server)
        frames = {f"compressed {file.stream}": b"".join(file.zstd_chunks()) for file in world.files(_first(world))}
        middles = {name: frame[len(frame) // 2 - 12 : len(frame) // 2 + 12] for name, frame in frames.items()}
        latitude, longitude = ROW.split(",")
        places = {"coordinate": (latitude, longitude), **(PLACES if plant else {})}
        needles = Needles.of({**secrets, **DATA, **(TOKENS if plant else {})}, middles, places)
        _write_keyring(watched / "keyring.enc", server, secrets)
        victim = sorted(world.studies[_first(world)].participants)[1]
        server.misbehave("status", route="/get-data/*", participant=victim, status=500)
        server.misbehave("wrong_crc", participant=sorted(world.studies[_first(world)].participants)[2], stream="gps")
        result = Hunt(watched, needles)
        traced = strace_works(folder)
        command = [sys.executable, str(HERE / "leak_lab.py"), str(watched / "answers"), *(["--plant"] if plant else [])]
        command = [*strace_command(folder / "trace"), *command] if traced else command
        with (watched / "answers" / "output.txt").open("wb") as output:
            done = subprocess.run(
                command, env=_environment(watched, secrets, needles), stdout=output, stderr=output, check=False
            )
    assert done.returncode == 0, (watched / "answers" / "output.txt").read_text()[-3000:]
    report = json.loads((watched / "answers" / "guard.json").read_text())
    result.guarded, result.anonymous = [Leak(*each) for each in report["leaks"]], report["anonymous"]
    result.on_disk = search_folder(watched, needles)
    if traced:
        result.written = search_strace(folder / "trace", needles)
    return result


def _first(world: World) -> str:
    return next(study.id for study in world.studies.values() if study.name == STUDIES[0])


def _secrets(server: SimulatedServer) -> dict[str, str]:
    return {
        "access key": server.access_key,
        "secret key": server.secret_key,
        "password": server.password,
        "passphrase of a study": "canary/of+the study's passphrase",
        "passphrase of the lake": "canary/of+the lake's passphrase",
        "passphrase of the keyring": "canary/of+the keyring's passphrase",
    }


def _write_keyring(path: Path, server: SimulatedServer, secrets: Mapping[str, str]) -> None:
    section = {
        "URL": server.url,
        "USERNAME": server.username,
        "PASSWORD": secrets["password"],
        "ACCESS_KEY": secrets["access key"],
        "SECRET_KEY": secrets["secret key"],
        "SECRETS": {STUDIES[0]: secrets["passphrase of a study"]},
    }
    write_keyring(path, {SECTION: section}, secrets["passphrase of the keyring"])


def _mounted(path: Path, secret: str) -> Path:
    """A file with a secret, where the lab did not write it."""
    path.write_text(f"{secret}\n")
    path.chmod(0o600)
    return path


def _environment(watched: Path, secrets: Mapping[str, str], needles: Needles) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("BEIWE_", "DAGSTER", "PYTEST"))}
    return {
        **kept,
        "PYTHONPATH": str(HERE.parents[1]),
        "PYTHONDONTWRITEBYTECODE": "1",
        "HOME": str(watched / "user"),
        "TMPDIR": str(watched / "tmp"),
        "DAGSTER_HOME": str(watched / "home"),
        "BEIWE_KEYRING_FILE": str(watched / "keyring.enc"),
        "BEIWE_KEYRING_SECTION": SECTION,
        "NRG_KEYRING_PASS_FILE": str(
            _mounted(watched.parent / "keyring passphrase", secrets["passphrase of the keyring"])
        ),
        "BEIWE_LAKE": str(watched / "lake"),
        "BEIWE_LAKE_PASSPHRASE": secrets["passphrase of the lake"],
        "BEIWE_START": START.date().isoformat(),
        "BEIWE_TABLES": "gps,texts",
        VARIABLE: needles.to_variable(),
        "LEAK_ROW": ROW,
    }


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hunt]:
    """A lab's day as it should be."""
    folder = tmp_path_factory.mktemp("clean")
    yield hunt(folder, plant=False)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hunt]:
    """The day of a lab that makes every mistake."""
    folder = tmp_path_factory.mktemp("planted")
    yield hunt(folder, plant=True)
    shutil.rmtree(folder, ignore_errors=True)


def test_the_day_was_a_real_one(clean: Hunt) -> None:
    """Both studies were fetched, some of it failed, all was logged: there was something to leak."""
    graphql = clean.text("graphql.json")
    assert '"SUCCESS"' in graphql
    assert '"FAILURE"' in graphql
    assert "windows are incomplete" in graphql
    assert "ServerFailedError" in graphql
    assert "DEBUG" in graphql
    locked = list((clean.folder / "lake").rglob("*.csv.zst.lock"))
    assert len(locked) > 50
    assert list((clean.folder / "lake").rglob("streams/texts/**/*.parquet"))
    assert list((clean.folder / "home").rglob("*.err"))


def test_nothing_is_on_any_disk(clean: Hunt) -> None:
    """Lake, temporary files, Dagster's home and databases, logs, GraphQL answers, objects as text and pickled."""
    assert clean.on_disk == []


def test_nothing_was_written_even_for_a_moment(clean: Hunt) -> None:
    """Neither plain rows nor the server's compressed ones, in any file that was open for writing."""
    assert clean.guarded == []
    assert clean.anonymous == []
    if clean.written is None:
        pytest.skip("strace is not installed or not allowed; the guard inside the process has looked instead")
    assert clean.written.leaks == []
    assert clean.written.unshown == []
    assert clean.written.files > 100


def test_objects_that_hold_secrets_refuse_to_be_pickled(clean: Hunt) -> None:
    """Credentials, clients, ciphers and lakes; what can be pickled was searched with the rest."""
    refused = clean.text("objects.txt").partition("Not pickled:")[2]
    for name in ("Credentials", "Secret", "BeiweClient", "CrypteaseCipher", "StudyLake"):
        assert f"\n{name}: " in refused


def caught(planted: Hunt, name: str) -> bool:
    """Whether a mistake is among what was found, by something that only it gave away."""
    if name in UNSHOWN:
        unshown = planted.written.unshown if planted.written else []
        return any(each.startswith(UNSHOWN[name]) and name in each for each in unshown)
    return any(leak.canary == name for leak in planted.everywhere()) or bool(name == "anonymous" and planted.anonymous)


@pytest.mark.parametrize("name", [*TOKENS, *PLACES])
def test_a_planted_leak_is_found(planted: Hunt, name: str) -> None:
    """The hunt can fail: each mistake is seen by what it gave away, a text or a place of its own."""
    assert caught(planted, name)


@pytest.mark.parametrize("name", UNSHOWN)
def test_bytes_that_no_write_moved_are_reported(planted: Hunt, name: str) -> None:
    """Mapped into a file or copied there by the kernel: the call itself is the finding."""
    if planted.written is None:
        pytest.skip("strace is not installed or not allowed")
    assert caught(planted, name)


def test_the_document_shows_what_the_report_tells() -> None:
    """The figures are those of the day that stands beside them; the rows are the report's."""
    from leak_report import ROWS
    from measured import rows

    assert rows("leaks") == list(ROWS)


def test_deleted_files_are_seen(planted: Hunt) -> None:
    """A file that is removed at once is seen by the guard, and by strace where it is; one without a name by strace."""
    assert "temporary" in {leak.canary for leak in planted.guarded}
    assert "temporary" not in {leak.canary for leak in planted.on_disk}
    assert planted.anonymous
    if planted.written is None:
        pytest.skip("strace is not installed or not allowed")
    assert {"temporary", "anonymous", "coordinate"} <= {leak.canary for leak in planted.written.leaks}


def test_no_core_dumps_where_secrets_are() -> None:
    """A process that loads credentials or opens a lake leaves no core file when it crashes."""
    code = (
        "import os, resource\n"
        "from dagster_beiwe import BeiweResource, EnvCredentials\n"
        "os.environ['BEIWE_LAKE'] = '/nowhere'\n"
        "BeiweResource(credentials=EnvCredentials()).get_lake()\n"
        "print(resource.getrlimit(resource.RLIMIT_CORE)[0])\n"
    )

    def allow() -> None:
        _, hard = resource.getrlimit(resource.RLIMIT_CORE)
        resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, preexec_fn=allow)
    assert done.stdout.strip() == "0"
