"""A study's configuration: what can't be used is refused with the field, the value and the way out."""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone
from typing import Any

import pytest

from dagster_beiwe import Study, StudyConfig
from dagster_beiwe.component import StudyInYaml
from dagster_beiwe.errors import ConfigurationError, UnknownStreamError


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"study": " "}, "`study`"),
        ({"window": "hourly"}, "window: .*'daily', 'weekly' or 'monthly'"),
        ({"start": "last May"}, "`start` is 'last May'"),
        ({"start": datetime.now(timezone.utc).date() + timedelta(days=2)}, "not in the past"),
        ({"start": 3.5}, "start"),
        ({"key": "a b"}, "`key` is 'a b'.*use letters"),
        ({"key": "a", "study": "*"}, "`key` is 'a' for"),
        ({"encryption": "rot13"}, "cryptease, age, none"),
        ({"encryption": "age"}, "`encryption: age` needs `recipients`"),
        ({"compression": "gzip"}, "compression: .*'zstd' or 'none'"),
        ({"keep_superseded_days": -1}, "keep_superseded_days"),
        ({"keep_superseded_days": float("nan")}, "keep_superseded_days"),
        ({"refresh_windows": 0}, "refresh_windows: .*greater than or equal to 1"),
        ({"verify_share": 1.5}, "verify_share: .*less than or equal to 1"),
        ({"owners": ["somebody"]}, "email address"),
        ({"deployment": "a/b"}, "`deployment` is 'a/b'.*use letters"),
        ({"windows": "daily"}, "The fields are: study, key, name"),
    ],
)
def test_what_can_not_be_used_is_refused(fields: dict[str, Any], reason: str) -> None:
    """A ``ConfigurationError`` says what was expected and what came."""
    with pytest.raises(ConfigurationError, match=reason):
        StudyConfig(**{"study": "Sleep", **fields})


@pytest.mark.parametrize("field", ["streams", "plain_streams"])
def test_a_stream_that_is_probably_misspelled_is_warned_of(field: str, caplog: pytest.LogCaptureFixture) -> None:
    """Only the server can say whether it has a stream, so the configuration warns and does not fail."""
    StudyConfig("Sleep", **{field: ["powerstate"]})
    assert [record.getMessage() for record in caplog.records if "Did you mean 'power_state'" in record.getMessage()]


@pytest.mark.parametrize("field", ["streams", "plain_streams"])
def test_a_stream_that_only_some_server_has_can_be_configured(field: str, caplog: pytest.LogCaptureFixture) -> None:
    """No release of ours is needed for a stream to come; nothing in the catalog is like this one."""
    assert getattr(StudyConfig("Sleep", **{field: ["ai_chat_logs"]}), field) == ("ai_chat_logs",)
    assert caplog.records == []


@pytest.mark.parametrize("name", ["../etc", "GPS", "", "a" * 65, "gps\n", ".beiwe", "out_of_range"])
def test_a_name_that_no_stream_can_have_is_refused(name: str) -> None:
    """Names become folders and parts of requests."""
    with pytest.raises(UnknownStreamError, match="cannot be the name of a data stream"):
        StudyConfig("Sleep", streams=[name])


@pytest.mark.parametrize("start", ["2024-03-01", date(2024, 3, 1), datetime(2024, 3, 1, 12, tzinfo=timezone.utc)])
def test_a_start_may_be_text_or_date(start: object) -> None:
    """As YAML and Python users write it."""
    assert StudyConfig("Sleep", start=start).start == date(2024, 3, 1)


def test_yaml_makes_the_same_configuration() -> None:
    """A component's YAML and Python code mean the same."""
    text = "study: Sleep\nstart: 2024-03-01\nstreams: [gps, calls]\nwindow: daily\nowners: ['team:data']"
    expected = StudyConfig("Sleep", start="2024-03-01", streams=["gps", "calls"], window="daily", owners=["team:data"])
    assert StudyInYaml.resolve_from_yaml(text).model_dump() == expected.model_dump()


def test_a_study_travels_in_metadata() -> None:
    """IO managers learn about a study from the definition of the asset that they read."""
    config = StudyConfig("Sleep", plain_streams=["calls"], window="monthly", owners=["a@b.org"], study_pk=4)
    study = Study(id="a" * 24, name="Sleep", key="sleep", start=date(2024, 3, 1), config=config)
    assert study.config.streams == ()
    assert study.config.plain_streams == ("calls",)
    assert Study.from_metadata(study.to_metadata()) == study
    assert Study.from_metadata({}) is None


def test_metadata_say_what_is_not_as_it_is_by_default() -> None:
    """Dagster shows them on the page of each asset."""
    study = Study(id="a" * 24, name="Sleep", key="sleep", config=StudyConfig("Sleep", window="monthly"))
    (shown,) = study.to_metadata().values()
    assert shown == {"id": "a" * 24, "name": "Sleep", "key": "sleep", "config": {"study": "Sleep", "window": "monthly"}}


def test_what_is_configured_goes_before_what_is_known() -> None:
    """Key and start of the configuration win."""
    config = StudyConfig("Sleep", key="mine", start="2024-03-01")
    found = Study(id="a" * 24, name="Sleep", key="sleep", start=date(2020, 1, 1), config=StudyConfig("a" * 24))
    study = found.configured(config)
    assert (study.key, study.start) == ("mine", date(2024, 3, 1))
