"""Study id, beginning of it, or name: each finds the study, and what is not exactly one says why."""

from __future__ import annotations

import pytest
from client_helpers import OTHER_STUDY, STUDY

from dagster_beiwe.client import BeiweClient, StudyListing
from dagster_beiwe.client.studies import find_study
from dagster_beiwe.errors import ConfigurationError

ALPHA = StudyListing(STUDY, "Loopback Study Alpha")
BETA = StudyListing(OTHER_STUDY, "Beta Étude 2")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (STUDY, ALPHA),
        (" Loopback Study Alpha\n", ALPHA),
        ("Beta Étude 2", BETA),
        ("aaaaaaaaaaaaaaaB", BETA),
        (STUDY[:16], ALPHA),
    ],
)
def test_a_study_is_found_by_id_name_or_beginning(client: BeiweClient, text: str, expected: StudyListing) -> None:
    """White space around is ignored."""
    assert client.find_study(text) == expected


def test_an_ambiguous_beginning_lists_the_candidates(client: BeiweClient) -> None:
    """Nothing is chosen by chance."""
    for ask in (client.find_study, client.expand_study_id):
        with pytest.raises(ConfigurationError, match="matches 2 studies") as caught:
            ask("aaa")
        assert STUDY in str(caught.value)
        assert OTHER_STUDY in str(caught.value)


def test_a_typing_error_gets_the_nearest_name(client: BeiweClient) -> None:
    """Nothing is guessed, only suggested."""
    with pytest.raises(ConfigurationError, match=r"Did you mean 'Loopback Study Alpha' \(aaa"):
        client.find_study("Lopback study alfa")


def test_what_is_like_nothing_gets_the_whole_list(client: BeiweClient) -> None:
    """Also an empty text, which would begin every id."""
    for text in ("zzz", "", "  "):
        with pytest.raises(ConfigurationError, match="The studies are"):
            client.find_study(text)


def test_keys_without_studies_say_so() -> None:
    """A new researcher sees none."""
    with pytest.raises(ConfigurationError, match="access to no study"):
        find_study({}, "Sleep")


def test_a_name_wins_over_the_beginning_of_an_id() -> None:
    """A study may be called like another one's id begins."""
    studies = {STUDY: "bbb", "bbb" + "c" * 21: "Other"}
    assert find_study(studies, "bbb") == StudyListing(STUDY, "bbb")


def test_ids_and_names_translate_into_each_other(client: BeiweClient) -> None:
    """As mano's studyid and studyname."""
    assert client.study_id("Beta Étude 2") == OTHER_STUDY
    assert client.study_name(OTHER_STUDY) == "Beta Étude 2"
    assert client.expand_study_id(STUDY[:20]) == ALPHA


def test_an_id_is_not_a_name_and_the_reverse(client: BeiweClient) -> None:
    """The stricter look-ups name the mistake."""
    with pytest.raises(ConfigurationError, match="but an id"):
        client.study_id(STUDY)
    with pytest.raises(ConfigurationError, match="Did you mean"):
        client.study_id("Beta Etude")
    with pytest.raises(ConfigurationError, match="no access to a study"):
        client.study_name("z" * 24)
    with pytest.raises(ConfigurationError, match="No study matches"):
        client.expand_study_id("Beta Étude 2")
