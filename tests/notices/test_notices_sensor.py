"""The sensor that tells of new problems, with Dagster's history, a real mail server, and what a lab configures."""

# Without `from __future__ import annotations`: Dagster reads the types of checks when it decorates.

import json
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

import dagster as dg
import pytest
import time_machine
from dagster._core.remote_representation.external_data import RepositorySnap
from receivers import HOST, MailReceiver, WebReceiver

from dagster_beiwe import BeiweComponent, Notices, Study, StudyConfig
from dagster_beiwe.automation.notices_sensor import build_notices_sensors
from dagster_beiwe.errors import ConfigurationError, NoticeNotSentError
from dagster_beiwe.runs.check_history import FAILING_METADATA

WARN, ERROR = dg.AssetCheckSeverity.WARN, dg.AssetCheckSeverity.ERROR
SECRET = "hooks/secret"


def study(key: str) -> Study:
    return Study(id=key * 8, name=key, key=key, config=StudyConfig(key))


SLEEP, MOOD = study("sleep"), study("mood")
OTHER = dg.AssetKey("other")


def key(of: Study | dg.AssetKey, check: str) -> dg.AssetCheckKey:
    return dg.AssetCheckKey(of if isinstance(of, dg.AssetKey) else of.asset_key("coverage"), check)


class Office:
    """A project with checks, its history, and whoever reads the notices."""

    def __init__(self, instance: dg.DagsterInstance, notices: Notices) -> None:
        self.instance, self.skipped = instance, ""
        self.cursor: str | None = None
        (self._sensor,) = build_notices_sensors([notices])
        assets = [dg.AssetSpec(each.asset_key("coverage"), metadata=each.to_metadata()) for each in (SLEEP, MOOD)]
        keys = [key(of, check) for of in (SLEEP, MOOD, OTHER) for check in ("silent", "complete")]

        @dg.multi_asset_check(specs=[dg.AssetCheckSpec(each.name, asset=each.asset_key) for each in keys])
        def checks() -> Iterator[dg.AssetCheckResult]:
            yield from ()

        self.definitions = dg.Definitions(
            assets=[*assets, dg.AssetSpec(OTHER)], asset_checks=[checks], sensors=[self._sensor]
        )

    def say(
        self,
        passed: bool,
        *,
        of: Study | dg.AssetKey = SLEEP,
        check: str = "silent",
        severity: dg.AssetCheckSeverity = WARN,
        **participants: str,
    ) -> None:
        """A check has this result now."""
        named = {FAILING_METADATA: dg.MetadataValue.json(participants)} if participants else {}
        at = key(of, check)
        self.instance.report_runless_asset_event(
            dg.AssetCheckEvaluation(
                asset_key=at.asset_key,
                check_name=at.name,
                passed=passed,
                severity=severity,
                description="Anna was at 42.35, -71.06.",
                metadata={**named, "row": "42.35, -71.06"},
            )
        )

    def begin(self) -> "Office":
        """The first evaluation, which only notes where to begin."""
        self.look()
        return self

    def look(self) -> None:
        """One evaluation of the sensor, which keeps its cursor unless it fails."""
        with dg.build_sensor_context(
            instance=self.instance, cursor=self.cursor, definitions=self.definitions
        ) as context:
            result = self._sensor.evaluate_tick(context)
        self.cursor, self.skipped = result.cursor, str(result.skip_message or "")


@pytest.fixture
def mail() -> Iterator[MailReceiver]:
    receiver = MailReceiver().start()
    yield receiver
    receiver.stop()


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[WebReceiver]:
    receiver = WebReceiver().start()
    monkeypatch.setenv("LAB_HOOK", f"http://{HOST}:{receiver.port}/{SECRET}")
    yield receiver
    receiver.stop()


@pytest.fixture
def office(instance: dg.DagsterInstance) -> Callable[..., Office]:
    """Makes one that tells the web server."""
    return lambda **configured: Office(instance, Notices(webhook_url_variable="LAB_HOOK", **configured))


def people(web: WebReceiver) -> list[list[tuple[str, str | None]]]:
    """Who was told of in each message: study and participant."""
    return [[(each["study"], each["participant"]) for each in post["problems"]] for post in web.posts]


