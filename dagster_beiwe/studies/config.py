"""What a lab configures for a study, in Python or in YAML."""

from __future__ import annotations

import logging
import re
from datetime import date, datetime, timezone
from typing import Annotated, Any

import dagster as dg
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from dagster_beiwe.encryption import CIPHERS, DEFAULT_CIPHER, UNENCRYPTED
from dagster_beiwe.errors import ConfigurationError
from dagster_beiwe.lake.staging import Compression
from dagster_beiwe.lake.study import KEEP_SUPERSEDED_DAYS
from dagster_beiwe.streams import check_streams, misspelled_streams
from dagster_beiwe.studies.time_zones import check_time_zone
from dagster_beiwe.sync.audit import DEFAULT_AUDIT, AuditPolicy
from dagster_beiwe.windows import Granularity

EVERY_STUDY = "*"
"""In place of a study's name: every study that the key can see and that is not listed by itself."""

DEFAULT_DEPLOYMENT = "beiwe"
DEFAULT_VERIFY_SHARE = 0.05

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
            f"Expected `start` as a date like 2024-03-01, got {value[:40]!r}; nothing was built. Correct it in the "
            "study's configuration."
        ) from None


def _resolve_date(context: dg.ResolutionContext, value: Any) -> object:
    return context.resolve_value(value)


StudyDate = Annotated[
    date | None, dg.Resolver(_resolve_date, model_field_type=str | date | None), BeforeValidator(parse_date)
]


