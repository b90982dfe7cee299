"""The website pages that clients use without an API: login, and settings by the study's number."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from datetime import date

from dagster_beiwe.simulator.answers import Answer, html_page, not_a_route
from dagster_beiwe.simulator.endpoints import settings_file
from dagster_beiwe.simulator.forms import Request
from dagster_beiwe.simulator.people import Researcher, Study
from dagster_beiwe.simulator.profiles import Profile
from dagster_beiwe.simulator.statistics import fields_of
from dagster_beiwe.simulator.world import World

_FOURTEEN_DAYS = 14 * 24 * 3600
_VARY = {"Vary": "Cookie"}
_TABLEAU_PAGE = date(2025, 5, 1)


@dataclass(kw_only=True)
class Website:
    """Keeps logins; everything else comes from the world."""

    world: World
    _sessions: dict[str, str] = field(default_factory=dict, repr=False)

    def answer(self, request: Request, profile: Profile) -> Answer | None:
        """The page at a path, or None if no page is there."""
        route = request.route
        if route == "/validate_login":
            return self._login(request)
        if route in ("/", "/choose_study"):
            return Answer(body=html_page("Beiwe", "<p>Choose a study.</p>"))
        if route.startswith("/device_settings/"):
            return self._device_settings(request, route.rpartition("/")[2])
        if route.startswith("/export_study_settings_file/"):
            return self._export(request, profile, route.rpartition("/")[2])
        if route.startswith("/tableau/summary-statistics-wdc/v1/") and profile.day >= _TABLEAU_PAGE:
            return _tableau_page(request, profile)
        return None

    def _login(self, request: Request) -> Answer:
        if request.method != "POST":
            return Answer(status=405, headers={"Allow": "POST"})
        username, password = request.value("username"), request.value("password")
        for one in self.world.researchers:
            if one.active and one.username == username and one.password == password:
                token = secrets.token_hex(16)
                self._sessions[token] = one.username
                cookie = f"sessionid={token}; HttpOnly; Max-Age={_FOURTEEN_DAYS}; Path=/; SameSite=Lax"
                return _redirect("/choose_study", **{"Set-Cookie": cookie})
        return Answer(
            status=302, headers={"Location": "/", "Set-Cookie": "messages=wrong; HttpOnly; Path=/; SameSite=Lax"}
        )

    def _researcher(self, request: Request) -> Researcher | None:
        username = self._sessions.get(request.cookies.get("sessionid", ""))
        return next((one for one in self.world.researchers if one.username == username), None)

    def _study(self, researcher: Researcher, pk: str) -> Study | None:
        studies = self.world.studies.values()
        return next((s for s in studies if str(s.pk) == pk and not s.hidden and researcher.may_see(s.id)), None)

    def _device_settings(self, request: Request, pk: str) -> Answer:
        if not pk.isdigit():
            return not_a_route()
        researcher = self._researcher(request)
        if researcher is None:
            return _redirect(f"/?page={request.route}")
        study = self._study(researcher, pk)
        if study is None:
            return Answer(status=403)
        return Answer(body=html_page("Edit App Settings", f"<h2>{study.name}</h2>"), headers=_VARY)

    def _export(self, request: Request, profile: Profile, pk: str) -> Answer:
        researcher = self._researcher(request)
        if researcher is None:
            return _redirect("/")
        if not pk.isdigit():
            return Answer(status=400, headers=_VARY)
        study = self._study(researcher, pk)
        return Answer(status=403) if study is None else settings_file(study, profile)


def _tableau_page(request: Request, profile: Profile) -> Answer:
    """The fields of the daily statistics for Tableau, in a script. Public."""
    if request.method != "GET":
        return Answer(status=405, headers={"Allow": "GET"})
    fields = "\n".join(f"{{id: '{name}', dataType: tableau.dataTypeEnum.int,}}," for name in fields_of(profile))
    return Answer(body=html_page("Beiwe Data", f"<script>\nvar cols = [\n{fields}\n];\n</script>"))


def _redirect(location: str, **headers: str) -> Answer:
    return Answer(status=302, headers={"Location": location, **_VARY, **headers})
