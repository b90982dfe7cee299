"""A study as configured and found. It travels in the metadata of the definitions of its assets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any

import dagster as dg

from dagster_beiwe.studies.config import StudyConfig
from dagster_beiwe.text import as_title

METADATA_KEY = "beiwe/study"


@dataclass(frozen=True, kw_only=True)
class Study:
    """One study, with its configuration. Holds no secret.

    ``name`` is the id if the name is not known. ``start`` is the first day of data, None if it is not known yet.
    ``hidden`` says that the server did not list the study when it was last asked. ``asset_keys`` are the keys that a
    translator gave to the study's assets.
    """

    id: str
    name: str
    key: str
    start: date | None = None
    hidden: bool = False
    config: StudyConfig
    asset_keys: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def configured(self, config: StudyConfig) -> Study:
        """The study under a configuration, whose name, key, and start take precedence over the server's."""
        return replace(
            self,
            name=config.name or self.name,
            key=config.key or self.key,
            start=config.start or self.start,
            config=config,
        )

    def asset_key(self, name: str) -> dg.AssetKey:
        """The key of one of the study's assets: ``beiwe/<key>/<name>``, unless a translator chose another. A name may
        have parts, as in ``forest/oak``."""
        return dg.AssetKey(self.asset_keys.get(name) or ["beiwe", self.key, *name.split("/")])

    @property
    def title(self) -> str:
        """The name for descriptions and logs, on one line and without effect in Markdown: it is the server's text."""
        return as_title(self.name)

    @property
    def is_named(self) -> bool:
        return self.name != self.id

    def to_metadata(self) -> dict[str, Any]:
        """The study as metadata of an asset's definition, without default values, because people read it."""
        start = self.start.isoformat() if self.start else None
        config = self.config.model_dump(mode="json", exclude_defaults=True)
        facts = {**vars(self), "start": start, "config": config}
        return {METADATA_KEY: {name: value for name, value in facts.items() if value}}

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, Any]) -> Study | None:
        """The study from an asset's metadata, or None for an asset that belongs to no study."""
        value = metadata.get(METADATA_KEY)
        value = getattr(value, "value", value)
        if not isinstance(value, Mapping):
            return None
        return cls(**{**value, "start": _date(value.get("start")), "config": _config(value["config"])})


def _config(fields: Mapping[str, Any]) -> StudyConfig:
    """Not checked again: a study's warnings are for when its configuration is read."""
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}
    values["start"] = _date(fields.get("start"))
    return StudyConfig.model_construct(None, **values)


def _date(text: str | None) -> date | None:
    return date.fromisoformat(text) if text else None
