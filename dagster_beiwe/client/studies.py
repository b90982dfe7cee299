"""Find the study that somebody means: by id, by the beginning of its id, or by name."""

from __future__ import annotations

import difflib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from dagster_beiwe.errors import ConfigurationError
from dagster_beiwe.ids import check_study_id
from dagster_beiwe.text import as_typed, listed

_LISTED = 20


@dataclass(frozen=True, order=True)
class StudyListing:
    """A study as the server knows it: 24 letters and digits, and a name that is unique on the server."""

    id: str
    name: str


def expand_study_id(studies: Mapping[str, str], prefix: str) -> StudyListing:
    """The one study whose id starts with ``prefix``; raises ``ConfigurationError`` for none or several."""
    found = _by_prefix(studies, prefix)
    if len(found) == 1:
        return found[0]
    raise _not_one(studies, prefix, found, "beginning of a study id")


def find_study(studies: Mapping[str, str], text: str) -> StudyListing:
    """The study with this id, or else this name, or else whose id alone starts with it. Space around it is ignored.

    Raises ``ConfigurationError`` with the candidates, or with the nearest names where there is none.
    """
    found = matching_studies(studies, text)
    if len(found) == 1:
        return found[0]
    raise _not_one(studies, text.strip(), found, "study")


def matching_studies(studies: Mapping[str, str], text: str) -> list[StudyListing]:
    """The studies that somebody can mean by ``text``, as ``find_study`` takes it."""
    text = as_typed(text).strip()
    if text in studies:
        return [StudyListing(text, studies[text])]
    named = [StudyListing(study_id, name) for study_id, name in studies.items() if name.strip() == text]
    return named or _by_prefix(studies, text)


def _by_prefix(studies: Mapping[str, str], prefix: str) -> list[StudyListing]:
    """An empty prefix fits no study: it would silently mean the only one."""
    return [
        StudyListing(study_id, name) for study_id, name in studies.items() if prefix and study_id.startswith(prefix)
    ]


def _not_one(studies: Mapping[str, str], text: str, found: Iterable[StudyListing], what: str) -> ConfigurationError:
    candidates = sorted(found)
    if candidates:
        return ConfigurationError(
            f"The {what} {text[:80]!r} matches {len(candidates)} studies: {_listed(candidates)}. None was chosen. "
            "Write more of the id."
        )
    if not studies:
        return ConfigurationError(
            f"The {what} {text[:80]!r} was not found, because these keys have access to no study. Ask the study's "
            "administrator to add the researcher."
        )
    by_name = {name.lower(): StudyListing(study_id, name) for study_id, name in studies.items()}
    near = [by_name[name] for name in difflib.get_close_matches(text.lower(), list(by_name), n=3, cutoff=0.5)]
    if near:
        return ConfigurationError(f"No study matches the {what} {text[:80]!r}. Did you mean {_listed(near)}?")
    every = sorted(StudyListing(*item) for item in studies.items())
    return ConfigurationError(f"No study matches the {what} {text[:80]!r}. The studies are: {_listed(every)}.")


def _listed(studies: list[StudyListing]) -> str:
    return listed([f"{study.name!r} ({study.id})" for study in studies], most=_LISTED)


class StudyLookups(ABC):
    """Look-ups among the studies that a client's keys have access to. Each is one request."""

    @abstractmethod
    def studies(self) -> dict[str, str]:
        """{study id: study name}"""

    def find_study(self, text: str) -> StudyListing:
        """The study with this id or name, or whose id alone starts with it.

        Raises ``ConfigurationError`` with candidates or nearest names if that is not exactly one study.
        """
        return find_study(self.studies(), text)

    def expand_study_id(self, prefix: str) -> StudyListing:
        """The one study whose id starts with ``prefix``; several or none raise ``ConfigurationError``."""
        return expand_study_id(self.studies(), prefix)

    def study_id(self, name: str) -> str:
        """The id of the study with exactly this name; raises ``ConfigurationError`` if there is none."""
        studies = self.studies()
        for study_id, known in studies.items():
            if known == name:
                return study_id
        near = find_study(studies, name)  # an id given for a name gets the same help as a typing error
        raise ConfigurationError(
            f"{name[:80]!r} is not a study's name but an id, or the beginning of one. That study's name is "
            f"{near.name!r}."
        )

    def study_name(self, study_id: str) -> str:
        """The name of the study with this id; raises ``ConfigurationError`` if the keys have no access to it."""
        check_study_id(study_id)
        name = self.studies().get(study_id)
        if name is None:
            raise ConfigurationError(
                f"These keys have no access to a study with the id {study_id}. It may have been deleted, or the "
                "researcher may have been removed from it."
            )
        return name
