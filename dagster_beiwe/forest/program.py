"""Runs one analysis of Forest on a tree of plain files. It is started with the Python of Forest's own environment,
where this package is not: it imports nothing of it.

Nothing that Forest prints or raises leaves this process, because it may contain rows: an error is reported by its type
and its place in the code.
"""

from __future__ import annotations

import ctypes
import json
import os
import pickle
import random
import signal
import sys
import traceback
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

_PARENT_DEATH_SIGNAL = 1
"""PR_SET_PDEATHSIG of Linux."""

Task = Mapping[str, Any]


def main() -> None:
    """Run the analysis that the run asks for, and report what became of it."""
    end_with_parent()
    from dagster_pipes import open_dagster_pipes

    with open_dagster_pipes() as pipes:
        task = pipes.extras
        if os.getppid() != task["parent"]:
            os._exit(1)  # it died before this process could be bound to it
        silence(Path(task["results"], "printed.txt"))
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.alarm(task["seconds"])
        report: dict[str, Any] = {}
        try:
            report |= analyze(task)
        except BaseException as error:  # noqa: BLE001  # its text may contain rows, also that of an exit
            report["failed"] = describe(error)
        pipes.report_custom_message(report)


def end_with_parent() -> None:
    """Die when the run does, however it dies: its plain files are removed then."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PARENT_DEATH_SIGNAL, signal.SIGKILL)


def silence(path: Path) -> None:
    """Let whatever is printed go to a file beside the results."""
    with path.open("wb") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)


def describe(error: BaseException) -> str:
    """The type of an error and where it was raised: the last line of Forest's own code, if there is one."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "/forest/" in frame.filename] or frames
    name = Path(own[-1].filename)
    return f"{type(error).__name__} in {name.parent.name}/{name.name}, line {own[-1].lineno}"


def analyze(task: Task) -> dict[str, Any]:
    import numpy as np

    random.seed(task["seed"])
    np.random.seed(task["seed"] % 2**32)  # the generator that Jasmine draws from
    removed = remove_unreadable_recordings(Path(task["data"], task["participant"], "audio_recordings"))
    TREES[task["tree"]](task)
    return {"forest": version("beiwe-forest"), "unreadable recordings": removed}


def jasmine(task: Task) -> None:
    from forest.constants import Frequency
    from forest.jasmine.traj2stats import gps_stats_main

    memory, vectors = read_state(task)
    try:
        gps_stats_main(
            task["data"],
            task["results"],
            task["zone"],
            Frequency.DAILY,
            save_traj=False,
            participant_ids=[task["participant"]],
            all_memory_dict=memory,
            all_bv_set=vectors,
        )
    except RuntimeError as error:
        if "locate_home" not in {frame.name for frame in traceback.extract_tb(error.__traceback__)}:
            raise  # else there are too few nights to tell where home is, and so no results
    write_state(task)


def willow(task: Task) -> None:
    from forest.constants import Frequency
    from forest.willow.log_stats import log_stats_inner  # the main function swallows errors

    folder = str(Path(task["results"], "daily"))
    log_stats_inner(task["participant"], folder, task["data"], Frequency.DAILY, task["zone"])


def oak(task: Task) -> None:
    from forest.constants import Frequency
    from forest.oak.base import run

    run(task["data"], task["results"], task["zone"], Frequency.DAILY, users=[task["participant"]])


def sycamore(task: Task) -> None:
    from forest.sycamore.base import compute_survey_stats

    compute_survey_stats(task["data"], task["results"], task["zone"], [task["participant"]])


TREES: Mapping[str, Callable[[Task], None]] = {
    "jasmine": jasmine,
    "oak": oak,
    "sycamore": sycamore,
    "willow": willow,
}


def remove_unreadable_recordings(folder: Path) -> list[str]:
    """Remove recordings that Sycamore cannot read the length of, a single one of which would end it."""
    removed = []
    for path in sorted(folder.glob("*/*")):
        import librosa

        try:
            librosa.get_duration(path=str(path))
        except Exception:  # noqa: BLE001  # each decoder has its own
            path.unlink()
            removed.append(f"{path.parent.name}/{path.name}")
    return removed


def read_state(task: Task) -> tuple[Any, Any]:
    """What Jasmine remembers of the participant from the window before: {participant: state}, twice; or None."""
    import numpy as np

    if not task["state"]:
        return None, None
    state = json.loads(Path(task["state"]).read_text(encoding="utf-8"))
    memory = {
        number: {
            name: [np.array(each) for each in value] if name == "bv" else np.array(value)
            for name, value in parts.items()
        }
        for number, parts in state["memory"].items()
    }
    return {task["participant"]: memory}, {task["participant"]: np.array(state["vectors"])}


def write_state(task: Task) -> None:
    """Write what Jasmine remembers as JSON. It pickles it, and is asked for nothing else."""
    results, participant = Path(task["results"]), task["participant"]
    pickled = [results / "all_memory_dict.pkl", results / "all_bv_set.pkl"]
    if not all(path.exists() for path in pickled):
        return
    memory, vectors = (pickle.loads(path.read_bytes())[participant] for path in pickled)  # noqa: S301  # written above
    state = {"memory": memory, "vectors": vectors}
    Path(results, "state.json").write_text(json.dumps(state, default=lambda array: array.tolist()), encoding="utf-8")


if __name__ == "__main__":
    main()
