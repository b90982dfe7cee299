"""Sittings: one per file of answers, dated by its name."""

from datetime import datetime, timezone
from pathlib import Path
from zoneinfo import ZoneInfo

from forest.days import rows_of, write


def compute_survey_stats(study_folder: str, output_folder: str, tz_str: str, users: list[str]) -> bool:
    (user,) = users
    assert list(rows_of(Path(study_folder, user, "survey_timings")))
    lines: list[list[object]] = []
    for path in sorted(Path(study_folder, user, "survey_answers").glob("*/*.csv")):
        answers = list(rows_of(path.parent))
        assert answers
        ended = datetime.strptime(path.name[:19], "%Y-%m-%d %H_%M_%S").replace(tzinfo=timezone.utc)
        local = ended.astimezone(ZoneInfo(tz_str)).replace(tzinfo=None)
        lines.append([path.parent.name, user, 1, local, local, 0])
    columns = ["survey id", "beiwe_id", "surv_inst_flg", "min_time", "max_time", "time_to_complete"]
    write(Path(output_folder, "summaries", "submits_only.csv"), columns, lines)
    return True
