"""Where everything in the lake lies: paths, names, and what they say. No other module spells out a path.

Names that a log owns never come twice: a record's number is used once, and all that a batch writes beside a first
version's own name carries ``~<base>-<nonce>``, the record it was planned on and a random text.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from dagster_beiwe.cells import dimensions
from dagster_beiwe.ids import is_participant_id
from dagster_beiwe.member_names import COMPRESSED_SUFFIX
from dagster_beiwe.private_files import PART_SUFFIX
from dagster_beiwe.streams import RESERVED_NAMES

INSIDE: Final = ".beiwe"
"""Folder of what the lake keeps about data, in a study's folder and in a participant's."""
TABLES: Final = ".tables"
"""Folder of a log's tables, in its own folder. No stream has this name, so a study's cipher encrypts them all."""
NO_STUDY: Final = ".lake"
"""Folder of the tables that belong to no study, and of their log, which the lake's own passphrase authenticates."""
NOBODY: Final = ".plain"
"""Folder of the tables that are about nobody and of no study, and of their log: nothing is encrypted there."""
ENCRYPTED_SUFFIX: Final = ".lock"
"""Ending of encrypted files, whatever encrypted them; mano's too."""
TABLE_SUFFIX: Final = ".parquet"
RECORDS_PER_FOLDER: Final = 1000
"""An object store lists that many names in one request."""

_CHECKPOINT_FORMAT: Final = 1
_LONGEST_NAME: Final = 120
_OWNER: Final = "token-"
_MANIFEST: Final = f".json{COMPRESSED_SUFFIX}"
_TOKEN_FILE = re.compile(rf"(?:/{re.escape(INSIDE)}/|~){_OWNER}\d{{1,12}}\Z", re.ASCII)
_PLANNED = re.compile(r"~(\d{1,12})-[0-9a-f]{4,16}(?=\.)", re.ASCII)
_FIRST = re.compile(r"\d{4}-\d\d-\d\d \d\d_\d\d_\d\d(?:\+00_00)?(?:_\d{1,6})?\.[A-Za-z0-9.]{1,32}", re.ASCII)
_MANIFEST_FILE = re.compile(rf"~(\d{{1,12}})-([0-9a-f]{{8}}){re.escape(_MANIFEST)}\Z", re.ASCII)
_NUMBERED = r"\d{1,12}-[0-9a-f]{8}" + re.escape(_MANIFEST)
_DOCUMENT = re.compile(
    rf"""{re.escape(INSIDE)}/(?:
        log/\d{{6}}/\d{{3}}
        | checkpoints/\d{{1,3}}/\d{{12}}-[0-9a-f]{{8}}(?:\.people|\.tables)?
        | packs/\d{{6}}
        | runs/\d{{1,12}}-[0-9a-f]{{16}}-\d{{1,6}}
        | staging/\.[0-9a-f]{{16}}-[^/]+{re.escape(PART_SUFFIX)}
        | aside/[^/]+
    )
    | [A-Za-z0-9_-]{{1,64}}/{re.escape(INSIDE)}/(?:{_OWNER}\d{{1,12}} | ~{_NUMBERED})
    | {re.escape(TABLES)}/(?:[^/]+/)*[^/]+~(?:{_OWNER}\d{{1,12}} | {_NUMBERED})
    """,
    re.ASCII | re.VERBOSE,
)


@dataclass(frozen=True)
class Subject:
    """Whose data a version is: a participant's, or one partition's of a table.

    ``asset`` is empty for participants, else the asset's path below ``.tables``; ``name`` is the participant's id or
    the partition key, None for a table without partitions.
    """

    name: str | None
    asset: str = ""

    def __str__(self) -> str:
        if not self.asset:
            return f"participant {self.name}"
        return f"table {self.asset}" + (f" [{self.name}]" if self.name is not None else "")


@dataclass(frozen=True)
class Home:
    """Where one subject's files lie: every path of theirs starts with ``prefix``, and no other's does."""

    prefix: str
    tokens: str
    manifests: str

    @property
    def of_table(self) -> bool:
        return self.prefix.endswith("~")

    @property
    def folder(self) -> str:
        return self.prefix.rpartition("/")[0]

    def token(self, epoch: int) -> str:
        """Where the file lies that says whose the data is; ``epoch`` is the newest withdrawal when it was made."""
        return f"{self.tokens}{epoch}"

    def manifest(self, base: int, nonce: str) -> str:
        """Where a version's manifest lies, perhaps with those of other windows."""
        return f"{self.manifests}~{base}-{nonce}{_MANIFEST}"


