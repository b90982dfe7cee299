"""A study as configured and found. It travels in the metadata of the definitions of its assets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

import dagster as dg

from dagster_beiwe.lake.study import KEEP_SUPERSEDED_DAYS
from dagster_beiwe.streams import check_streams
from dagster_beiwe.studies.config import (
    DEFAULT_DEPLOYMENT,
    DEFAULT_VERIFY_SHARE,
    Compression,
    StudyConfig,
    parse_date,
)
from dagster_beiwe.sync.audit import DEFAULT_AUDIT, AuditPolicy
from dagster_beiwe.text import as_code
from dagster_beiwe.windows import Granularity, check_granularity

METADATA_KEY = "beiwe/study"


@dataclass(frozen=True, kw_only=True)
class Study:
    """One study as its assets know it. ``start`` is the first day of data, None where nobody knows it yet. Where nobody
    knows the ``name``, the id stands in its place. No ``streams`` are all that the server has.

    Holds no secret: it is stored in the definitions of the assets as metadata.
    """

    id: str
    name: str
    key: str
    start: date | None = None
    window: Granularity = "weekly"
    streams: tuple[str, ...] = ()
    plain_streams: tuple[str, ...] = ()
    encryption: str = "cryptease"
    recipients: tuple[str, ...] = ()
    compression: Compression = "zstd"
    keep_superseded_days: float = KEEP_SUPERSEDED_DAYS
    refresh_windows: int = 3
    time_zone: str | None = None
    remove_deleted_upstream: bool = False
    verify_share: float = DEFAULT_VERIFY_SHARE
    audit_days: int = DEFAULT_AUDIT.days
    audit_requests: int = DEFAULT_AUDIT.requests
    audit_bytes: int = DEFAULT_AUDIT.size_bytes
    deployment: str = DEFAULT_DEPLOYMENT
    owners: tuple[str, ...] = ()
    study_pk: int | None = None
    hidden: bool = False
    """Whether the server did not name it any more when it was last asked."""

    @classmethod
    def of(
        cls,
        config: StudyConfig,
        *,
        id: str,  # noqa: A002
        name: str,
        key: str,
        start: date | None,
        hidden: bool = False,
    ) -> Study:
        """The configuration joined with what is known about the study; the configured name, start and key go first."""
        return cls(
            id=id,
            name=config.name or name,
            key=config.key or key,
            start=config.start or start,
            window=check_granularity(config.window),
            streams=check_streams(config.streams),
            plain_streams=check_streams(config.plain_streams),
            encryption=config.encryption,
            recipients=config.recipients,
            compression="none" if config.compression == "none" else "zstd",
            keep_superseded_days=config.keep_superseded_days,
            refresh_windows=config.refresh_windows,
            time_zone=config.time_zone,
            remove_deleted_upstream=config.remove_deleted_upstream,
            verify_share=config.verify_share,
            audit_days=config.audit_days,
            audit_requests=config.audit_requests,
            audit_bytes=config.audit_bytes,
            deployment=config.deployment,
            owners=config.owners,
            study_pk=config.study_pk,
            hidden=hidden,
        )

    @property
    def audit(self) -> AuditPolicy:
        return AuditPolicy(days=self.audit_days, requests=self.audit_requests, size_bytes=self.audit_bytes)

    @property
    def title(self) -> str:
        """The name for descriptions and logs, on one line and without effect in Markdown: it is the server's text."""
        return as_code(self.name)

    @property
    def encrypted(self) -> str:
        """Which streams are stored encrypted, in words."""
        plain = set(self.plain_streams)
        if self.encryption == "none" or (self.streams and plain.issuperset(self.streams)):
            return "none"
        if self.streams:
            return ", ".join(stream for stream in self.streams if stream not in plain)
        return f"all but {', '.join(self.plain_streams)}" if plain else "all"

    @property
    def is_named(self) -> bool:
        return self.name != self.id

    def to_metadata(self) -> dict[str, Any]:
        """The study as metadata of an asset's definition."""
        value = asdict(self)
        value["start"] = self.start.isoformat() if self.start else None
        return {METADATA_KEY: dg.MetadataValue.json(value)}

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, Any]) -> Study | None:
        """The study from an asset's metadata, or None for an asset that belongs to no study."""
        value = metadata.get(METADATA_KEY)
        value = getattr(value, "value", value)
        if not isinstance(value, Mapping):
            return None
        fields: dict[str, Any] = {name: tuple(each) if isinstance(each, list) else each for name, each in value.items()}
        fields["start"] = parse_date(fields.get("start"))
        return cls(**fields)
