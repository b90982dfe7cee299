"""Messages on their way: to a real mail server, to Slack's webhook, and to any other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from receivers import HOST, PASSWORD, USERNAME, MailReceiver, WebReceiver, free_port, write_certificate

from dagster_beiwe.errors import ConfigurationError, NoticeNotSentError
from dagster_beiwe.notices.mail import MailServer, Security, send_mail
from dagster_beiwe.notices.message import Message
from dagster_beiwe.notices.webhooks import check_url, post_to_slack, post_to_webhook

ANNA, BERT = "anna@lab.org", "bert@lab.org"
MESSAGE = Message(subject="Beiwe: 1 new problem", text="a < b & c\n", facts={"problems": [1]}, identity="abc123")


@pytest.fixture
def mail() -> Iterator[MailReceiver]:
    receiver = MailReceiver().start()
    yield receiver
    receiver.stop()


@pytest.fixture
def web() -> Iterator[WebReceiver]:
    receiver = WebReceiver().start()
    yield receiver
    receiver.stop()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_certificate(tmp_path_factory.mktemp("tls") / "certificate.pem")


@pytest.fixture
def encrypted(certificate: Path) -> Iterator[Callable[..., MailReceiver]]:
    """Makes mail servers with TLS that want a login."""
    running: list[MailReceiver] = []

    def make(*, implicit_tls: bool) -> MailReceiver:
        running.append(MailReceiver(certificate=certificate, implicit_tls=implicit_tls, login=True).start())
        return running[-1]

    yield make
    for receiver in running:
        receiver.stop()


def send(port: int, *to: str, security: Security = "none", **login: str) -> list[str]:
    server = MailServer(host=HOST, port=port, security=security, **login)
    return send_mail(MESSAGE, server, sender="beiwe@lab.org", to=to or (ANNA, BERT))


def test_a_mail_says_what_the_message_says(mail: MailReceiver) -> None:
    """One mail for all, which no holiday answers, and which a second attempt repeats under the same id."""
    assert send(mail.port) == []
    (received,) = mail.mails
    assert mail.recipients == [[ANNA, BERT]]
    assert received.get_content().splitlines() == MESSAGE.text.splitlines()
    headers = ("Subject", "From", "To", "Message-ID", "Auto-Submitted")
    assert [received[name] for name in headers] == [
        MESSAGE.subject, "beiwe@lab.org", f"{ANNA}, {BERT}", "<abc123@lab.org>", "auto-generated",
    ]  # fmt: skip


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_mails_and_logins_are_encrypted(
    security: Security, encrypted: Callable[..., MailReceiver], certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything else is said, with a certificate that is trusted; a wrong password sends nothing."""
    receiver = encrypted(implicit_tls=security == "tls")
    with pytest.raises(NoticeNotSentError, match="certificate is not trusted"):
        send(receiver.port, security=security, username=USERNAME, password=PASSWORD)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with pytest.raises(NoticeNotSentError, match=r"refused the user name or the password \(535\)") as caught:
        send(receiver.port, security=security, username=USERNAME, password="a wrong secret")
    assert "a wrong secret" not in str(caught.value)
    assert caught.value.__context__ is None
    assert receiver.mails == []
    send(receiver.port, security=security, username=USERNAME, password=PASSWORD)
    assert len(receiver.mails) == 1
    assert receiver.logins[-1] == (USERNAME, PASSWORD)


def test_a_server_without_tls_gets_nothing_in_the_clear(mail: MailReceiver) -> None:
    """There is no falling back."""
    with pytest.raises(NoticeNotSentError, match="smtp not supported"):
        send(mail.port, security="starttls", username=USERNAME, password=PASSWORD)
    assert (mail.mails, mail.logins) == ([], [])


def test_nobody_gets_what_somebody_could_get_only_later(mail: MailReceiver) -> None:
    """The next attempt is for everybody, so it would be the second mail for the others."""
    mail.refuse[BERT] = "450 greylisted, try again"
    with pytest.raises(NoticeNotSentError, match="450 greylisted"):
        send(mail.port)
    assert mail.mails == []
    mail.refuse.clear()
    send(mail.port)
    assert mail.recipients == [[ANNA, BERT]]


