"""What a lab configures for notices: of which problems, to whom, and how."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

import dagster as dg
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from dagster_beiwe.credentials import find_secret, is_loopback
from dagster_beiwe.environment import BEIWE_SMTP_PASSWORD, BEIWE_SMTP_USERNAME, check_variable_names, file_variable
from dagster_beiwe.errors import ConfigurationError
from dagster_beiwe.notices.mail import PORTS, MailServer, Security, send_mail
from dagster_beiwe.notices.message import Message
from dagster_beiwe.notices.problems import Check
from dagster_beiwe.notices.webhooks import check_url, post_to_slack, post_to_webhook
from dagster_beiwe.text import listed

DEFAULT_SECONDS = 300

_ADDRESS = re.compile(r"[^@\s<>(),:;\"\\]+@[A-Za-z0-9.-]+")
_NAME = re.compile(r"[A-Za-z0-9_]{1,60}")


class Notices(dg.Resolvable, BaseModel):
    """Who gets a message about new problems, and how. Raises ``ConfigurationError`` for what cannot be used.

    Give exactly one of ``email_to``, ``slack_url_variable``, and ``webhook_url_variable``. Secrets are in environment
    variables, whose names are given here.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    email_to: tuple[str, ...] = ()
    """The email addresses that get a message."""

    email_from: str | None = None
    """The sender of emails."""

    smtp_host: str | None = None
    """The mail server."""

    smtp_port: int | None = Field(default=None, ge=1, le=65535)
    """The mail server's port. Default: 587, or 465 with ``tls``."""

    smtp_security: Security = "starttls"
    """How mail is protected on its way: ``none`` only for a server on this machine."""

    smtp_username_variable: str = BEIWE_SMTP_USERNAME
    """The variable with the login name, if the mail server wants one."""

    smtp_password_variable: str = BEIWE_SMTP_PASSWORD  # a name, not a password
    """The variable with the password that belongs to it."""

    slack_url_variable: str | None = None
    """The variable with the address of an incoming webhook of Slack."""

    webhook_url_variable: str | None = None
    """The variable with the address of a webhook of any other service, which gets JSON."""

    studies: tuple[str, ...] = ()
    """The keys of the studies to report on. Default: all."""

    checks: tuple[str, ...] = ()
    """The names of the checks to report on. Default: all."""

    warnings: bool = True
    """Whether failures with the severity WARN are reported, or only errors."""

    seconds: int = Field(default=DEFAULT_SECONDS, ge=30)
    """How often, in seconds, the results of the checks are looked at."""

    dagster_url: str | None = None
    """The address of Dagster's UI, for links."""

    name: str | None = None
    """The last part of the sensor's name. Default: the way of sending. Needed if two notices use the same way."""

    def __init__(self, **fields: Any) -> None:
        try:
            super().__init__(**fields)
        except ValidationError as error:
            problems = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
            raise ConfigurationError(
                f"Notices cannot be configured like this; nothing was built. {problems}. The fields are: "
                f"{', '.join(Notices.model_fields)}."
            ) from None

    @model_validator(mode="after")
    def _check(self) -> Notices:
        ways = [self.email_to, self.slack_url_variable, self.webhook_url_variable]
        if sum(map(bool, ways)) != 1:
            raise ConfigurationError(
                "Each of the notices needs exactly one of `email_to`, `slack_url_variable`, and "
                "`webhook_url_variable`. Nothing was built. Write one item for each way."
            )
        if self.name is not None and not _NAME.fullmatch(self.name):
            raise ConfigurationError(
                f"`name` of notices is {self.name[:60]!r}. Nothing was built. Use letters, digits and '_' only."
            )
        check_variable_names(**{name: getattr(self, name) for name in type(self).model_fields if "_variable" in name})
        if self.dagster_url is not None and not _is_plain_address(self.dagster_url):
            raise ConfigurationError(
                "`dagster_url` of notices is not an address like https://dagster.example.org, without user name and "
                "password. Nothing was built. Correct it: every message contains it."
            )
        if self.email_to:
            self._check_email()
        return self

    def _check_email(self) -> None:
        if not self.email_from or not self.smtp_host:
            raise ConfigurationError(
                "Notices by email need `email_from` and `smtp_host`. Nothing was built. Add them beside `email_to`."
            )
        for address in (*self.email_to, self.email_from):
            if not (address.isascii() and _ADDRESS.fullmatch(address)):
                raise ConfigurationError(
                    f"{address[:80]!r} in notices is not an email address. Nothing was built. Write it like "
                    "name@example.org."
                )
        if self.smtp_security == "none" and not is_loopback(self.smtp_host):
            raise ConfigurationError(
                f"`smtp_security: none` would send notices to {self.smtp_host[:80]} in the clear. Nothing was built. "
                "Use `starttls` or `tls`: only a server on this machine can do without."
            )

    @property
    def sensor_name(self) -> str:
        """The name of the sensor that sends them."""
        way = "email" if self.email_to else "slack" if self.slack_url_variable else "webhook"
        return f"beiwe_notices_{self.name or way}"

    def is_about(self, check: Check) -> bool:
        """Whether a check is to be reported."""
        return check.study in (self.studies or (check.study,)) and check.name in (self.checks or (check.name,))

    def unknown(self, checks: Iterable[Check]) -> str:
        """The studies and checks to report on that are not among all checks: misspelled, or of a study that is gone."""
        there = {name for check in checks for name in (check.study, check.name)}
        return listed([name for name in (*self.studies, *self.checks) if name not in there])

    def send(self, message: Message, environ: Mapping[str, str]) -> list[str]:
        """Send now; returns the email addresses that the server refuses for good.

        Raises ``NoticeNotSentError`` if nobody gets it, and ``ConfigurationError`` for variables that are missing.
        """
        if self.email_to:
            assert self.email_from
            return send_mail(message, self._mail_server(environ), sender=self.email_from, to=self.email_to)
        post, variable = (
            (post_to_slack, self.slack_url_variable)
            if self.slack_url_variable
            else (post_to_webhook, self.webhook_url_variable)
        )
        assert variable
        post(message, check_url(_value(environ, variable), variable))
        return []

    def _mail_server(self, environ: Mapping[str, str]) -> MailServer:
        assert self.smtp_host
        username = environ.get(self.smtp_username_variable, "")
        return MailServer(
            host=self.smtp_host,
            port=self.smtp_port or PORTS[self.smtp_security],
            security=self.smtp_security,
            username=username,
            password=_value(environ, self.smtp_password_variable) if username else "",
        )


def _is_plain_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return (
            parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0 and "@" not in parts.netloc
        )
    except ValueError:  # of a port that is none, such as a password with a slash
        return False


def _value(environ: Mapping[str, str], variable: str) -> str:
    if secret := find_secret(variable, environ):
        return secret.value
    raise ConfigurationError(
        f"{variable} is not set, so no notice could be sent. It is sent as soon as the variable is set. Set it where "
        f"Dagster's code location runs, or let {file_variable(variable)} name a file with it."
    )
