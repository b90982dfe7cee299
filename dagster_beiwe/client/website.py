"""Login to the website, and the export of a study's settings, for servers before 2025-03.

These servers have no endpoint for the settings. The page takes the study's number, which no endpoint returns: it is in
the address of the study's page on the website.
"""

from __future__ import annotations

from typing import Any

from dagster_beiwe.client.answers import settings_from
from dagster_beiwe.client.http import Request, Transport
from dagster_beiwe.client.json_bodies import parse_json
from dagster_beiwe.client.statuses import error_for_status
from dagster_beiwe.credentials import Credentials
from dagster_beiwe.environment import BEIWE_PASSWORD, BEIWE_USERNAME
from dagster_beiwe.errors import AccessDeniedError, ConfigurationError, CredentialsError, RedirectError

_EXPORT_PAGE = "export_study_settings_file"


def export_study_settings(transport: Transport, credentials: Credentials, study_pk: int) -> dict[str, Any]:
    """The settings of a study, in the form of get-study-settings.

    Raises ``CredentialsError`` without user name and password, ``AccessDeniedError`` if they are refused.
    """
    if isinstance(study_pk, bool) or study_pk < 1:
        raise ConfigurationError(
            f"study_pk is the study's number on the website, 1 or more, not {study_pk}. Nothing was requested."
        )
    cookie = _login(transport, credentials)
    page = f"{_EXPORT_PAGE}/{study_pk}"
    request = Request(method="GET", path=page, headers={"Cookie": f"sessionid={cookie}"})
    try:
        body = transport.read(request)
    except RedirectError as error:
        raise AccessDeniedError(
            f"After the login, {page} redirected to another page of the website. The settings were not read. The "
            "password may have expired, or the account may lack two-factor login. Log in with a browser once.",
            status=error.status,
        ) from None
    return settings_from(parse_json(body, _EXPORT_PAGE), _EXPORT_PAGE)


def _login(transport: Transport, credentials: Credentials) -> str:
    """The session cookie. Never retried, because ten wrong passwords lock the account for ten minutes."""
    if not credentials.username or not credentials.password:
        raise CredentialsError(
            "There is no user name and password for the website, which this old server requires for the settings. "
            f"Nothing was requested. Set {BEIWE_USERNAME} and {BEIWE_PASSWORD}, or USERNAME and PASSWORD in the "
            "keyring."
        )
    form = {"username": credentials.username, "password": credentials.password}
    answer = transport.answer(Request(path="validate_login", form=form), retry=False)
    cookie = answer.cookies.get("sessionid")
    if cookie:
        return cookie
    location = answer.header("Location") or ""
    if answer.status == 302 and location.startswith("/") and not location.startswith("//"):
        raise AccessDeniedError(
            "The website's login failed: the user name or password is wrong, the account is locked (for ten minutes "
            "after ten failures), or it requires a two-factor code, which is not supported. The login was not "
            "repeated.",
            status=answer.status,
        )
    raise error_for_status(answer, "the website's login") or AccessDeniedError(
        "The website's login started no session. It was not repeated.",
        status=answer.status,
    )