def test_an_address_that_is_refused_for_good_keeps_nobody_else_from_theirs(mail: MailReceiver) -> None:
    """It is returned; if all are refused, nothing was sent."""
    mail.refuse[BERT] = "550 no such user"
    assert send(mail.port) == [BERT]
    assert mail.recipients == [[ANNA]]
    with pytest.raises(NoticeNotSentError, match="550 no such user"):
        send(mail.port, BERT)


def test_what_follows_after_a_mail_was_accepted_is_no_error(mail: MailReceiver) -> None:
    """Or it would be sent twice."""
    mail.refuse_quit = "421 shutting down"
    assert send(mail.port) == []
    assert len(mail.mails) == 1


def test_a_mail_that_is_not_accepted_is_an_error(mail: MailReceiver) -> None:
    """As is a server that is not there."""
    mail.refuse_data = "451 disk full"
    with pytest.raises(NoticeNotSentError, match="451 disk full"):
        send(mail.port)
    with pytest.raises(NoticeNotSentError, match=r"127\.0\.0\.1:\d+ did not accept .* connection refused"):
        send(free_port())


def test_a_mail_server_that_takes_too_long_gets_nothing(mail: MailReceiver) -> None:
    """Dagster would not hear that it was sent, and the next evaluation would send it again."""
    server = MailServer(host=HOST, port=mail.port, security="none")
    with pytest.raises(NoticeNotSentError, match=r"timeout error\. Nobody received it"):
        send_mail(MESSAGE, server, sender="beiwe@lab.org", to=[ANNA], seconds=0)
    assert mail.mails == []


def test_slack_gets_text_that_formats_nothing(web: WebReceiver) -> None:
    """Under the address of the webhook, which is a secret."""
    post_to_slack(MESSAGE, f"http://{HOST}:{web.port}/services/T0/B0/secret")
    assert web.paths == ["/services/T0/B0/secret"]
    assert web.posts == [{"text": "Beiwe: 1 new problem\n\na &lt; b &amp; c\n", "mrkdwn": False}]


def test_a_webhook_gets_text_and_facts(web: WebReceiver) -> None:
    """And a key by which it can tell a second attempt."""
    post_to_webhook(MESSAGE, f"http://{HOST}:{web.port}/hook?sig=secret")
    assert web.posts == [{"subject": MESSAGE.subject, "text": MESSAGE.text, "problems": [1]}]
    assert web.headers[0]["Idempotency-Key"] == "abc123"
    assert web.paths == ["/hook?sig=secret"]


@pytest.mark.parametrize("status", [302, 404, 500])
def test_a_webhook_that_does_not_accept_is_an_error_without_its_address(web: WebReceiver, status: int) -> None:
    """Nothing follows a redirect."""
    web.status = status
    with pytest.raises(
        NoticeNotSentError, match=f"127.0.0.1 did not accept the notice: it answered {status}"
    ) as caught:
        post_to_webhook(MESSAGE, f"http://{HOST}:{web.port}/secret")
    assert web.paths == ["/secret"]
    assert "secret" not in str(caught.value)


def test_a_webhook_that_is_not_there_is_an_error_without_its_address() -> None:
    """What the library says has the whole address, so it does not travel along."""
    url = f"http://{HOST}:{free_port()}/secret"
    with pytest.raises(NoticeNotSentError, match="connection error") as caught:
        post_to_webhook(MESSAGE, url)
    assert "secret" not in str(caught.value)
    assert caught.value.__context__ is None
    with pytest.raises(NoticeNotSentError, match=r"no\.\.such\.host did not"):
        post_to_webhook(MESSAGE, "https://no..such.host/secret")


@pytest.mark.parametrize(
    "url", ["http://hooks.example.org/secret", "ftp://localhost/secret", "secret", "https:///secret", "http://[secret"]
)
def test_webhooks_are_encrypted(url: str) -> None:
    """Only this machine can do without; the message does not repeat the address."""
    with pytest.raises(
        ConfigurationError, match="LAB_HOOK does not hold an address that begins with https://"
    ) as caught:
        check_url(url, "LAB_HOOK")
    assert "secret" not in str(caught.value)
    for good in ("https://hooks.example.org/secret", "http://localhost:8080/secret", " http://127.0.0.1/x\n"):
        assert check_url(good, "LAB_HOOK") == good.strip()
