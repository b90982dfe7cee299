"""What a lab configures for a study, in Python or in YAML."""

from __future__ import annotations

import logging
import re
from datetime import date, datetime, timezone
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from dagster_beiwe.encryption import CIPHERS, DEFAULT_CIPHER, UNENCRYPTED
from dagster_beiwe.errors import ConfigurationError
from dagster_beiwe.forest.analyses import ForestTree
from dagster_beiwe.lake.staging import Compression
from dagster_beiwe.lake.study import KEEP_SUPERSEDED_DAYS
from dagster_beiwe.stream_tables.names import TableName, streams_of
from dagster_beiwe.streams import STREAM_GROUPS, check_streams, misspelled_streams, stream_named
from dagster_beiwe.studies.time_zones import check_time_zone
from dagster_beiwe.sync.audit import DEFAULT_AUDIT, AuditPolicy
from dagster_beiwe.windows import Granularity

EVERY_STUDY = "*"
"""In place of a study's name: every study that the key can see and that is not listed by itself."""

DEFAULT_DEPLOYMENT = "beiwe"
DEFAULT_VERIFY_SHARE = 0.05
DEFAULT_QUALITY_STREAMS = ("gps", "survey_answers", "survey_timings")
"""Small ones: the rows of motion sensors take some twenty times as long to read."""
DEFAULT_SILENT_DAYS = 3
DEFAULT_SILENT_ERROR_DAYS = 14
DEFAULT_LATE_DAYS = 7

logger = logging.getLogger("dagster_beiwe")

_NAME = re.compile(r"[A-Za-z0-9_]{1,100}")
_OWNER = re.compile(r"team:\S.*|[^@\s]+@[^@\s]+\.[^@\s]+")


def parse_date(value: object) -> object:
    """A date from what YAML and Python users write; anything else is left to pydantic."""
    if isinstance(value, datetime):
        return value.date()
    if not isinstance(value, str):
        return value
    try:
        return date.fromisoformat(value.strip())
    except ValueError:
        raise ConfigurationError(
            f"`start` is {value[:40]!r}, which is not a date. Nothing was built. Write it like 2024-03-01 in the "
            "study's configuration."
        ) from None


