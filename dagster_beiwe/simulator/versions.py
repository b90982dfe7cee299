"""The page about server versions, ``docs/server-versions.md``, generated from the simulator's profiles and routes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from dagster_beiwe.simulator.endpoints import ROUTES
from dagster_beiwe.simulator.profiles import PROFILE_NAMES, Profile, RegistryRule
from dagster_beiwe.streams import STREAM_NAMES

COMMAND = "python -m dagster_beiwe.simulator --versions"

_INTRODUCTION = f"""# Server versions

Beiwe servers do not report their version, and branches and forks run as servers, too. Nothing has to be
configured: the client asks for each route, asks the server for its streams, and follows the answers. What a
server has and this package does not know is carried along; what it lacks is reported once. `dagster-beiwe check`
tests this with real requests and prints what it found.

This page is the output of `{COMMAND}`, from the generations that the [simulator](simulator.md) plays."""

_STREAMS = """## Data streams

Without `streams` in a study's configuration, you get every stream that the server has. If a stream appears or
disappears, you don't need a new release of this package:

- **A new stream** is fetched, encrypted like the others, compared by `complete`, and listed as new by `check`
  and in `settings`. Only windows that have data from it are requested. It is [read](reading.md) by its header, with
  every column as text, or as files if it is not CSV.
- **A stream that the server no longer has** keeps its files and its history. It counts neither as incomplete nor as
  deleted, even with `remove_deleted_upstream: true`, and no window is requested for it. `complete` lists it as not
  compared.
- **A name in `streams`** can be any stream of the server. If the server does not have it, it is left out with a
  warning, and the others are fetched. A misspelled name is an error that suggests the nearest one.

The streams are the keys of the totals (`get-participant-data-quantities`), the fields of a row of the
daily statistics, or those that the page for Tableau lists. Before July 2024, no answer reports them, and the streams
of the catalog are requested. A stream that a server reports but refuses is found by halving the list."""

_ROUTES_TITLE = "## Endpoints"

_GENERATIONS = """## Generations

The cost of a refresh depends on what a server leaves out of a download if you tell it what you hold. The hashes
that it reports decide what can be compared without a download. Dates are those of the server's code; your server
may have deployed it months later."""

_RULES: dict[RegistryRule, str] = {
    "full-path-md5": "nothing: windows that changed are sent whole",
    "full-path-sha1": "nothing: windows that changed are sent whole",
    "short-path-sha1": "hourly files and recordings, by SHA-1; survey answers are sent every time",
    "any-value-by-full-path": "every file, by SHA-1 or MD5",
}

_ROWS, _NO_ROWS = "rows `{}` of `participant`", "no such rows"

_MEANS = {
    "/check-my-credentials/v1": ("keys are checked directly", "by listing the studies"),
    "/get-studies/v1": ("studies are found by ID or name", ""),
    "/get-users/v1": ("the roster", ""),
    "/get-participant-ids/v1": ("the roster", "the same from `get-users`"),
    "/get-study-settings/v1": ("`settings`", "from the website, with `study_pk`, user name, and password"),
    "/get-interventions/v1": ("`interventions`, and dates in `settings`", "no dates but those in the roster"),
    "/get-survey-history/v1": ("`survey_history`, and versions in `settings`", "no versions"),
    "/get-participant-data-quantities/v1": (
        "one small request shows whose data changed, and which streams exist",
        "the daily counts of every participant are requested",
    ),
    "/get-participant-table-data/v1": ("details in the roster; the study's start", "IDs only; set `start`"),
    "/get-summary-statistics/v1": (
        "windows that changed are fetched; `complete` compares bytes; `data_volume` and `forest_statistics`",
        "the schedule fetches the newest windows again; `complete` cannot compare; both tables are empty",
    ),
    "/get-participant-upload-history/v1": (_ROWS.format("upload"), _NO_ROWS),
    "/get-participant-heartbeat-history/v1": (_ROWS.format("heartbeat"), _NO_ROWS),
    "/get-participant-version-history/v1": (_ROWS.format("app_version"), _NO_ROWS),
    "/get-participant-device-status-history/v1": (_ROWS.format("device_status"), _NO_ROWS),
    "/get-participant-notification-history/v1": (_ROWS.format("notification"), _NO_ROWS),
    "/get-participant-file-hashes/v1": (
        "the route fails, but its existence shows that held files are compared by hash: the audit works",
        "contents are compared by fetching them",
    ),
    "/get-sycamore-analysis-output/v1": ("not used", ""),
    "/get-forest-tasks/v1": ("`forest_tasks`", "an empty table"),
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
    return _table(["server", "streams", "not in the catalog", "missing from the catalog"], rows)


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
            "reported with the settings" if profile.settings_have_time_zone else "from the phones, or `time_zone`",
            "an error that breaks the download" if profile.missing_object_aborts else "left out silently",
            "only the first is sent" if profile.drops_colliding_names else "numbered `_2`, `_3`",
        ]
        for name, profile in _profiles()
    ]
    return _table(
        [
            "server",
            "leaves out what you hold",
            "hash of recordings and survey answers",
            "study's time zone",
            "a lost object is",
            "files with the same name",
        ],
        rows,
    )


def _hashes(profile: Profile) -> str:
    if not profile.keeps_sha1 or profile.registry_rule == "full-path-md5":
        return "none"
    sha1 = "SHA-1, if the request lists what you hold"
    return f"{sha1}; MD5 of files since May 2026" if profile.keeps_md5_of(profile.day) else sha1


def _profiles() -> list[tuple[str, Profile]]:
    return sorted(((name, Profile.named(name)) for name in PROFILE_NAMES), key=lambda pair: pair[1].day)


def _title(name: str) -> str:
    return name if name[0].isdigit() else f"branch or fork with `{name}`"


def _codes(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
