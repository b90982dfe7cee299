"""Names from the server: every real form is understood, and nothing else gets near a path."""

from __future__ import annotations

import traceback
from datetime import datetime, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagster_beiwe.errors import ConfigurationError, HostileArchiveError
from dagster_beiwe.ids import check_participant_id, check_study_id, host_slug, slug
from dagster_beiwe.member_names import (
    key_describes,
    key_of_chunked_member,
    parse_member_name,
    parse_phone_file,
    short_key,
)
from dagster_beiwe.opening import LakeOpener
from dagster_beiwe.text import as_code, as_title, error_in_words, listed, one_line

STUDY = "AbCdEfGhIjKlMnOpQrStUvWx"
WHEN = datetime(2026, 10, 2, 17, tzinfo=timezone.utc)
TIME = "2026-10-02 17_00_00+00_00"


@pytest.mark.parametrize(
    ("name", "stream", "survey", "last"),
    [
        (f"p1/gps/{TIME}.csv", "gps", None, f"{TIME}.csv"),
        (f"p1/gps/{TIME}.csv.zst", "gps", None, f"{TIME}.csv"),
        (f"p1/gps/{TIME}.csv)", "gps", None, f"{TIME}.csv"),
        (f"p1/survey_answers/5ab9c1/{TIME}_2.csv", "survey_answers", "5ab9c1", f"{TIME}_2.csv"),
        (f"p1/survey_timings/unknown_survey_id/{TIME}.csv.zst", "survey_timings", "unknown_survey_id", f"{TIME}.csv"),
        (f"p1/survey_timings/{TIME}.csv", "survey_timings", None, f"{TIME}.csv"),
        (f"p1/audio_recordings/5ab9c1/{TIME}.wav.zst", "audio_recordings", "5ab9c1", f"{TIME}.wav"),
        (f"p1/audio_recordings/{TIME}.mp4", "audio_recordings", None, f"{TIME}.mp4"),
        (
            f"p1/ambient_audio/{TIME}.mp4-duplicate-abc123XYZ0",
            "ambient_audio",
            None,
            f"{TIME}.mp4-duplicate-abc123XYZ0",
        ),
        (f"p1/ambient_audio/{TIME}_3.mp4.zst", "ambient_audio", None, f"{TIME}_3.mp4"),
        (f"12345678/wifi/{TIME}.csv", "wifi", None, f"{TIME}.csv"),
        (f"p1/ai_chat_logs/5ab9c1/{TIME}.csv.zst", "ai_chat_logs", "5ab9c1", f"{TIME}.csv"),
        (f"p1/moon-phase2/{TIME}_2.csv", "moon-phase2", None, f"{TIME}_2.csv"),
    ],
)
def test_every_real_form_is_understood(name: str, stream: str, survey: str | None, last: str) -> None:
    """All forms that servers since 2023 hand out give participant, stream, survey, time and file name."""
    member = parse_member_name(name)
    assert member.participant == name.partition("/")[0]
    assert (member.stream, member.survey_id, member.name, member.time) == (stream, survey, last, WHEN)
    assert member.folder == (f"{stream}/{survey}" if survey else stream)


