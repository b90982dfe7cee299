"""The control page: one HTML page without scripts, on which a visitor makes things happen to the simulated server."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from html import escape
from typing import Any

from dagster_beiwe.simulator.answers import Answer
from dagster_beiwe.simulator.events import EVENTS, OF_PARTICIPANTS, OF_SERVER, OF_STUDIES, Event, events_of
from dagster_beiwe.simulator.forms import Request
from dagster_beiwe.simulator.misbehavior import Misbehavior
from dagster_beiwe.simulator.people import Participant, Study
from dagster_beiwe.simulator.world import World

_SAFE = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
}
_SHOWN = 8
_UNITS = ((86400, "day"), (3600, "hour"), (60, "minute"))


@dataclass(kw_only=True)
class ControlPage:
    """``act`` runs an action of ``control`` with arguments as JSON; ``active`` are the misbehaviors that are on."""

    world: World
    path: str
    act: Callable[[str, dict[str, Any]], Any]
    active: Callable[[], list[Misbehavior]]
    _happened: list[str] = field(default_factory=list)

    def answer(self, request: Request) -> Answer:
        """The page, or what follows a click: back to the page, where what happened is listed first."""
        if request.method not in ("GET", "HEAD"):
            self._happen(request.value("event") or "", request.value("target") or "")
            return Answer(status=303, headers={"Location": self.path, **_SAFE})
        with self.world.lock:
            return Answer(body=self._page().encode(), headers=_SAFE)

    def _happen(self, name: str, target: str) -> None:
        try:
            with self.world.lock:
                happening = EVENTS[name].make(self.world, target)
                for action, arguments in happening.actions:
                    self.act(action, dict(arguments))
            text = happening.text
        except LookupError as error:
            text = f"Nothing happened: {error.args[0] if error.args else name}."
        self._happened.insert(0, f"{time.strftime('%H:%M:%S')} {text}")
        del self._happened[_SHOWN:]

    def _page(self) -> str:
        active = self.active()
        down = any(one.name == "maintenance" for one in active)
        poisoned: dict[str | None, int] = {}
        for one in active:
            if one.name == "poisoned_hour":
                poisoned[one.participant] = poisoned.get(one.participant, 0) + 1
        studies = [study for study in self.world.studies.values() if not study.hidden]
        happened = "".join(f"<li>{escape(text)}</li>" for text in self._happened)
        return _PAGE.format(
            style=_STYLE,
            path=escape(self.path),
            now=f"{self.world.now:%A %d %B %Y, %H:%M} UTC{_behind(self.world.now)}",
            state='<strong class="bad">down for maintenance</strong>' if down else "up",
            buttons=_buttons(OF_SERVER),
            happened=f"<ul>{happened}</ul>" if happened else "<p>Nothing yet. Click something below.</p>",
            studies="".join(_study(self.world, study, poisoned, self.path) for study in studies),
            guide=_guide(EVENTS.values()),
        )


def _study(world: World, study: Study, poisoned: Mapping[str | None, int], path: str) -> str:
    rows = "".join(_row(world, person, poisoned.get(person.id, 0), path) for person in study.participants.values())
    return _STUDY.format(
        name=escape(study.name),
        id=escape(study.id),
        zone=escape(study.time_zone),
        path=escape(path),
        buttons=_buttons(OF_STUDIES, about=study.name),
        rows=rows,
    )


def _row(world: World, person: Participant, poisoned: int, path: str) -> str:
    buttons = _buttons({name: OF_PARTICIPANTS[name] for name in events_of(person)}, about=person.id)
    words, kind = _status(person)
    if poisoned:
        words, kind = f"{words}, {poisoned} poisoned hour{'s' if poisoned > 1 else ''}", "bad"
    return _ROW.format(
        id=escape(person.id),
        phone={"ANDROID": "Android", "IOS": "iOS"}.get(person.os, "none"),
        status=f'<span class="{kind}">{escape(words)}</span>',
        upload=_ago(person.last_upload, world.now),
        heartbeat=_ago(person.last_heartbeat, world.now),
        form=_FORM.format(path=escape(path), target=escape(person.id), buttons=buttons) if buttons else "",
    )


def _status(person: Participant) -> tuple[str, str]:
    """In words, and how to color them."""
    if person.deleted:
        return "deleted", "dim"
    if person.retired:
        return "retired", "dim"
    if person.first_registration is None:
        return "not registered", "dim"
    return ("offline", "warn") if person.offline_since is not None else ("sends", "good")


def _behind(now: datetime) -> str:
    hours = (datetime.now(timezone.utc) - now) // timedelta(hours=1)
    return f", {hours} hours behind yours" if hours > 1 else ""


def _ago(moment: datetime | None, now: datetime) -> str:
    if moment is None:
        return "never"
    seconds = max(0, int((now - moment).total_seconds()))
    for size, unit in _UNITS:
        if seconds >= size:
            number = seconds // size
            return f"{number} {unit}{'s' if number > 1 else ''} ago"
    return "now"


def _buttons(events: Mapping[str, Event], *, about: str = "") -> str:
    return "".join(
        f'<button name="event" value="{name}" title="{escape(event.what)}"'
        f"{_label(event, about)}>{escape(event.title)}</button>"
        for name, event in events.items()
    )


def _label(event: Event, about: str) -> str:
    return f' aria-label="{escape(f"{event.title}: {about}")}"' if about else ""


def _guide(events: Iterable[Event]) -> str:
    return "".join(
        f"<dt>{escape(event.title)}</dt><dd>{escape(event.what)} <em>{escape(event.shows)}</em></dd>"
        for event in events
    )


_FORM = '<form method="post" action="{path}"><input type="hidden" name="target" value="{target}">{buttons}</form>'
_ROW = (
    '<tr><th scope="row">{id}</th><td data-name="Phone">{phone}</td><td data-name="Status">{status}</td>'
    '<td data-name="Last upload">{upload}</td><td data-name="Last heartbeat">{heartbeat}</td>'
    '<td class="act">{form}</td></tr>'
)
_STUDY = """<section aria-label="{name}">
<header><h2>{name}</h2><p>{zone}</p>
<form method="post" action="{path}"><input type="hidden" name="target" value="{id}">{buttons}</form></header>
<table>
<thead><tr><th scope="col">Participant</th><th scope="col">Phone</th><th scope="col">Status</th>
<th scope="col">Last upload</th><th scope="col">Last heartbeat</th><th scope="col">Make it happen</th></tr></thead>
<tbody>{rows}</tbody>
</table>
</section>
"""
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Simulated Beiwe server</title>
<style>{style}</style>
</head>
<body>
<main>
<h1>Simulated Beiwe server</h1>
<p>Make something happen to these synthetic studies, and watch Dagster find it.</p>
<dl class="facts"><dt>Time in the studies</dt><dd>{now}</dd><dt>Server</dt><dd>{state}</dd></dl>
<form method="post" action="{path}">{buttons}<a href="{path}">Refresh this page</a></form>
<section aria-label="What happened"><h2>What happened</h2>{happened}</section>
{studies}
<section aria-label="What to expect in Dagster"><h2>What to expect in Dagster</h2>
<p>Sensors look about once a minute, and … stands for the key of the study.</p>
<dl class="guide">{guide}</dl></section>
</main>
</body>
</html>
"""
_STYLE = """
:root { color-scheme: light dark; --ink: #1d2330; --dim: #5b6475; --paper: #f6f7f9; --card: #fff; --line: #dfe3ea;
  --accent: #2f5fd0; --good: #1a7a45; --warn: #94590b; --bad: #b3261e; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8eaf0; --dim: #a3abbb; --paper: #14171d; --card: #1d2129; --line: #343b48;
    --accent: #8fb0ff; --good: #6fd39b; --warn: #f0b661; --bad: #ff9a91; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 70rem; margin: 0 auto; padding: 2rem 1rem 4rem; }
h1 { font-size: 1.6rem; margin: 0; } h2 { font-size: 1.1rem; margin: 0; }
p { margin: .25rem 0; color: var(--dim); }
section { background: var(--card); border: 1px solid var(--line); border-radius: .6rem; padding: 1rem; }
section { margin-top: 1rem; }
section > header { display: flex; flex-wrap: wrap; gap: .25rem 1rem; align-items: baseline; }
section > header form { margin-left: auto; }
form { display: flex; flex-wrap: wrap; gap: .4rem; align-items: center; margin: 0; }
a { color: var(--accent); }
button { font: inherit; font-size: .875rem; color: var(--accent); background: none; border: 1px solid var(--line);
  border-radius: .4rem; padding: .2rem .6rem; cursor: pointer; }
button:hover, button:focus-visible { background: var(--accent); border-color: var(--accent); color: var(--card); }
.facts { display: grid; grid-template-columns: max-content 1fr; gap: 0 1rem; margin: 1rem 0; }
dt { color: var(--dim); } dd { margin: 0; }
ul { margin: .5rem 0 0; padding: 0; list-style: none; overflow-wrap: anywhere; } li:first-child { font-weight: 600; }
table { width: 100%; border-collapse: collapse; margin-top: .75rem; font-size: .9375rem; }
th, td { text-align: left; padding: .4rem .75rem .4rem 0; border-top: 1px solid var(--line); }
thead th { border: 0; color: var(--dim); font-weight: 400; font-size: .8125rem; }
tbody th { font-family: ui-monospace, monospace; font-weight: 500; }
.good { color: var(--good); } .warn { color: var(--warn); } .bad { color: var(--bad); } .dim { color: var(--dim); }
.guide { display: grid; grid-template-columns: max-content 1fr; gap: .5rem 1rem; margin: .75rem 0 0; }
.guide dt { color: var(--ink); font-weight: 600; } .guide em { color: var(--dim); font-style: normal; display: block; }
@media (max-width: 46rem) {
  thead { position: absolute; display: block; width: 1px; height: 1px; overflow: hidden; }
  tr, tbody th, .act { display: block; }
  td { display: inline-block; margin-right: .75rem; } tbody th, td { border: 0; padding: 0; }
  tbody tr { border-top: 1px solid var(--line); padding: .6rem 0; }
  td[data-name]::before { content: attr(data-name) ": "; color: var(--dim); }
  .act { margin-top: .4rem; } section > header form { margin-left: 0; }
  .facts, .guide { grid-template-columns: 1fr; gap: 0; } .guide dd { margin-bottom: .6rem; }
}
"""