class StudyConfig(dg.Resolvable, BaseModel):
    """How one study becomes assets. Raises ``ConfigurationError`` for what can't be used.

    - ``study``: the study's id, an unambiguous beginning of it, or its name; ``*`` stands for every study that the key
      can see and that is not listed by itself.
    - ``key``: name in asset keys and group; made from the study's name where it is not given.
    - ``name``: the study's name as SECRETS in the keyring has it; the server's where it is not given.
    - ``start``: first day of data (UTC). The first window is the one that holds it. Where it is not given, the month in
      which the study's first participant was created is asked from the server once and then kept: windows that move
      would lose their history. Servers older than June 2024 can't say it; ``raw_data`` then needs a ``start``.
    - ``window``: ``daily``, ``weekly`` (Monday to Sunday) or ``monthly``, in UTC. Participants times windows should
      stay below 100,000; it can't be changed once data were committed.
    - ``streams``: the data streams to get, also ones that only this server has; none given means all.
    - ``plain_streams``: the ones that are stored unencrypted; every other stream is encrypted.
    - ``encryption``: ``cryptease`` (mano and ``crypt.py`` open it), ``age``, or ``none`` to lock nothing.
    - ``recipients``: public keys (``age1...``) of those who may read what ``age`` locks; it needs one at least.
    - ``compression``: ``zstd`` keeps the server's compressed files; ``none`` stores what mano stored.
    - ``keep_superseded_days``: how long versions that were replaced stay readable; snapshots keep them for good. 0: an
      hour at least.
    - ``refresh_windows``: how many of the newest windows the schedule fetches again.
    - ``time_zone``: the study's time zone, in which the server counts days. Servers since September 2025 tell it.
    - ``remove_deleted_upstream``: remove files that the server no longer has; they are kept and marked otherwise.
    - ``verify_share``: the part of the stored files that the check ``intact`` reads, others each day; 1 means all.
    - ``audit_days``: each window is compared with the server by hash this often at least, new ones daily; 0 turns that
      off. ``audit_requests`` and ``audit_bytes`` (sent and received) are what it may take in a day.
    - ``deployment``: which server; the key of its ``BeiweResource`` among the resources.
    - ``owners``: e-mail addresses or ``team:...``, shown on the assets.
    - ``study_pk``: the study's number in the website's address, only for the settings of servers older than March 2025.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    study: str
    key: str | None = None
    name: str | None = None
    start: StudyDate = None
    window: Granularity = "weekly"
    streams: tuple[str, ...] = ()
    plain_streams: tuple[str, ...] = ()
    encryption: str = DEFAULT_CIPHER
    recipients: tuple[str, ...] = ()
    compression: Compression = "zstd"
    keep_superseded_days: float = Field(default=KEEP_SUPERSEDED_DAYS, ge=0, le=36500)
    refresh_windows: int = 3
    time_zone: str | None = None
    remove_deleted_upstream: bool = False
    verify_share: float = DEFAULT_VERIFY_SHARE
    audit_days: int = Field(default=DEFAULT_AUDIT.days, ge=0, le=3650)
    audit_requests: int = Field(default=DEFAULT_AUDIT.requests, ge=1)
    audit_bytes: int = Field(default=DEFAULT_AUDIT.size_bytes, ge=1)
    deployment: str = DEFAULT_DEPLOYMENT
    owners: tuple[str, ...] = ()
    study_pk: int | None = None

    def __init__(self, study: str, **fields: Any) -> None:
        try:
            super().__init__(study=study, **fields)
        except ValidationError as error:
            problems = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
            raise ConfigurationError(
                f"Expected the fields of a study's configuration, got something else; nothing was built. {problems}. "
                f"The fields are: {', '.join(type(self).model_fields)}."
            ) from None

    @field_validator("streams", "plain_streams")
    @classmethod
    def _sorted(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return check_streams(names)

    @model_validator(mode="after")
    def _check(self) -> StudyConfig:
        if not self.study.strip():
            raise ConfigurationError(
                "Expected `study` to be an id, the beginning of an id, or a name, got nothing; nothing was built. "
                "Write `*` for every study that the key can see."
            )
        _check_streams(self.study, (*self.streams, *self.plain_streams))
        _check_choice("encryption", self.encryption, (*CIPHERS, UNENCRYPTED))
        if self.encryption == "age" and not self.recipients:
            raise ConfigurationError(
                "Expected `recipients` with `encryption: age`, got none; nothing was built. Write the public keys "
                "(`age1...`, from `age-keygen`) of those who may read the study's data, also your own."
            )
        _check_name("key", self.key)
        _check_name("deployment", self.deployment)
        given = self.key or self.name
        if given and self.study == EVERY_STUDY:
            raise ConfigurationError(
                f"Expected no `{'key' if self.key else 'name'}` for `study: {EVERY_STUDY}`, got {given[:80]!r}; "
                "nothing was built. It can be that of one study only: list the study by itself."
            )
        if not 1 <= self.refresh_windows <= 1000:
            raise ConfigurationError(
                f"Expected `refresh_windows` between 1 and 1000, got {self.refresh_windows}; nothing was built."
            )
        if not 0 <= self.verify_share <= 1:
            raise ConfigurationError(
                f"Expected `verify_share` between 0 and 1, got {self.verify_share}; nothing was built."
            )
        if self.time_zone is not None:
            check_time_zone(self.time_zone)
        for owner in self.owners:
            if not _OWNER.fullmatch(owner):
                raise ConfigurationError(
                    f"Expected `owners` to be e-mail addresses or `team:name`, got {owner[:60]!r}; nothing was built."
                )
        if self.start and self.start > datetime.now(timezone.utc).date():
            raise ConfigurationError(
                f"Expected `start` in the past, got {self.start.isoformat()}; nothing was built. It is the first day "
                "of data of the study, in UTC."
            )
        return self

    @property
    def audit(self) -> AuditPolicy:
        return AuditPolicy(days=self.audit_days, requests=self.audit_requests, size_bytes=self.audit_bytes)

    @property
    def encrypted(self) -> str:
        """Which streams are stored encrypted, in words."""
        plain = set(self.plain_streams)
        if self.encryption == UNENCRYPTED or (self.streams and plain.issuperset(self.streams)):
            return "none"
        if self.streams:
            return ", ".join(stream for stream in self.streams if stream not in plain)
        return f"all but {', '.join(self.plain_streams)}" if plain else "all"


def table_io_manager_key(deployment: str) -> str:
    """Resource key of what stores the tables of a deployment's studies: ``beiwe_table_io_manager`` by default."""
    return f"{deployment}_table_io_manager"


def lake_io_manager_key(deployment: str) -> str:
    """Resource key of what reads raw data of a deployment's studies: ``beiwe_lake_io_manager`` by default."""
    return f"{deployment}_lake_io_manager"


def _check_streams(study: str, names: tuple[str, ...]) -> None:
    """A server may have streams of its own, so a name that is probably misspelled is no error before it is asked."""
    for name, meant in misspelled_streams(names).items():
        logger.warning(
            "The configuration of study %a names the data stream %r, which is not a known one. Did you mean %r?",
            study,
            name,
            meant,
        )


def _check_choice(field: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ConfigurationError(
            f"Expected `{field}` to be {', '.join(choices[:-1])} or {choices[-1]}, got {value[:40]!r}; nothing was "
            "built. Correct it in the study's configuration."
        )


def _check_name(field: str, value: str | None) -> None:
    if value is not None and not _NAME.fullmatch(value):
        raise ConfigurationError(
            f"Expected `{field}` of letters, digits and '_', got {value[:40]!r}; nothing was built. It becomes part of "
            "the names of assets, groups and pools."
        )
