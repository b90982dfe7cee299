"""Choose the studies that get assets, from the configuration and from what is known about studies. Pure."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from dagster_beiwe.client.studies import find_study
from dagster_beiwe.environment import BEIWE_START, BEIWE_STUDIES, BEIWE_TABLES
from dagster_beiwe.errors import ConfigurationError
from dagster_beiwe.ids import is_study_id
from dagster_beiwe.studies.config import EVERY_STUDY, StudyConfig
from dagster_beiwe.studies.discovery import free_key
from dagster_beiwe.studies.study import Study
from dagster_beiwe.text import as_typed

logger = logging.getLogger("dagster_beiwe")

Known = Mapping[str, Study]


def configs_from_environment(environ: Mapping[str, str], deployments: Mapping[str, Known]) -> list[StudyConfig]:
    """``BEIWE_STUDIES`` (ids, beginnings of ids or names, separated by commas), all beginning at ``BEIWE_START`` if
    that is set, and with the stream tables in ``BEIWE_TABLES``. Empty means every study that the keys of each
    deployment can see. ``*`` stands for the others beside those that are named, without tables.

    ``deployments`` holds the known studies of each. A name that contains commas is recognized once its study is known.
    Each study is taken from every deployment that has it; one that is known nowhere belongs to the first deployment of
    which nothing is known yet.
    """
    start = environ.get(BEIWE_START, "").strip() or None
    tables: Any = tuple(filter(None, (name.strip() for name in environ.get(BEIWE_TABLES, "").split(","))))
    names = [study.name for known in deployments.values() for study in known.values()]
    texts = split_names(as_typed(environ.get(BEIWE_STUDIES, "")), names)
    if not texts:
        return [StudyConfig(EVERY_STUDY, start=start, tables=tables, deployment=name) for name in deployments]
    unknown = [name for name, known in deployments.items() if not known]
    elsewhere = [*unknown, *deployments][:1]
    others = [StudyConfig(EVERY_STUDY, start=start, deployment=name) for name in deployments if EVERY_STUDY in texts]
    return others + [
        StudyConfig(text, start=start, tables=tables, deployment=name)
        for text in texts
        if text != EVERY_STUDY
        for name in [each for each, known in deployments.items() if _find(text, known)] or elsewhere
    ]


def split_names(text: str, names: Iterable[str]) -> list[str]:
    """Split a list at its commas, except inside of ``names`` that contain some; the longest match wins."""
    parts = [part.strip() for part in text.split(",")]
    with_commas = {tuple(part.strip() for part in name.split(",")): name for name in names if "," in name}
    found: list[str] = []
    while parts:
        lengths = [length for length in range(len(parts), 1, -1) if tuple(parts[:length]) in with_commas]
        length = lengths[0] if lengths else 1
        found.append(with_commas[tuple(parts[:length])] if lengths else parts[0])
        parts = parts[length:]
    return [each for each in found if each]


def identify_study(config: StudyConfig, known: Known) -> Study:
    """The study that a configuration means. Raises ``ConfigurationError`` if it cannot be identified."""
    if _is_complete(config) and config.study not in known:
        found = Study(id=config.study, name=config.study, key=config.study, config=config)
    else:
        found = known[find_study({study.id: study.name for study in known.values()}, config.study).id]
    return found.configured(config)


def choose_studies(configs: Sequence[StudyConfig], known: Known) -> list[Study]:
    """Every study that the configurations of one deployment mean, sorted by key.

    While the server has never answered, a study that needs it to be identified is left out, with a warning. Raises
    ``ConfigurationError`` for studies that the server does not have, or that are listed twice.
    """
    listed = list(_listed(configs, known))
    ids = {study.id for study in listed}
    everything = [config for config in configs if config.study == EVERY_STUDY]
    if len(everything) > 1:
        raise ConfigurationError(
            f"`study: {EVERY_STUDY}` is listed {len(everything)} times for one deployment. Nothing was built. List it "
            "once."
        )
    rest = [study for study in known.values() if everything and study.id not in ids]
    found = listed + [study.configured(everything[0]) for study in rest]
    _check_unique("study", (study.id for study in found))
    return sorted(found, key=lambda study: study.key)


def with_own_keys(studies: Sequence[Study]) -> list[Study]:
    """The studies of all deployments, none of which shares its key with another.

    A key that a lab gave stays, and two alike raise ``ConfigurationError``. A key made from a name gets a part of the
    study's id if it is taken: somebody may name a study like another at any time, and that must not stop the rest.
    """
    given = [study.config.key for study in studies if study.config.key]
    _check_unique("key", given)
    taken = set(given)
    found: list[Study] = []
    for study in studies:
        key = study.config.key or free_key(study.key, study.id, taken)
        taken.add(key)
        if key != study.key:
            logger.warning(
                "The assets of study %r are under %r from now on, because another study has the key %r. To choose keys "
                "yourself, give one of them a `key` in its configuration.",
                study.name,
                key,
                study.key,
            )
        found.append(replace(study, key=key))
    return found


def is_incomplete(configs: Sequence[StudyConfig], known: Known) -> bool:
    """Whether the server may know now what is missing: a listed study, or a study's first day."""
    listed = [config for config in configs if config.study != EVERY_STUDY and not _is_complete(config)]
    if any(_find(config.study, known) is None for config in listed):
        return True
    return any(_lacks_start(study) for study in choose_studies(configs, known))


def ids_without_start(configs: Sequence[StudyConfig], known: Known) -> Iterator[str]:
    """Ids of the studies whose first day must be asked from the server."""
    return (study.id for study in choose_studies(configs, known) if _lacks_start(study))


def lacking_assets(configs: Sequence[StudyConfig], found: Sequence[Study]) -> list[str]:
    """Which studies lack assets and why, in words; none of them stops a project from loading."""
    listed = [config for config in configs if config.study != EVERY_STUDY]
    return [
        *(
            f"no study of the deployment {config.deployment!r} is known"
            for config in configs
            if config.study == EVERY_STUDY and not any(study.config.deployment == config.deployment for study in found)
        ),
        *(
            f"study {config.study!r} is not known, because its server never answered"
            for config in listed
            if not any(study.config == config for study in found)
        ),
        *(
            f"study {study.name!r} is no longer on its server"
            for study in found
            if study.hidden and study.config in listed
        ),
        *(f"the start of study {study.name!r} is not known" for study in found if _lacks_start(study)),
    ]


def _lacks_start(study: Study) -> bool:
    return study.start is None and not study.hidden


def _find(text: str, known: Known) -> Study | None:
    try:
        return known[find_study({study.id: study.name for study in known.values()}, text).id]
    except ConfigurationError:
        return None


def _listed(configs: Sequence[StudyConfig], known: Known) -> Iterator[Study]:
    for config in configs:
        if config.study == EVERY_STUDY:
            continue
        if known or _is_complete(config):
            yield identify_study(config, known)
        else:
            logger.warning(
                "Study %r has no assets yet: the server did not answer, and never has, so the study cannot be "
                "identified. Reload the code location when the server is back.",
                config.study,
            )


def _is_complete(config: StudyConfig) -> bool:
    """Whether the configuration says everything that the server would otherwise be asked."""
    return is_study_id(config.study) and config.key is not None and config.start is not None


def _check_unique(what: str, values: Iterable[str]) -> None:
    twice = sorted(value for value, count in Counter(values).items() if count > 1)
    if twice:
        raise ConfigurationError(
            f"The {what} {', '.join(twice)} is configured more than once. Nothing was built. Remove one of them from "
            "the studies' configuration, or give it a different `key`."
        )
