"""The server's member names and registry keys, and what they say about a file.

Source: member names and registry keys of a beiwe-backend of March 2026, and older forms of servers since 2023.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from dagster_beiwe.errors import HostileArchiveError
from dagster_beiwe.ids import is_participant_id
from dagster_beiwe.streams import STREAMS, is_stream_name, stream_named

COMPRESSED_SUFFIX = ".zst"
"""Ending of a file that is one zstd frame, in an archive and in the lake."""
CHUNKED_PREFIX = "CHUNKED_DATA/"
"""Where the server stores its hourly files. A registry never contains it: see ``client.downloads``."""

_FOLDER = re.compile(r"[A-Za-z0-9_-]{1,100}")
# ASCII only, and bounded: file systems take names of at most 255 bytes. Servers before mid 2018 named no zone.
_MEMBER_TIME = re.compile(
    r"(?P<time>\d{4}-\d\d-\d\d \d\d_\d\d_\d\d)(?:\+00_00)?(?:_\d{1,6})?"
    r"\.[A-Za-z0-9]{1,16}(?:-duplicate-[A-Za-z0-9]{1,64})?\)?",
    re.ASCII,
)
_KEY = re.compile(r"[A-Za-z0-9_./:+ -]{1,500}")
_MILLISECONDS = re.compile(r"-?[0-9]{1,13}")
_STREAM_OF_FOLDER = {stream.storage_folder: stream.name for stream in STREAMS.values() if stream.storage_folder}
_STREAM_OF_PHONE_FOLDER = {
    **_STREAM_OF_FOLDER,
    "accel": "accelerometer",
    "bluetoothLog": "bluetooth",
    "callLog": "calls",
    "ios": "ios_log",
    "logFile": "app_log",
    "powerState": "power_state",
    "surveyTimings": "survey_timings",
    "textsLog": "texts",
    "wifiLog": "wifi",
}
_PHONE_FILE = re.compile(
    r"(?P<folder>[A-Za-z0-9_-]{1,100})/(?:(?P<survey>[A-Za-z0-9_-]{1,100})/)?"
    r"(?P<ms>-?[0-9]{1,13})\.[A-Za-z0-9]{1,16}(?:-duplicate-[A-Za-z0-9]{1,64})?",
    re.ASCII,
)
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


@dataclass(frozen=True, kw_only=True)
class MemberName:
    """What a member's name in an archive says: participant, stream, and time of the file.

    ``time`` is the file's bin time in UTC: the full hour for a chunked stream, otherwise the second in which the phone
    opened the file. ``name`` is the last part without ``.zst``. ``survey_id`` is None if the stream has no surveys.
    """

    participant: str
    stream: str
    survey_id: str | None
    name: str
    time: datetime

    @property
    def folder(self) -> str:
        """Folder of the file below the participant's: the stream, and the survey if there is one."""
        return f"{self.stream}/{self.survey_id}" if self.survey_id else self.stream


def parse_member_name(name: str) -> MemberName:
    """What the name of an archive member says.

    Raises ``HostileArchiveError`` for anything that is not exactly Beiwe's form, because the name decides where the
    file is stored: ``..``, absolute paths, drive letters, and control characters end here. Only this server may have
    the stream.
    """
    parts = name.removesuffix(COMPRESSED_SUFFIX).split("/")
    if len(parts) in (3, 4):
        participant, stream, *survey, last = parts
        time = _MEMBER_TIME.fullmatch(last)
        if (
            time is not None
            and is_stream_name(stream)
            and is_participant_id(participant)
            and all(_FOLDER.fullmatch(part) for part in survey)
        ):
            return MemberName(
                participant=participant,
                stream=stream,
                survey_id=survey[0] if survey else None,
                name=last.removesuffix(")"),
                time=_parse_time(time["time"], name),
            )
    raise HostileArchiveError(
        f"A downloaded archive has a member named {_printable(name)}, not <participant>/<stream>/[<survey>/]"
        "<time>.<extension>. The member was not stored. If the server is newer than this package, update the package; "
        "otherwise ask the server's operators what sends such names."
    )


@dataclass(frozen=True, slots=True)
class PhoneFile:
    """What the name of a file on the phone says: its stream, its survey if it has one, and when the phone opened it, in
    milliseconds since 1970 (UTC)."""

    stream: str
    survey_id: str | None
    opened_ms: int


def parse_phone_file(name: str) -> PhoneFile | None:
    """What a name in the upload history says (``accel/1790809200017.csv``); None for a name in another form.

    A stream outside the catalog is called what the phone calls it.
    """
    match = _PHONE_FILE.fullmatch(name)
    if match is None:
        return None
    folder = match["folder"]
    survey = None if folder == "ios" else match["survey"]  # that folder has another one inside, and no surveys
    return PhoneFile(_STREAM_OF_PHONE_FOLDER.get(folder, folder), survey, int(match["ms"]))


def short_key(key: str) -> str:
    """A registry key without the storage prefix: the identity of a file."""
    return key.removeprefix(CHUNKED_PREFIX)


def key_of_chunked_member(study_id: str, member: MemberName) -> str:
    """The short registry key of an hourly file, built from its member name."""
    return f"{study_id}/{member.participant}/{member.folder}/{member.time:%Y-%m-%dT%H:%M:%S}.csv"


def key_describes(key: str, study_id: str, member: MemberName) -> bool:
    """Whether a registry key can belong to a member: same study, participant, stream, and time.

    Survey ids are not compared, because files from before March 2026 may lack them in the key or in the name. The
    folder of a stream outside the catalog is not known, so any folder that is not another stream's is accepted.
    """
    parts = short_key(key).split("/")
    if not _KEY.fullmatch(key) or len(parts) < 4 or parts[0] != study_id or parts[1] != member.participant:
        return False
    stream = _STREAM_OF_FOLDER.get(parts[2], parts[2])
    stem = parts[-1].split(".", 1)[0]
    if stream != member.stream and (stream in STREAMS or stream_named(member.stream).known):
        return False
    if _MILLISECONDS.fullmatch(stem):
        return _EPOCH + timedelta(seconds=int(stem) // 1000) == member.time
    return stem == f"{member.time:%Y-%m-%dT%H:%M:%S}"


def place_of_key(key: str) -> tuple[str, datetime] | None:
    """Stream and bin time in a registry key; None for a key that does not contain them in a known form."""
    parts = short_key(key).split("/")
    stem = parts[-1].split(".", 1)[0]
    stream = _STREAM_OF_FOLDER.get(parts[2], parts[2]) if len(parts) > 3 else ""
    if not _KEY.fullmatch(key) or not stream:
        return None
    if _MILLISECONDS.fullmatch(stem):
        return stream, _EPOCH + timedelta(seconds=int(stem) // 1000)
    try:
        return stream, datetime.strptime(stem, "%Y-%m-%dT%H:%M:%S").replace(tzinfo=timezone.utc)
    except ValueError:
        return None


def _parse_time(text: str, name: str) -> datetime:
    try:
        return datetime.fromisoformat(text.replace("_", ":")).replace(tzinfo=timezone.utc)
    except ValueError:
        raise HostileArchiveError(
            f"A downloaded archive has a member named {_printable(name)}, whose time does not exist. The member was "
            "not stored. Ask the server's operators what sends such names."
        ) from None


def _printable(name: str) -> str:
    return ascii(name if len(name) <= 80 else f"{name[:80]}...")