class StudyConfig(BaseModel):
    """How one study becomes assets. Raises ``ConfigurationError`` for a value that cannot be used."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    study: str
    """The study's id, the beginning of its id, or its name; ``*`` stands for every study that the keys can see and that
    is not listed by itself."""

    key: str | None = None
    """The study's name in asset keys, and its group. Default: made from the study's name. Set it if two studies have
    the same name."""

    name: str | None = None
    """The study's name in SECRETS of the keyring. Default: the name on the server. Needed if SECRETS has the passphrase
    by name and the server cannot be reached."""

    start: Annotated[date | None, BeforeValidator(parse_date)] = None
    """The first day of data, in UTC; the first window contains it. Default: the month in which the first participant
    was created, requested from the server once and then kept, because windows that move would lose their history.
    Servers older than June 2024 do not report it; ``raw_data`` then needs a ``start``."""

    window: Granularity = "weekly"
    """The length of a window, in UTC; a week begins on Monday. Keep participants times windows below 100,000. It cannot
    change once data is committed."""

    streams: tuple[str, ...] = ()
    """The data streams to fetch, including any that only your server has. Default: all."""

    plain_streams: tuple[str, ...] = ()
    """The streams to store unencrypted. All others are encrypted, including streams that are new. Default: none."""

    encryption: str = DEFAULT_CIPHER
    """The cipher: ``cryptease`` (mano and ``crypt.py`` open it), ``age``, or ``none`` to encrypt nothing."""

    recipients: tuple[str, ...] = ()
    """The public keys (``age1...``) of everyone who may read what ``age`` encrypts; at least one with ``age``."""

    compression: Compression = "zstd"
    """``zstd`` keeps the server's compressed files; ``none`` stores what mano stored."""

    keep_superseded_days: float = Field(default=KEEP_SUPERSEDED_DAYS, ge=0, le=36500)
    """How many days replaced versions stay readable; 0 means at least an hour. Snapshots keep them for good."""

    refresh_windows: int = Field(default=3, ge=1, le=1000)
    """How many of the newest windows the schedule fetches again."""

    time_zone: str | None = None
    """The time zone in which the server counts days. Default: the server's; servers since September 2025 report it."""

    remove_deleted_upstream: bool = False
    """Remove files that were deleted upstream, instead of keeping and marking them."""

    verify_share: float = Field(default=DEFAULT_VERIFY_SHARE, ge=0, le=1)
    """The share of files that each run of the check ``intact`` reads, different ones each day; 1 means all."""

    quality_streams: tuple[str, ...] = DEFAULT_QUALITY_STREAMS
    """The streams whose rows ``quality`` looks at, which decrypts each of their files once. With none, the study has no
    asset ``quality``."""

    tables: tuple[TableName, ...] = ()
    """The typed tables to make of streams, such as ``gps`` and ``accelerometer``, and ``surveys``. Default: none."""

    forest: tuple[ForestTree, ...] = ()
    """The analyses of Forest to make of the raw data. Default: none."""

    audit_days: int = Field(default=DEFAULT_AUDIT.days, ge=0, le=3650)
    """Every window is compared with the server by hash at least this often, in days, and new windows daily; 0 turns
    this off."""

    audit_requests: int = Field(default=DEFAULT_AUDIT.requests, ge=1)
    """How many requests comparisons by hash may use per day."""

    audit_bytes: int = Field(default=DEFAULT_AUDIT.size_bytes, ge=1)
    """How many bytes comparisons by hash may send and receive per day."""

    silent_days: int = Field(default=DEFAULT_SILENT_DAYS, ge=1, le=3650)
    """After how many whole days without data the check ``silent`` names a participant, or a stream expected from the
    study's settings."""

    silent_groups: dict[str, int] = Field(default_factory=dict)
    """Different numbers of days for groups of streams, such as ``{gps: 2, surveys: 14}``; 0 leaves a group out. Events
    such as surveys are looked at only if they are named here. Default: none."""

    silent_error_days: int = Field(default=DEFAULT_SILENT_ERROR_DAYS, ge=1, le=3650)
    """After how many days without data it is an error, not a warning."""

    late_days: int = Field(default=DEFAULT_LATE_DAYS, ge=0, le=3650)
    """After how many days without a run that made them Dagster shows what the schedules make daily as late: the
    freshness policy of the study's assets. 0 turns it off, as for a study that has ended."""

    participant_days: int = Field(default=30, ge=0, le=3650)
    """How often, in days, the histories of a phone that keeps sending are fetched again. Those of new, changed, and
    silent participants are fetched at once. 0 turns the sensor off."""

    deployment: str = DEFAULT_DEPLOYMENT
    """Which server: the name of its ``BeiweResource`` among the resources."""

    owners: tuple[str, ...] = ()
    """Email addresses or ``team:name``, shown on the study's assets. Default: none."""

    study_pk: int | None = None
    """The study's number in the website's addresses; needed only for the settings of servers older than March 2025."""

    def __init__(self, study: str, **fields: Any) -> None:
        try:
            super().__init__(study=study, **fields)
        except ValidationError as error:
            problems = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
            raise ConfigurationError(
                f"The configuration of study {str(study)[:80]!a} cannot be used; nothing was built. {problems}. The "
                f"fields are: {', '.join(StudyConfig.model_fields)}."
            ) from None

    @field_validator("streams", "plain_streams", "quality_streams")
    @classmethod
    def _sorted(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return check_streams(names)

    @field_validator("quality_streams")
    @classmethod
    def _with_rows(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if recordings := [name for name in names if stream_named(name).audio]:
            raise ConfigurationError(
                f"`quality_streams` has {', '.join(recordings)}: recordings, which have no rows. Nothing was built. "
                "Leave them out of the study's configuration."
            )
        return names

    @field_validator("tables")
    @classmethod
    def _once(cls, names: tuple[TableName, ...]) -> tuple[TableName, ...]:
        return tuple(sorted(set(names)))

    @field_validator("encryption")
    @classmethod
    def _known(cls, name: str) -> str:
        if name in encryptions():
            return name
        raise ConfigurationError(
            f"`encryption` is {name[:40]!r}, which is not a cipher. Nothing was built. Write one of "
            f"{', '.join(encryptions())} in the study's configuration."
        )

    @field_validator("silent_groups")
    @classmethod
    def _groups(cls, groups: dict[str, int]) -> dict[str, int]:
        for group, days in groups.items():
            if group not in STREAM_GROUPS:
                raise ConfigurationError(
                    f"`silent_groups` names {group[:40]!r}, which is not a group of streams. Nothing was built. The "
                    f"groups are: {', '.join(STREAM_GROUPS)}."
                )
            if days < 0:
                raise ConfigurationError(
                    f"`silent_groups` gives {group} {days} days. Nothing was built. Write after how many days without "
                    "data it is silent, or 0 to leave it out."
                )
        return groups

    @field_validator("owners")
    @classmethod
    def _addresses(cls, owners: tuple[str, ...]) -> tuple[str, ...]:
        for owner in owners:
            if not _OWNER.fullmatch(owner):
                raise ConfigurationError(
                    f"`owners` has {owner[:60]!r}, which is neither an email address nor `team:name`. Nothing was "
                    "built. Correct it in the study's configuration."
                )
        return owners

    @model_validator(mode="after")
    def _check(self) -> StudyConfig:
        if not self.study.strip():
            raise ConfigurationError(
                "`study` is empty. Nothing was built. Write the study's id, the beginning of its id, or its name, or "
                "`*` for every study that the key can see."
            )
        _warn_of_misspelled_streams(self.study, (*self.streams, *self.plain_streams, *self.quality_streams))
        _check_tables(self.tables, self.streams)
        if self.encryption != UNENCRYPTED:
            CIPHERS[self.encryption].check_recipients(self.recipients)
        _check_name("key", self.key)
        _check_name("deployment", self.deployment)
        given = self.key or self.name
        if given and self.study == EVERY_STUDY:
            raise ConfigurationError(
                f"`{'key' if self.key else 'name'}` is {given[:80]!r} for `study: {EVERY_STUDY}`, but only one study "
                "can have it. Nothing was built. List that study by itself."
            )
        if self.time_zone is not None:
            check_time_zone(self.time_zone)
        if self.start and self.start > datetime.now(timezone.utc).date():
            raise ConfigurationError(
                f"`start` is {self.start.isoformat()}, which is not in the past. Nothing was built. Write the first "
                "day of the study's data, in UTC."
            )
        return self

    @property
    def audit(self) -> AuditPolicy:
        return AuditPolicy(days=self.audit_days, requests=self.audit_requests, size_bytes=self.audit_bytes)

    @property
    def looked_at(self) -> tuple[str, ...]:
        """The streams whose rows ``quality`` looks at: those that are fetched, too."""
        return tuple(stream for stream in self.quality_streams if not self.streams or stream in self.streams)

    @property
    def encrypted(self) -> str:
        """Which streams are stored encrypted, in words."""
        plain = set(self.plain_streams)
        if self.encryption == UNENCRYPTED or (self.streams and plain.issuperset(self.streams)):
            return "none"
        if self.streams:
            return ", ".join(stream for stream in self.streams if stream not in plain)
        return f"all but {', '.join(self.plain_streams)}" if plain else "all"


def encryptions() -> tuple[str, ...]:
    """What a study can be configured to be encrypted with. Not a ``Literal``: a lab may add a cipher."""
    return (*CIPHERS, UNENCRYPTED)


def table_io_manager_key(deployment: str) -> str:
    """Resource key of what stores the tables of a deployment's studies: ``beiwe_table_io_manager`` by default."""
    return f"{deployment}_table_io_manager"


def lake_io_manager_key(deployment: str) -> str:
    """Resource key of what reads raw data of a deployment's studies: ``beiwe_lake_io_manager`` by default."""
    return f"{deployment}_lake_io_manager"


def _warn_of_misspelled_streams(study: str, names: tuple[str, ...]) -> None:
    """A server may have streams of its own, so a name that is probably misspelled is no error before it is asked."""
    for name, meant in misspelled_streams(names).items():
        logger.warning(
            "The configuration of study %a names the data stream %r, which is not a known one. Did you mean %r?",
            study,
            name,
            meant,
        )


def _check_tables(tables: tuple[TableName, ...], streams: tuple[str, ...]) -> None:
    lacking = {name: sorted({*streams_of(name)} - {*streams}) for name in tables} if streams else {}
    for name, missing in lacking.items():
        if missing:
            raise ConfigurationError(
                f"The table {name} is made from {', '.join(missing)}, which `streams` lacks. Nothing was built. "
                "Add it to `streams` in the study's configuration, or leave the table out of `tables`."
            )


def _check_name(field: str, value: str | None) -> None:
    if value is not None and not _NAME.fullmatch(value):
        raise ConfigurationError(
            f"`{field}` is {value[:40]!r}. Nothing was built. It becomes part of the names of assets, groups and "
            "pools: use letters, digits and '_' only."
        )