@dataclass(frozen=True)
class LogLayout:
    """Places of one log: a study's, or one of tables that belong to no study. All of them lie in ``folder``."""

    folder: str
    records_per_folder: int = RECORDS_PER_FOLDER

    @property
    def inside(self) -> str:
        return f"{self.folder}/{INSIDE}"

    @property
    def log(self) -> str:
        return f"{self.inside}/log"

    @property
    def all_checkpoints(self) -> str:
        """Folder of checkpoints in all formats."""
        return f"{self.inside}/checkpoints"

    @property
    def checkpoints(self) -> str:
        """Folder of those in the format of this version, which leaves the others alone."""
        return f"{self.all_checkpoints}/{_CHECKPOINT_FORMAT}"

    @property
    def runs(self) -> str:
        return f"{self.inside}/runs"

    @property
    def aside(self) -> str:
        """Folder of files that lay in a record's place and are none."""
        return f"{self.inside}/aside"

    @property
    def staging(self) -> str:
        """Folder of files that are not finished; the log's own folder holds finished records only."""
        return f"{self.inside}/staging"

    def record(self, number: int) -> str:
        return f"{self.record_folder(number)}/{number % self.records_per_folder:03}"

    def record_folder(self, number: int) -> str:
        return f"{self.log}/{number // self.records_per_folder:06}"

    def pack(self, thousand: int) -> str:
        """Where a copy of a full folder of records lies, in one file."""
        return f"{self.inside}/packs/{thousand:06}"

    def checkpoint(self, number: int, nonce: str) -> str:
        return f"{self.checkpoints}/{number:012}-{nonce}"

    def marker(self, base: int, run: str, count: int) -> str:
        """A batch's note of whom it may write to."""
        return f"{self.runs}/{base}-{run}-{count}"

    def tables(self, asset: str = "") -> str:
        """The folder of an asset's tables, or of all; one without partitions lies beside it."""
        return f"{self.folder}/{TABLES}/{asset}".rstrip("/")

    def documents_of(self, participant: str) -> str:
        """The folder of what the lake keeps about a participant's data."""
        return f"{self.folder}/{participant}/{INSIDE}"

    def home(self, subject: Subject) -> Home:
        if not subject.asset:
            inside = self.documents_of(str(subject.name))
            return Home(f"{self.folder}/{subject.name}/", f"{inside}/{_OWNER}", f"{inside}/")
        stem = self.tables(subject.asset)
        if subject.name is not None:
            stem += "".join(f"/{safe_name(part)}" for part in dimensions(subject.name))
        return Home(f"{stem}~", f"{stem}~{_OWNER}", stem)


def stored_suffix(*, encrypted: bool, compressed: bool = False) -> str:
    """What is appended to the name of a file that is stored in this form."""
    return (COMPRESSED_SUFFIX if compressed else "") + (ENCRYPTED_SUFFIX if encrypted else "")


def participant_and_stream(path: str) -> tuple[str | None, str]:
    """Whose and of which stream a file is, by its path below the study's folder, as far as that tells."""
    *above, _ = path.split("/")
    participant = above[0] if above and is_participant_id(above[0]) else None
    folders = above[2:] if above[1:2] and above[1] in RESERVED_NAMES else above[1:]
    return participant, folders[0] if folders else ""


def record_number(name: str) -> int | None:
    """The place of a record, or of a folder of records, as its name tells it."""
    return int(name) if _is_number(name) and len(name) in (3, 6) else None


def checkpoint_number(name: str) -> int | None:
    """The record that a checkpoint or a marker was made at."""
    number = name.partition("-")[0]
    return int(number) if _is_number(number) and len(number) <= 12 else None


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal()  # other scripts have digits, too, in names that nobody here gives


def is_token(path: str) -> bool:
    """Whether a file says whose its folder's data is."""
    return _TOKEN_FILE.search(path) is not None


def is_document(path: str) -> bool:
    """Whether a path below a log's folder has the form of a document of the lake itself, readable by design."""
    return _DOCUMENT.fullmatch(path) is not None


def is_made_here(path: str) -> bool:
    """Whether a run may have given a file this name."""
    return planned_on(path) is not None or _FIRST.fullmatch(path.rpartition("/")[2]) is not None


def version_of(path: str) -> tuple[int, str] | None:
    """Base and nonce of the version whose manifest a file's name says it is."""
    found = _MANIFEST_FILE.search(path)
    return (int(found[1]), found[2]) if found else None


def planned_on(path: str) -> int | None:
    """The record that a file's batch was planned on; None for a first version under its own name."""
    found = _PLANNED.search(path.rpartition("/")[2])
    return int(found[1]) if found else None


def asset_path(asset_key: Sequence[str]) -> str:
    """Where an asset's tables lie, below ``.tables``."""
    return "/".join(map(safe_name, asset_key))


def safe_name(part: str) -> str:
    """A file name for any text: equal only for equal texts, without dots or separators, of bounded length."""
    name = quote(part, safe="").replace(".", "%2E").replace("~", "%7E") or "%"
    if len(name) <= _LONGEST_NAME:
        return name
    # Nothing that is quoted has "%-", and "~" ends the name that a table's files begin with.
    return f"{name[: _LONGEST_NAME - 34]}%-{hashlib.sha256(part.encode()).hexdigest()[:32]}"
