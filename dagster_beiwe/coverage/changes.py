"""Settings that changed, as a coverage table carries them: pictures mark their days."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import date

import pandas as pd

_CHANGES = "settings_changes"


@dataclass(frozen=True, kw_only=True)
class SettingChange:
    """A setting that was found changed on a study-local day. Texts are empty if its value is not known."""

    day: date
    setting: str
    before: str = ""
    after: str = ""


def with_changes(frame: pd.DataFrame, changes: Iterable[SettingChange]) -> pd.DataFrame:
    """The coverage table with what changed in its ``attrs``, which the lake keeps."""
    changed = [{**asdict(each), "day": each.day.isoformat()} for each in sorted(changes, key=lambda each: each.day)]
    carrying: pd.DataFrame = frame.copy(deep=False)
    carrying.attrs = {**frame.attrs, _CHANGES: changed}
    return carrying


def changes_in(frame: pd.DataFrame) -> list[SettingChange]:
    """What changed, oldest first."""
    return [SettingChange(**{**each, "day": date.fromisoformat(each["day"])}) for each in frame.attrs.get(_CHANGES, ())]
