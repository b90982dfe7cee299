"""Send a message by email."""

from __future__ import annotations

import smtplib
import ssl
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email import policy
from email.message import EmailMessage
from email.utils import formatdate
from typing import Final, Literal, TypeAlias

from dagster_beiwe.errors import NoticeNotSentError
from dagster_beiwe.notices.message import Message
from dagster_beiwe.text import error_in_words, one_line

Security: TypeAlias = Literal["starttls", "tls", "none"]

PORTS: Final = {"starttls": 587, "tls": 465, "none": 25}

_ANSWER_SECONDS, _SECONDS = 10, 40
"""For each answer of the server, and until the message is handed over. Dagster gives a sensor 60 s, and does not hear
of what was sent later: it would be sent again and again."""


@dataclass(frozen=True, kw_only=True)
class MailServer:
    """An SMTP server, and how to log in to it; without a user name, it is used as it is."""

    host: str
    port: int
    security: Security
    username: str = ""
    password: str = field(default="", repr=False)

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"


def send_mail(
    message: Message, server: MailServer, *, sender: str, to: Sequence[str], seconds: float = _SECONDS
) -> list[str]:
    """Send to all recipients, and return the addresses that the server refuses for good.

    Raises ``NoticeNotSentError`` if nobody gets it: also if the server takes one address only later, because the next
    attempt would be the second message for the others, and if it is not ready for the message after so many
    ``seconds``. Once the server has accepted the message, nothing that follows is an error.
    """
    deadline = time.monotonic() + seconds
    mail = EmailMessage(policy=policy.SMTP)
    mail["Subject"], mail["From"], mail["To"] = message.subject, sender, ", ".join(to)
    mail["Date"] = formatdate()
    mail["Message-ID"] = f"<{message.identity}@{sender.rpartition('@')[2]}>"
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content(message.text)
    try:
        with _connection(server) as smtp:
            return _deliver(smtp, mail.as_bytes(), sender=sender, to=to, deadline=deadline)
    except (smtplib.SMTPException, OSError, ValueError) as error:  # ValueError: of a host that cannot be one
        problem = _what(error)
    raise NoticeNotSentError(  # out here, without the error: what it says may be what was sent
        f"The mail server {server.address} did not accept the notice: {problem}. Nobody received it. It is sent again "
        "at the next evaluation."
    )


@contextmanager
def _connection(server: MailServer) -> Iterator[smtplib.SMTP]:
    """A connection that is encrypted, unless the server is on this machine."""
    context = ssl.create_default_context()
    if server.security == "tls":
        smtp: smtplib.SMTP = smtplib.SMTP_SSL(server.host, server.port, timeout=_ANSWER_SECONDS, context=context)
    else:
        smtp = smtplib.SMTP(server.host, server.port, timeout=_ANSWER_SECONDS)
    try:
        if server.security == "starttls":
            smtp.starttls(context=context)
        if server.username:
            smtp.login(server.username, server.password)
        yield smtp
    finally:
        with suppress(smtplib.SMTPException, OSError):  # the message was accepted before, or an error says why not
            smtp.quit()
        smtp.close()


def _deliver(smtp: smtplib.SMTP, mail: bytes, *, sender: str, to: Sequence[str], deadline: float) -> list[str]:
    """The mail's transaction; returns the refused addresses."""
    smtp.ehlo_or_helo_if_needed()
    _accepted(smtp.mail(sender))
    refused = []
    for address in to:
        code, text = smtp.rcpt(address)
        if code >= 500:
            refused.append(address)
        elif code not in (250, 251):
            raise smtplib.SMTPResponseException(code, text)
    if len(refused) == len(to):
        raise smtplib.SMTPResponseException(code, text)
    if time.monotonic() > deadline:
        raise TimeoutError
    _accepted(smtp.data(mail))
    return refused


def _accepted(answer: tuple[int, bytes]) -> None:
    if answer[0] != 250:
        raise smtplib.SMTPResponseException(*answer)


def _what(error: Exception) -> str:
    """Why it failed; what a server says of a login is left out."""
    if isinstance(error, smtplib.SMTPAuthenticationError):
        return f"it refused the user name or the password ({error.smtp_code})"
    if isinstance(error, smtplib.SMTPResponseException):
        said = error.smtp_error.decode(errors="replace") if isinstance(error.smtp_error, bytes) else error.smtp_error
        return f"it answered {error.smtp_code} {one_line(said)[:200]}"
    if isinstance(error, ssl.SSLError):
        return "the encrypted connection could not be set up, or its certificate is not trusted"
    return error_in_words(type(error).__name__)
