"""The page about server versions, ``docs/server-versions.md``, made from the profiles and routes of the simulator."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from dagster_beiwe.simulator.endpoints import ROUTES
from dagster_beiwe.simulator.profiles import PROFILE_NAMES, Profile, RegistryRule
from dagster_beiwe.streams import STREAM_NAMES

COMMAND = "python -m dagster_beiwe.simulator --versions"

_INTRODUCTION = f"""# Server versions

No Beiwe server tells its version, and branches and forks of it run as servers too. So nothing here is
configured: the client asks for each route, asks the server for its streams, and goes by the answers. What a
server has and this package does not know is carried along; what it lacks is said once. `dagster-beiwe check`
proves it with real requests and prints what it found.

`{COMMAND}` makes this page from the generations that the [simulator](simulator.md) plays."""

_STREAMS = """## Data streams

Without `streams` in a study's configuration, you get every stream that the server has. No release of this
package is needed for one to come or go:

- **A new stream** is fetched, encrypted like the others, compared by `complete`, and listed as new by `check`
  and in `settings`. Only windows with data of it are requested. It is [read](reading.md) by its header, with
  every column as text, or as files where it is no CSV.
- **A stream that the server lost** keeps its files and its history. That is no hole and no deletion, also
  with `remove_vanished: true`, and no window is requested for it. `complete` names it as not compared.
- **A name in `streams`** may be any that the server has. One that it lacks is left out with a warning, the
  others are fetched. A misspelled one is an error that names the nearest.

The streams are the keys of the totals (`get-participant-data-quantities`), or the fields of one row of the
daily statistics, or those that the page for Tableau lists. Before July 2024 no answer tells them, and those
of the catalogue are asked for. A stream that a server tells of and yet refuses is found by halving the list."""

_ROUTES_TITLE = "## Endpoints"

_GENERATIONS = """## Generations

What a server leaves out of a download if it is told what you hold decides what a refresh costs. The hashes
that it tells decide what can be compared without a download. A date is that of the server's code; your server
may run it months later."""

_RULES: dict[RegistryRule, str] = {
    "full-path-md5": "nothing: moved windows come whole",
    "full-path-sha1": "nothing: moved windows come whole",
    "short-path-sha1": "hourly files and recordings by SHA-1; survey answers come each time",
    "any-value-by-full-path": "every file, by SHA-1 or MD5",
}

_MEANS = {
    "/check-my-credentials/v1": ("keys are checked by themselves", "by listing the studies"),
    "/get-studies/v1": ("studies are found by id or name", ""),
    "/get-users/v1": ("the roster", ""),
    "/get-participant-ids/v1": ("the roster", "the same from `get-users`"),
    "/get-study-settings/v1": ("`settings`", "from the website, with `study_pk`, user name and password"),
    "/get-interventions/v1": ("dates of interventions in `settings`", "they are not told"),
    "/get-survey-history/v1": ("versions of surveys in `settings`", "they are not told"),
    "/get-participant-data-quantities/v1": (
        "one small request tells whose data moved, and which streams there are",
        "everybody's daily counts are asked for",
    ),
    "/get-participant-table-data/v1": ("details in the roster; the study's start", "ids only; set `start`"),
    "/get-summary-statistics/v1": (
        "the windows that moved are fetched; `complete` compares bytes; each day names the zone it was counted in",
        "the schedule fetches the newest windows again; `complete` cannot tell",
    ),
    "/get-participant-upload-history/v1": ("`client.upload_history`", "`RouteMissingError`"),
    "/get-participant-heartbeat-history/v1": ("`client.heartbeat_history`", "`RouteMissingError`"),
    "/get-participant-version-history/v1": ("`client.version_history`", "`RouteMissingError`"),
    "/get-participant-device-status-history/v1": ("`client.device_status_history`", "`RouteMissingError`"),
    "/get-participant-notification-history/v1": ("`client.notification_history`", "`RouteMissingError`"),
    "/get-participant-file-hashes/v1": (
        "the route fails, but tells that held files are compared by hash: the audit works",
        "contents are compared by fetching them",
    ),
    "/get-sycamore-analysis-output/v1": ("not used", ""),
    "/get-forest-tasks/v1": ("not used", ""),
    "/get-data/v1": ("downloads", ""),
    "/get-data/v2": ("compressed downloads, a third of the bytes", "downloads of plain files"),
    "/background_processing_status": ("not used", ""),
}


def page() -> str:
    """The page as Markdown."""
    parts = [_INTRODUCTION, _STREAMS, _stream_table(), _ROUTES_TITLE, _route_table(), _GENERATIONS, _generation_table()]
    return "\n\n".join(parts) + "\n"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    first, *others = (f"| {' | '.join(row)} |" for row in (header, *rows))
    return "\n".join([first, f"|{'---|' * len(header)}", *others])


def _stream_table() -> str:
    rows = []
    for name, profile in _profiles():
        more = sorted(set(profile.streams) - set(STREAM_NAMES))
        fewer = sorted(set(STREAM_NAMES) - set(profile.streams))
        rows.append([_title(name), str(len(profile.streams)), _codes(more) or "-", _codes(fewer) or "-"])
    return _table(["server", "streams", "has beside the catalogue", "lacks of the catalogue"], rows)


def _route_table() -> str:
    rows = [
        [f"`{path.lstrip('/')}`", route.since.isoformat(), _MEANS[path][0], _MEANS[path][1] or "-"]
        for path, route in sorted(ROUTES.items(), key=lambda item: (item[1].since, item[0]))
    ]
    return _table(["endpoint", "since", "with it", "without it"], rows)


def _generation_table() -> str:
    rows = [
        [
            _title(name),
            _RULES[profile.registry_rule],
            _hashes(profile),
            "told with the settings" if profile.settings_have_time_zone else "from the phones, or `time_zone`",
            "breaks the download" if profile.missing_object_aborts else "left out in silence",
            "only the first is sent" if profile.drops_colliding_names else "numbered `_2`, `_3`",
        ]
        for name, profile in _profiles()
    ]
    return _table(
        [
            "server",
            "what you hold is left out",
            "hash of recordings and survey answers",
            "study's time zone",
            "a lost object",
            "files of one name",
        ],
        rows,
    )


def _hashes(profile: Profile) -> str:
    if not profile.keeps_sha1 or profile.registry_rule == "full-path-md5":
        return "none"
    sha1 = "SHA-1 in answer to a list of what is held"
    return f"{sha1}; MD5 of files since May 2026" if profile.keeps_md5_of(profile.day) else sha1


def _profiles() -> list[tuple[str, Profile]]:
    return sorted(((name, Profile.named(name)) for name in PROFILE_NAMES), key=lambda pair: pair[1].day)


def _title(name: str) -> str:
    return name if name[0].isdigit() else f"branch or fork with `{name}`"


def _codes(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
