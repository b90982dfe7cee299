"""Which problems are new: of a check that is followed from result to result."""

from __future__ import annotations

from collections.abc import Iterable

from dagster_beiwe.notices.problems import WHOLE_CHECK, Check, Followed, Found, Result, Severity, follow

CHECK = Check("sleep", "beiwe/sleep/coverage", "silent")


def failed(at: float, severity: Severity = "WARN", **participants: Severity) -> Result:
    return Result(at=at, passed=False, severity=severity, participants=participants)


def passed(at: float) -> Result:
    return Result(at=at, passed=True, severity="WARN")


def told(looks: Iterable[Iterable[Result]]) -> list[list[tuple[str, Severity, bool]]]:
    """What is told at each look: whom it is about, how severe it is, and whether it is over already."""
    followed, found = Followed(at=0), []
    for results in looks:
        followed, problems = follow(CHECK, followed, results)
        found.append([(each.participant, each.severity, each.resolved) for each in problems])
    return found


def test_a_failure_is_told_once_and_again_when_it_is_back() -> None:
    """However often the check says it."""
    failure = (WHOLE_CHECK, "WARN", False)
    assert told([[failed(1)], [failed(2)], [], [passed(3)], [failed(4)]]) == [[failure], [], [], [], [failure]]


def test_each_participant_is_told_once() -> None:
    """Who is named already, who joins, who sends again and falls silent anew."""
    anna, bert = ("anna", "WARN", False), ("bert", "WARN", False)
    looks = [[failed(1, anna="WARN")], [failed(2, anna="WARN", bert="WARN")], [failed(3, bert="WARN")], [passed(4)]]
    assert told([*looks, [failed(5, anna="WARN")]]) == [[anna], [bert], [], [], [anna]]


def test_a_warning_that_becomes_an_error_is_told_again() -> None:
    """The way back is no news."""
    looks = [[failed(1, anna="WARN")], [failed(2, "ERROR", anna="ERROR")], [failed(3, anna="WARN")]]
    assert told(looks) == [[("anna", "WARN", False)], [("anna", "ERROR", False)], []]
    assert told([[failed(1)], [failed(2, "ERROR")]]) == [
        [(WHOLE_CHECK, "WARN", False)],
        [(WHOLE_CHECK, "ERROR", False)],
    ]


def test_a_check_that_could_not_be_made_resolves_nobody() -> None:
    """That it failed is told; who was silent before is not new afterwards."""
    looks = [
        [failed(1, anna="WARN")],
        [failed(2, "ERROR")],
        [failed(3, anna="WARN", bert="WARN")],
        [failed(4, "ERROR")],
    ]
    whole = (WHOLE_CHECK, "ERROR", False)
    assert told(looks) == [[("anna", "WARN", False)], [whole], [("bert", "WARN", False)], [whole]]


def test_what_came_and_went_between_two_looks_is_told_as_over() -> None:
    """A mail server that was down for a day loses nothing."""
    between = [failed(1, anna="WARN"), failed(2, anna="WARN", bert="ERROR"), failed(3, bert="ERROR")]
    assert told([between]) == [[("anna", "WARN", True), ("bert", "ERROR", False)]]
    assert told([[failed(1)], [passed(2), failed(3)]])[1] == [(WHOLE_CHECK, "WARN", False)]


def test_looks_can_be_joined() -> None:
    """The same problems, whether results are seen one by one or together, except for those that are over."""
    results = [failed(1, anna="WARN"), failed(2, anna="WARN", bert="WARN"), failed(3, "ERROR"), failed(4, bert="WARN")]
    one_by_one = [problem for look in told([result] for result in results) for problem in look]
    assert [who for who, _, _ in one_by_one] == ["anna", "bert", WHOLE_CHECK]
    together = told([results])[0]
    assert {who: over for who, _, over in together} == {"anna": True, "bert": False, WHOLE_CHECK: True}


def test_what_is_open_is_what_the_last_result_says() -> None:
    """The cursor holds no more than that."""
    followed, _ = follow(CHECK, Followed(at=1, open={"anna": "WARN"}), [failed(2, bert="ERROR")])
    expected: Found = {"bert": "ERROR"}
    assert followed == Followed(at=2, open=expected)
