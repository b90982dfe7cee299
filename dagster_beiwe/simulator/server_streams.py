"""Files of streams that some server has and the catalog lacks."""

from __future__ import annotations

from dagster_beiwe.streams import STREAMS, Stream

OWN_STREAMS = {
    stream.name: stream
    for stream in (
        Stream(
            name="ai_chat_logs",
            description="Conversations of a survey that an AI leads.",
            columns=("speaker", "message"),
            text_column="message",
            chunked=False,
            survey_folder=True,
            storage_folder="aiChatLogs",
            known=False,
        ),
        Stream(
            name="image_survey",
            description="Pictures taken as an answer.",
            chunked=False,
            audio=True,
            survey_folder=True,
            storage_folder="imageSurvey",
            known=False,
        ),
        Stream(
            name="omniring",
            description="Pulse and movement measured by a ring.",
            columns=("timestamp", "UTC time", "PPG_red", "PPG_IR"),
            known=False,
        ),
    )
}
_EXTENSIONS = {"image_survey": "jpg"}


def server_stream(name: str) -> Stream:
    """A stream of the catalog or of some server; raises ``KeyError`` for any other."""
    return OWN_STREAMS[name] if name in OWN_STREAMS else STREAMS[name]


def extension_of(stream: str) -> str:
    """The extension that the phone gives a file."""
    return _EXTENSIONS.get(stream, "mp4" if server_stream(stream).audio else "csv")
