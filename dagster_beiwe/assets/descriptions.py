"""What each asset is, in the words that Dagster shows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from dagster_beiwe.forest.analyses import ANALYSES, asset_name
from dagster_beiwe.stream_tables.catalog import TABLES
from dagster_beiwe.studies.study import Study

_STUDIES: Final = (
    "The studies that the configured access keys can see. Reload the code location to add assets for new ones."
)
_HIDDEN: Final = "The server no longer lists this study, so runs will fail. The lake keeps what was fetched."

_OF_A_STUDY: Final[Mapping[str, str]] = {
    "roster": "Participants of {title} in order of enrollment, with the columns of the server's participant table. New "
    "participants become partitions of raw_data.",
    "settings": "Data streams, device settings, surveys with their history, and interventions of {title}.",
    "participant": "Who each participant of {title} is, and what their phone reported: uploads, heartbeats, versions "
    "of app and system, status reports, and notifications. One partition per participant.",
    "data_volume": "Bytes that the server counts for {title}, by participant, day, and stream. Compare it with "
    "coverage to see what the lake lacks.",
    "interventions": "Dates of the interventions that the survey schedules of {title} refer to.",
    "survey_history": "Questions of every survey of {title}, in every version of the survey.",
    "forest_tasks": "Runs of Forest's analyses of {title} on the server. Empty on servers older than July 2026.",
    "forest_statistics": "What Forest's analyses on the server found in {title}, by participant and day. Empty if none "
    "ran.",
    "restatements": "Files of {title} that were restated or deleted upstream after they were fetched: sizes, hashes, "
    "and times. No content.",
    "coverage": "What arrived from {title}, by participant, day, and stream, compared with what is expected from the "
    "settings. Its checks show who is silent, and whether the lake is complete, intact, and protected.",
    "report": "Who sends what in {title}, as one HTML page, stored encrypted. `dagster-beiwe report --stored` writes "
    "it to a file.",
    "quality": "The quality of the rows of {title}, by participant, study-local day, and stream: minutes with data, "
    "and faults. Counts only. Streams: {looked_at}.",
    "out_of_range": "Files of {title} dated outside every window by phones with a wrong clock. The check `complete` on "
    "`coverage` names the participants who have some.",
    "raw_data": "Raw data of {title} in the lake: one partition per participant and {window} window (UTC). {streams} "
    "Encrypted{cipher}: {encrypted}. Its checks are on coverage. A window without files is a success; coverage shows "
    "who sent nothing. The newest window is still growing: materialize it again later.",
    **{
        asset_name(tree): f"{analysis.title} of {{title}}, as Forest's {tree} finds it: by participant and study-local "
        f"day, one partition per participant and {{window}} window. From {', '.join(analysis.streams)}."
        for tree, analysis in ANALYSES.items()
    },
    **{
        table.asset: f"{table.description} The rows of {{title}} with one type per column, sorted by time, and with "
        f"local times: one partition per participant and {{window}} window (UTC). From {', '.join(table.streams)}."
        for table in TABLES.values()
    },
}


def description(name: str, study: Study | None) -> str:
    """The description of an asset of a study, or of the one that belongs to none."""
    if study is None:
        return _STUDIES
    config = study.config
    text = _OF_A_STUDY[name].format(
        title=study.title,
        window=config.window,
        streams=f"Streams: {', '.join(config.streams)}." if config.streams else "All streams that the server has.",
        looked_at=", ".join(config.looked_at),
        cipher=f" with {config.encryption}" if config.encrypted != "none" else "",
        encrypted=config.encrypted,
    )
    return f"{_HIDDEN} {text}" if study.hidden else text