HOSTILE = [
    "",
    "registry",
    "/",
    "//",
    "..",
    "../../outside.csv",
    f"/p1/gps/{TIME}.csv",
    f"../gps/{TIME}.csv",
    f"p1/../{TIME}.csv",
    f"p1/gps/../{TIME}.csv",
    f"p1/gps/./{TIME}.csv",
    f"p1//{TIME}.csv",
    f"./p1/gps/{TIME}.csv",
    f"p1/gps/x/y/{TIME}.csv",
    f"p1/gps/{TIME}.csv/",
    f"p1/gps/{TIME}.csv/..",
    f"C:\\p1/gps/{TIME}.csv",
    f"C:/gps/{TIME}.csv",
    f"p1\\gps\\{TIME}.csv",
    f"p1/gps/..\\{TIME}.csv",
    f"p1/gps/{TIME}.csv\n",
    f"p1/gps/{TIME}.csv\x00",
    f"p1/gps/{TIME}\x00.csv",
    f"p1\n/gps/{TIME}.csv",
    f"p1/survey_answers/a\tb/{TIME}.csv",
    f"p1/survey_answers/.beiwe/{TIME}.csv",
    f"p1/survey_answers/a b/{TIME}.csv",
    f".beiwe/gps/{TIME}.csv",
    f"p1/.beiwe/{TIME}.csv",
    f"p1/GPS/{TIME}.csv",
    f"p1/gps/{TIME}",
    f"p1/gps/{TIME}.",
    f"p1/gps/{TIME}.csv.lock",
    f"p1/gps/{TIME}.csv.zst.zst",
    f"p1/gps/{TIME}.csv))",
    f"p1/gps/.{TIME}.csv",
    "p1/gps/2026-13-02 17_00_00+00_00.csv",
    "p1/gps/2026-02-30 17_00_00+00_00.csv",
    "p1/gps/2026-10-02 24_00_00+00_00.csv",
    "p1/gps/2026-10-02 17_00_61+00_00.csv",
    "p1/gps/0000-10-02 17_00_00+00_00.csv",
    "p1/gps/2026-10-02 17:00:00+00:00.csv",
    "p1/gps/2026-10-02 17_00_00+02_00.csv",
    "p1/gps/٢٠٢٦-10-02 17_00_00+00_00.csv",  # digits, but not ASCII's
    f"p1/gps/{TIME}_\uff12.csv",
    f"p\u0301/gps/{TIME}.csv",
    f"\u202ep1/gps/{TIME}.csv",
    f"p1/gps/{TIME}.cs\u200bv",
    f"p1/\uff47\uff50\uff53/{TIME}.csv",
    f"p1/gps\u2215x/{TIME}.csv",
    f"p1/out_of_range/{TIME}.csv",  # a folder of the lake's own
    f"p1/{'s' * 65}/{TIME}.csv",
    f"p1/_gps/{TIME}.csv",
    f"{'p' * 65}/gps/{TIME}.csv",
    f"p1/survey_answers/{'s' * 101}/{TIME}.csv",
    f"p1/gps/{TIME}.{'c' * 300}",  # longer than file systems take
    f"p1/gps/{TIME}_{'2' * 300}.csv",
    f"p1/ambient_audio/{TIME}.mp4-duplicate-{'x' * 300}",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_anything_else_is_refused(name: str) -> None:
    """Names that could leave the folder, hide, confuse or break a file system are refused, short and escaped."""
    with pytest.raises(HostileArchiveError) as refusal:
        parse_member_name(name)
    text = str(refusal.value)
    assert text.isascii()
    assert text.isprintable()
    assert len(text) < 500


@given(
    st.text(max_size=80)
    | st.from_regex(r"[a-z0-9.]{0,9}/(gps|wifi|\.\.)/[0-9 _+-]{20,25}(\.csv)?(\.zst)?", fullmatch=True)
)
def test_arbitrary_names_are_understood_or_refused(name: str) -> None:
    """Whatever the name, the outcome is a safe relative path or the one error."""
    try:
        member = parse_member_name(name)
    except HostileArchiveError:
        return
    path = f"{member.participant}/{member.folder}/{member.name}"
    assert path.isascii()
    assert path.isprintable()
    assert not {".", "..", ""} & set(path.split("/"))
    assert "\\" not in path


@pytest.mark.parametrize(
    ("key", "name"),
    [
        (f"CHUNKED_DATA/{STUDY}/p1/gps/2026-10-02T17:00:00.csv", f"p1/gps/{TIME}.csv"),
        (f"{STUDY}/p1/gps/2026-10-02T17:00:00.csv", f"p1/gps/{TIME}.csv.zst"),
        (f"CHUNKED_DATA/{STUDY}/p1/survey_timings/s1/2026-10-02T17:00:00.csv", f"p1/survey_timings/s1/{TIME}.csv"),
        (
            f"CHUNKED_DATA/{STUDY}/p1/survey_timings/2026-10-02T17:00:00.csv",
            f"p1/survey_timings/unknown_survey_id/{TIME}.csv",
        ),
        (f"{STUDY}/p1/surveyAnswers/s1/1790960400000.csv", f"p1/survey_answers/s1/{TIME}_2.csv"),
        (f"{STUDY}/p1/surveyAnswers/s1/1790960400999.csv-duplicate-abcdefghij", f"p1/survey_answers/s1/{TIME}.csv"),
        (f"{STUDY}/p1/voiceRecording/s1/1790960400123.wav", f"p1/audio_recordings/s1/{TIME}.wav"),
        (
            f"{STUDY}/p1/ambientAudio/1790960400123.mp4-duplicate-abcdefghij",
            f"p1/ambient_audio/{TIME}.mp4-duplicate-abcdefghij",
        ),
        (f"{STUDY}/p1/aiChatLogs/s1/1790960400999.csv", f"p1/ai_chat_logs/s1/{TIME}.csv"),
        (f"CHUNKED_DATA/{STUDY}/p1/image_survey/2026-10-02T17:00:00.csv", f"p1/image_survey/{TIME}.csv"),
        (f"{STUDY}/p1/surveyAnswers/s1/-3600000.csv", "p1/survey_answers/s1/1969-12-31 23_00_00+00_00.csv"),
    ],
)
def test_keys_belong_to_the_members_they_describe(key: str, name: str) -> None:
    """Every real pair of registry key and member name is recognised, with and without storage prefix."""
    member = parse_member_name(name)
    assert key_describes(key, STUDY, member)
    assert key_describes(short_key(key), STUDY, member)


@pytest.mark.parametrize(
    "key",
    [
        "",
        "/",
        "CHUNKED_DATA/",
        f"{STUDY}/p1/gps",
        f"{STUDY}/p2/gps/2026-10-02T17:00:00.csv",
        f"{STUDY[::-1]}/p1/gps/2026-10-02T17:00:00.csv",
        f"{STUDY}/p1/wifi/2026-10-02T17:00:00.csv",
        f"{STUDY}/p1/gps/2026-10-02T18:00:00.csv",
        f"{STUDY}/p1/gps/1790964000000.csv",
        f"{STUDY}/p1/gps/²²²²²²²²²²²²².csv",
        f"{STUDY}/p1/gps/١٧٩٠٩٦٠٤٠٠٠٠٠.csv",
        f"{STUDY}/p1/gps/{'9' * 400}.csv",
        f"{STUDY}/p1/gps/99999999999999999.csv",
        f"{STUDY}/p1/gps/-99999999999999999.csv",
    ],
)
def test_keys_of_other_files_do_not_describe_a_member(key: str) -> None:
    """Another study, participant, stream or time, and text that is no key, never matches and never breaks."""
    assert not key_describes(key, STUDY, parse_member_name(f"p1/gps/{TIME}.csv"))


@pytest.mark.parametrize("folder", ["gps", "surveyAnswers"])
def test_the_key_of_another_stream_does_not_describe_a_member_of_a_new_one(folder: str) -> None:
    """How a new stream's folder is called is the server's own affair, but it is not that of a known stream."""
    member = parse_member_name(f"p1/ai_chat_logs/{TIME}.csv")
    assert not key_describes(f"{STUDY}/p1/{folder}/1790960400999.csv", STUDY, member)


@given(st.text(max_size=60))
def test_arbitrary_keys_never_break(text: str) -> None:
    """A registry's keys come from outside: any text has an answer."""
    member = parse_member_name(f"p1/gps/{TIME}.csv")
    key_describes(text, STUDY, member)
    key_describes(f"{STUDY}/p1/gps/{text}", STUDY, member)


def test_the_key_of_an_hourly_file_follows_from_its_name() -> None:
    """What the registry would say is known without a registry."""
    member = parse_member_name(f"p1/survey_timings/s1/{TIME}.csv.zst")
    key = key_of_chunked_member(STUDY, member)
    assert key == f"{STUDY}/p1/survey_timings/s1/2026-10-02T17:00:00.csv"
    assert key_describes(key, STUDY, member)


@pytest.mark.parametrize("text", ["", "a/b", "..", "a b", "a\n", "é", "x" * 65, ".beiwe", "a.b"])
def test_ids_that_are_no_ids_are_refused(text: str) -> None:
    """Ids become folders, partitions and requests: only letters, digits, _ and - pass."""
    with pytest.raises(ConfigurationError):
        check_participant_id(text)
    with pytest.raises(ConfigurationError):
        check_study_id(text)


def test_slugs_are_plain_or_refused() -> None:
    """Names of studies become asset keys; what has no Latin letter needs a key of its own."""
    assert slug("Étude Schmerz & Schlaf") == "etude_schmerz_schlaf"
    assert slug("../../x\n") == "x"
    assert slug("x y " * 1000) == "x_y_" * 19 + "x_y"
    assert host_slug("https://beiwe.example.org:8443/x") == "beiwe_example_org_8443"
    with pytest.raises(ConfigurationError, match="key"):
        slug("睡眠")


@pytest.mark.parametrize("url", ["https://user:CanaryPass", "https://[::1", "https://host:99999/CanaryPass"])
def test_a_malformed_address_is_refused_without_repeating_it(url: str) -> None:
    """What the parser takes for a port may be a password; it does not travel along as a context either."""
    with pytest.raises(ConfigurationError, match="malformed") as caught:
        host_slug(url)
    assert "Canary" not in "".join(traceback.format_exception(caught.value)).replace(url, "")
    assert caught.value.__context__ is None


def test_free_text_is_shown_on_one_line_and_formats_nothing() -> None:
    """Escapes for terminals, line breaks of every kind, marks of direction; images and links of Markdown."""
    assert one_line("Étude\x1b[2J\r\n\u2028\u202eoK \ud800☃") == "Étude [2J    oK  ☃"
    assert as_code("![x](https://e.example/`\n# big") == "`![x](https://e.example/' # big`"
    assert len(as_code("x" * 1_000_000)) == 205


@pytest.mark.parametrize(
    "name", ["Sleep and Mood", "Étude Schmerz & Schlaf", "Pilot 2.0 (adults)", "Study: sleep, 2024"]
)
def test_a_title_is_shown_as_it_is_if_it_formats_nothing(name: str) -> None:
    """Dagster's lists show descriptions as they are, so that marks of Markdown would be seen."""
    assert as_title(name) == name


@pytest.mark.parametrize(
    "name", ["*", "a_b_", "[x](y)", "a<b>", "see www.example.org", "a@b.org", "&lt;", "x" * 201, "", "~a~"]
)
def test_a_title_that_could_format_is_code(name: str) -> None:
    """Neither a link nor a tag can come from the name of a study."""
    assert as_title(name) == as_code(name)


@pytest.mark.parametrize(
    ("name", "stream", "survey"),
    [
        ("accel/1790809200017.csv", "accelerometer", None),
        ("ios/log/1790809200017.csv", "ios_log", None),
        ("gps/-1.csv", "gps", None),
        ("surveyAnswers/52rUshocGjTREwtvwyden77e/1790809200017.csv", "survey_answers", "52rUshocGjTREwtvwyden77e"),
        ("voiceRecording/52rUshoc/1790809200017.wav-duplicate-a1b2c3d4e5", "audio_recordings", "52rUshoc"),
        ("newStream/1790809200017.csv", "newStream", None),
    ],
)
def test_a_phones_file_says_its_stream_and_survey(name: str, stream: str, survey: str | None) -> None:
    """As the upload history lists it, without the participant."""
    file = parse_phone_file(name)
    assert file is not None
    assert (file.stream, file.survey_id) == (stream, survey)
    assert file.opened_ms in (-1, 1790809200017)


@pytest.mark.parametrize("name", ["", "gps", "1790809200017.csv", "gps/x.csv", "a/b/c/1.csv", "../gps/1.csv", "gps/1"])
def test_a_phones_file_in_another_form_says_nothing(name: str) -> None:
    """It is kept under its name."""
    assert parse_phone_file(name) is None


def test_many_names_are_counted() -> None:
    """Of as many as are shown, all are there."""
    assert listed(["anna", "bert"], most=2) == "anna, bert"
    assert listed(["anna", *["bert"] * 2_000], most=1) == "anna and 2,000 more"


def test_a_secret_in_place_of_a_variables_name_is_not_repeated() -> None:
    """Nor is the lake opened."""
    with pytest.raises(ConfigurationError, match="`passphrase_variable` is not the name") as caught:
        LakeOpener({}, passphrase_variable="correct horse battery")
    assert "horse" not in str(caught.value)


def test_the_name_of_an_error_in_words() -> None:
    """ "Error" is left out where enough is left to understand it."""
    names = ("DamagedMemberError", "ServerFailedError", "IntegrityError", "SSLError", "ReadTimeout", "gaierror")
    assert [*map(error_in_words, names)] == [
        "damaged member",
        "server failed",
        "integrity error",
        "ssl error",
        "read timeout",
        "gaierror",
    ]
