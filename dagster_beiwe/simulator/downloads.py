"""``get-data``: which files a request returns, and their names, order, and registry."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import timedelta
from functools import partial

from dagster_beiwe.simulator.answers import Answer, RefusedError
from dagster_beiwe.simulator.archives import Archive, Entry
from dagster_beiwe.simulator.files import StoredFile
from dagster_beiwe.simulator.forms import Request, read_list, read_registry, read_time
from dagster_beiwe.simulator.people import Study
from dagster_beiwe.simulator.profiles import Profile
from dagster_beiwe.simulator.world import World

_SECOND = timedelta(seconds=1)


def download(world: World, profile: Profile, study: Study, request: Request, rng: random.Random) -> Answer:
    """The answer to a permitted ``get-data`` request."""
    selected = _selected(world, profile, study, request)
    registry = read_registry(request.value("registry"))
    if registry and profile.registry_needs_sha1 and not all(file.has_sha1 for file in selected):
        raise RefusedError(500)
    zstd = request.route.endswith("/v2")
    files = [file for file in selected if not (registry and _skipped(file, registry, profile))]
    files = [file for file in files if profile.missing_object_aborts or not file.lost]
    rng.shuffle(files)
    entries = tuple(_entries(files, profile, zstd=zstd, with_hashes=bool(registry)))
    form = request.value("web_form") is not None
    archive = Archive(
        entries=entries, selected=tuple(selected), with_registry=not form, zstd=zstd, now=world.now.replace(tzinfo=None)
    )
    disposition = "attachment" if form else "inline"
    return Answer(
        content_type="application/zip",
        headers={"Content-Disposition": f'{disposition}; filename="data.zip"'},
        chunked=True,
        archive=archive,
    )


def _selected(world: World, profile: Profile, study: Study, request: Request) -> list[StoredFile]:
    named = request.values("participant_ids") if profile.knows_participant_ids else []
    ids = read_list(named or request.values("user_ids"))
    if ids is not None and (len(set(ids)) < len(ids) or any(world.find_participant(one) is None for one in ids)):
        raise RefusedError(404)
    streams = read_list(request.values("data_streams"))
    if streams is not None and any(name not in profile.streams for name in streams):
        raise RefusedError(404)
    start, end = read_time(request.value("time_start")), read_time(request.value("time_end"))
    return world.files(
        study.id,
        participants=ids,
        streams=profile.streams if streams is None else streams,
        start=start,
        end=end and end + _SECOND,
    )


def _skipped(file: StoredFile, registry: dict[str, str], profile: Profile) -> bool:
    """Whether the client's registry excludes the file, by the rule of the server's generation."""
    key, rule = file.key, profile.registry_rule
    short = key.removeprefix("CHUNKED_DATA/")
    if rule == "full-path-md5":
        return registry.get(key) == (file.md5 if file.chunked else "")
    if rule == "full-path-sha1":
        return file.has_sha1 and registry.get(key) == file.sha1
    by_hash_alone = file.stream == "audio_recordings" and file.has_sha1 and file.sha1 in registry.values()
    if rule == "short-path-sha1":
        if file.stream == "survey_answers":
            return False
        return by_hash_alone or (file.has_sha1 and registry.get(short) == file.sha1)
    if registry.get(key):
        return True
    value = registry.get(short)
    return by_hash_alone or (bool(value) and ((file.has_sha1 and value == file.sha1) or value == file.md5))


def _entries(files: list[StoredFile], profile: Profile, *, zstd: bool, with_hashes: bool) -> Iterator[Entry]:
    taken: dict[str, int] = {}
    for file in files:
        stem, ending = file.member_stem, f".{file.extension}"
        if profile.csv_for_all and not file.stream.startswith(("survey_", "audio_recordings")):
            ending = ".csv"
        elif file.stream == "ambient_audio":
            ending += file.suffix
        if profile.extra_parenthesis and file.chunked and not file.survey_id:
            ending += ")"
        number = taken[stem] = taken.get(stem, 0) + 1
        name = stem + (f"_{number}" if number > 1 else "") + ending + (".zst" if zstd else "")
        yield Entry(
            file=file,
            name=None if number > 1 and profile.drops_colliding_names else name,
            key=file.key,
            value=partial(registry_value, file, profile, with_hashes=with_hashes),
            poisoned=file.lost,
        )


def registry_value(file: StoredFile, profile: Profile, *, with_hashes: bool) -> str | None:
    """MD5 without a registry in the request, SHA-1 with one. Unchunked files from before May 2026 have no MD5."""
    has_md5 = file.chunked or profile.keeps_md5_of(file.arrived.date())
    if with_hashes and profile.keeps_sha1 and profile.registry_rule != "full-path-md5":
        if file.has_sha1:
            return file.sha1
        return file.md5 if has_md5 else None
    return file.md5 if has_md5 else ""
