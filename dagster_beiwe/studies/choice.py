"""From what the lab wrote to the studies that get assets. Pure: what is known about studies is given."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date

from dagster_beiwe.client.studies import find_study
from dagster_beiwe.errors import ConfigurationError
from dagster_beiwe.names import is_study_id
from dagster_beiwe.studies.config import EVERY_STUDY, StudyConfig, StudyFacts
from dagster_beiwe.studies.discovery import KnownStudy

logger = logging.getLogger("dagster_beiwe")

Known = Mapping[str, KnownStudy]


def configs_from_environment(environ: Mapping[str, str]) -> list[StudyConfig]:
    """``BEIWE_STUDIES`` (ids, beginnings of ids or names, separated by commas; empty means every study that the key can
    see), all beginning at ``BEIWE_START`` where that is set. A name with a comma can't be listed here: use its id."""
    texts = [text.strip() for text in environ.get("BEIWE_STUDIES", "").split(",") if text.strip()]
    start = environ.get("BEIWE_START", "").strip() or None
    return [StudyConfig(text, start=start) for text in texts or [EVERY_STUDY]]


def facts_of_study(config: StudyConfig, known: Known) -> StudyFacts:
    """One listed study. Raises ``ConfigurationError`` if it can't be identified."""
    study = _identify(config, known)
    return StudyFacts.of(config, id=study.id, name=study.name, key=study.key, start=study.start)


def facts_of_studies(configs: Sequence[StudyConfig], known: Known) -> list[StudyFacts]:
    """Every study that the configurations of one deployment mean, sorted by key.

    While the server has never answered, a study that needs it to be identified is left out, with a warning. Raises
    ``ConfigurationError`` for studies that the server does not have, that are listed twice, or share a key.
    """
    listed = list(_listed(configs, known))
    ids = {facts.id for facts in listed}
    everything = [config for config in configs if config.study == EVERY_STUDY]
    if len(everything) > 1:
        raise ConfigurationError(
            f"Expected `study: {EVERY_STUDY}` once per deployment, got it {len(everything)} times; nothing was built."
        )
    rest = [study for study in known.values() if everything and study.id not in ids]
    found = listed + [
        StudyFacts.of(everything[0], id=study.id, name=study.name, key=study.key, start=study.start) for study in rest
    ]
    _check_unique("study", (facts.id for facts in found))
    return sorted(found, key=lambda facts: facts.key)


def check_keys(studies: Iterable[StudyFacts]) -> None:
    """Raise ``ConfigurationError`` where two studies, perhaps of different deployments, would share their assets."""
    _check_unique("key", (facts.key for facts in studies))


def ids_without_start(configs: Sequence[StudyConfig], known: Known) -> Iterator[str]:
    """Ids of the studies whose first day must be asked from the server."""
    return (facts.id for facts in facts_of_studies(configs, known) if facts.start is None)


def _listed(configs: Sequence[StudyConfig], known: Known) -> Iterator[StudyFacts]:
    for config in configs:
        if config.study == EVERY_STUDY:
            continue
        if known or _is_complete(config):
            yield facts_of_study(config, known)
        else:
            logger.warning(
                "Study %r has no assets yet: the server could not be asked which study that is, and never was before. "
                "Reload the code location when the server is back.",
                config.study,
            )


def _identify(config: StudyConfig, known: Known) -> KnownStudy:
    if _is_complete(config) and config.study not in known:
        start: date | None = config.start
        return KnownStudy(id=config.study, name=config.study, key=config.key or config.study, start=start)
    return known[find_study({study.id: study.name for study in known.values()}, config.study).id]


def _is_complete(config: StudyConfig) -> bool:
    """Whether the configuration says all that the server would have to be asked."""
    return is_study_id(config.study) and config.key is not None and config.start is not None


def _check_unique(what: str, values: Iterable[str]) -> None:
    twice = sorted(value for value, count in Counter(values).items() if count > 1)
    if twice:
        raise ConfigurationError(
            f"Expected each {what} once, got {', '.join(twice)} more than once; nothing was built. Remove one of them "
            "from the studies' configuration, or give it a `key` of its own."
        )
