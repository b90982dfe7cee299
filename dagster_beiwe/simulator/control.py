"""Change the world from another process: ``POST /_simulator/<action>`` with a JSON object, loopback only.

Web pages that the user visits must not reach it through the browser, so it checks for whom a request is and from where.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import date, datetime, timedelta, timezone
from typing import Any

from dagster_beiwe.simulator.answers import Answer, json_answer
from dagster_beiwe.simulator.forms import Request
from dagster_beiwe.simulator.plans import ParticipantPlan
from dagster_beiwe.simulator.world import World

Actions = Mapping[str, Callable[..., Any]]

PREFIX = "/_simulator/"
READING = frozenset({"requests", "world"})
"""Actions that change nothing."""
MUTATIONS = frozenset(
    {
        "add_answers",
        "add_hour",
        "add_rows",
        "analyze",
        "change_settings",
        "change_zone",
        "count",
        "flag_deleted",
        "go_offline",
        "go_online",
        "forget_sha1",
        "hide_study",
        "lose_object",
        "rename_study",
        "register",
        "reprocess",
        "restore_object",
        "retire",
        "set_intervention",
        "spoil",
        "delete_files",
    }
)
_MOMENTS = frozenset({"hour", "moment", "start", "end"})
_DAYS = frozenset({"day", "first", "last"})


def is_own(request: Request, *, port: int) -> bool:
    """Whether a request is for this server under a loopback name, and, if it changes something, from its own page.

    Programs send no ``Origin``. Browsers do, and a page cannot make them leave it out; a page whose name was rebound to
    the loopback address sends that name as ``Host``.
    """
    headers, host = request.headers, request.headers.get("host", "")
    if host not in (f"127.0.0.1:{port}", f"localhost:{port}"):
        return False
    if request.method in ("GET", "HEAD"):
        return True
    return headers.get("origin", f"http://{host}") == f"http://{host}" and (
        headers.get("sec-fetch-site", "same-origin") in ("same-origin", "none")
    )


def answer(act: Callable[[str, dict[str, Any]], Any], request: Request, body: bytes) -> Answer:
    """Run one action with ``act``, the server's own or a change of the world.

    It takes the arguments of the method of the same name, times as ISO 8601.
    """
    action = request.route.removeprefix(PREFIX)
    try:
        return json_answer(act(action, json.loads(body or b"{}")))
    except (KeyError, LookupError, TypeError, ValueError) as error:
        failed = json_answer({"error": f"{type(error).__name__}: {error}"})
        return replace(failed, status=400)


def run(world: World, own: Actions, action: str, given: Any) -> Any:
    """Run an action with arguments as JSON. Raises ``LookupError``, ``TypeError``, or ``ValueError`` for a mistake."""
    arguments = _arguments(given)
    if action in own:
        result = own[action](**arguments)
        return {} if result is None else result
    if action in ("advance", "live"):
        by = timedelta(**arguments)
        world.advance(by) if action == "advance" else world.live(world.now + by)
        return {"now": world.now.isoformat()}
    if action == "add_participant":
        study_id = arguments.pop("study_id")
        return {"id": world.add_participant(study_id, ParticipantPlan(**arguments))}
    if action == "world":
        return {one.id: {"name": one.name, "participants": sorted(one.participants)} for one in world.studies.values()}
    if action not in MUTATIONS:
        raise LookupError(f"no such action: {action}")
    getattr(world, action)(**arguments)
    return {}


def _arguments(given: Any) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise ValueError("expected a JSON object")
    return {name: _argument(name, value) for name, value in given.items()}


def _argument(name: str, value: Any) -> Any:
    if name in _MOMENTS and isinstance(value, str):
        moment = datetime.fromisoformat(value.replace("Z", "+00:00"))
        return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
    return date.fromisoformat(value) if name in _DAYS and isinstance(value, str) else value