def test_mails_tell_of_each_problem_once(instance: dg.DagsterInstance, mail: MailReceiver) -> None:
    """With counts and ids, and nothing of what the check describes; a restart tells nothing again."""
    notices = Notices(
        email_to=["anna@lab.org"],
        email_from="beiwe@lab.org",
        smtp_host=HOST,
        smtp_port=mail.port,
        smtp_security="none",
    )
    office = Office(instance, notices).begin()
    office.say(False, anna0001="WARN", bert0002="WARN")
    office.look()
    text = mail.mails[0].get_content()
    assert "sleep: silent (warning), " in text
    assert "2 participants: anna0001, bert0002" in text
    assert "42.35" not in mail.mails[0].as_string()
    office.say(False, anna0001="WARN", bert0002="WARN", cleo0003="WARN")
    restarted = Office(instance, notices)
    restarted.cursor = office.cursor
    restarted.look()
    assert "1 participant: cleo0003" in mail.mails[1].get_content()
    restarted.look()
    assert len(mail.mails) == 2
    assert restarted.skipped == "0 new problems reported; 4 checks watched."


def test_whoever_turns_notices_on_is_told_what_fails_now(office: Callable[..., Office], web: WebReceiver) -> None:
    """At the second look, and nothing of the past; the first one only notes where to begin."""
    first = office()
    first.say(False, check="complete", severity=ERROR)
    first.say(True, check="complete")
    first.say(False, anna0001="WARN")
    first.say(False, of=MOOD, check="complete")
    first.look()
    assert web.posts == []
    first.look()
    assert people(web) == [[("mood", None), ("sleep", "anna0001")]]


def test_a_failure_to_send_loses_nothing_and_doubles_nothing(office: Callable[..., Office], web: WebReceiver) -> None:
    """The evaluation fails, so that somebody sees it, and the next one tells all that came since."""
    lab = office().begin()
    lab.say(False, anna0001="WARN")
    web.status = 500
    for _ in range(2):
        with pytest.raises(NoticeNotSentError, match="answered 500"):
            lab.look()
    lab.say(False, bert0002="WARN")
    web.posts.clear()
    web.status = 200
    lab.look()
    lab.look()
    (message,) = web.posts
    told = [(each["participant"], each["resolved"]) for each in message["problems"]]
    assert told == [("anna0001", True), ("bert0002", False)]


def test_a_problem_that_comes_back_is_told_again(office: Callable[..., Office], web: WebReceiver) -> None:
    """Even if it was over for less time than passes between two looks."""
    lab = office().begin()
    for passed in (False, False, True, False):
        lab.say(passed, check="complete", severity=ERROR)
        lab.look()
    lab.say(True, check="complete")
    lab.say(False, check="complete", severity=ERROR)
    lab.look()
    assert people(web) == [[("sleep", None)]] * 3


@pytest.mark.parametrize(
    ("configured", "told"),
    [
        ({}, {("sleep", "anna"), ("sleep", "bert"), ("sleep", None), ("mood", None)}),
        ({"warnings": False}, {("sleep", "bert"), ("mood", None)}),
        ({"checks": ["silent"]}, {("sleep", "anna"), ("sleep", "bert")}),
        ({"studies": ["mood"]}, {("mood", None)}),
    ],
)
def test_notices_can_be_about_less(
    configured: Mapping[str, Any], told: set[tuple[str, str | None]], office: Callable[..., Office], web: WebReceiver
) -> None:
    """Studies, checks, or errors alone; checks of assets that belong to no study are never told."""
    lab = office(**configured).begin()
    lab.say(False, severity=ERROR, anna="WARN", bert="ERROR")
    lab.say(False, check="complete")
    lab.say(False, of=MOOD, check="complete", severity=ERROR)
    lab.say(False, of=OTHER, severity=ERROR)
    lab.look()
    assert {each for message in people(web) for each in message} == told


def test_notices_about_what_is_not_there_say_so(office: Callable[..., Office]) -> None:
    """Or a misspelled name would silence them."""
    lab = office(studies=["sleep", "slep"], checks=["silnt"]).begin()
    assert lab.skipped == "0 new problems reported; 0 checks watched. No such study or check: slep, silnt."


def test_a_run_that_began_first_and_ended_last_is_seen(office: Callable[..., Office], web: WebReceiver) -> None:
    """Dagster lists results by when their runs were planned."""
    lab, now = office(), datetime.now(timezone.utc)
    with time_machine.travel(now + timedelta(minutes=30)):
        lab.say(False)
    with time_machine.travel(now + timedelta(minutes=10)):
        lab.say(True)
    seen = (now + timedelta(minutes=20)).timestamp()
    lab.cursor = json.dumps({"beiwe/sleep/coverage silent": {"at": seen, "open": {}}})
    lab.look()
    assert people(web) == [[("sleep", None)]]


def test_a_cursor_that_cannot_be_read_tells_what_fails_now(office: Callable[..., Office], web: WebReceiver) -> None:
    """Rather twice than never."""
    lab = office()
    lab.say(False, anna0001="WARN")
    for cursor in ("", "nonsense", "[]", '{"beiwe/sleep/coverage silent": {}}'):
        lab.cursor = cursor
        lab.begin().look()
    assert people(web) == [[("sleep", "anna0001")]] * 4


def test_a_missing_variable_fails_the_evaluation(office: Callable[..., Office]) -> None:
    """As soon as there is something to tell; definitions load without it."""
    lab = office().begin()
    lab.say(False)
    with pytest.raises(ConfigurationError, match="LAB_HOOK is not set, so no notice could be sent"):
        lab.look()


def test_dagster_knows_names_of_secrets_only(office: Callable[..., Office], web: WebReceiver) -> None:
    """In what it stores of the sensor, in its cursor, and in what a failed evaluation says."""
    lab = office().begin()
    lab.say(False)
    web.status = 500
    with pytest.raises(NoticeNotSentError) as caught:
        lab.look()
    web.status = 200
    lab.look()
    snapshot = RepositorySnap.from_def(lab.definitions.get_repository_def())
    for text in (dg.serialize_value(snapshot), str(lab.cursor), lab.skipped, repr(caught.value)):
        assert SECRET not in text
    assert web.paths == [f"/{SECRET}"] * 2


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({}, "exactly one of"),
        ({"slack_url_variable": "A", "webhook_url_variable": "B"}, "exactly one of"),
        ({"email_to": ["a@b.org"]}, "need `email_from` and `smtp_host`"),
        ({"email_to": ["a@b.org, c@d.org"], "email_from": "a@b.org", "smtp_host": "x"}, "is not an email address"),
        ({"email_to": ["a@b.org"], "email_from": "a", "smtp_host": "x"}, "is not an email address"),
        ({"email_to": ["a@b.org"], "email_from": "a@b.org", "smtp_host": "x", "smtp_security": "none"}, "in the clear"),
        ({"email_to": ["é@b.org"], "email_from": "a@b.org", "smtp_host": "x"}, "is not an email address"),
        ({"slack_url_variable": f"https://hooks.example.org/{SECRET}"}, "not the name of an environment variable"),
        ({"slack_url_variable": "A", "dagster_url": f"https://lab:{SECRET}@example.org"}, "without user name"),
        ({"slack_url_variable": "A", "name": "a b"}, "Use letters"),
        ({"slack_url_variable": "A", "second": 30}, "second: Extra inputs"),
        ({"slack_url_variable": "A", "seconds": 1}, "greater than or equal to 30"),
    ],
)
def test_what_cannot_be_used_is_refused_at_once(fields: dict[str, Any], says: str) -> None:
    """Before Dagster starts, and without repeating a secret in the wrong place."""
    with pytest.raises(ConfigurationError, match=says) as caught:
        Notices(**fields)
    assert SECRET not in str(caught.value)


def test_each_of_several_notices_has_its_sensor() -> None:
    """Which is on, as nobody configures notices to get none."""
    slack = Notices(slack_url_variable="A", seconds=60)
    (sensor, other) = build_notices_sensors([slack, Notices(slack_url_variable="B", name="coordinator")])
    assert (sensor.name, other.name) == ("beiwe_notices_slack", "beiwe_notices_coordinator")
    assert (sensor.default_status, sensor.minimum_interval_seconds) == (dg.DefaultSensorStatus.RUNNING, 60)
    with pytest.raises(ConfigurationError, match="Two of the notices have the sensor beiwe_notices_slack"):
        build_notices_sensors([slack, slack])


def test_yaml_makes_the_same_notices() -> None:
    """In the component."""
    text = """
    notices:
      - email_to: [coordinator@lab.org]
        email_from: beiwe@lab.org
        smtp_host: smtp.lab.org
        checks: [silent]
      - slack_url_variable: LAB_SLACK_URL
    """
    mailed = Notices(
        email_to=["coordinator@lab.org"], email_from="beiwe@lab.org", smtp_host="smtp.lab.org", checks=["silent"]
    )
    component = BeiweComponent.resolve_from_yaml(text)
    assert component.notices == [mailed, Notices(slack_url_variable="LAB_SLACK_URL")]
