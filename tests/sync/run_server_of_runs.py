"""A process that starts runs on demand, each in a process of its own that can be killed.

Reads one JSON object per line: what to fetch from where into which lake. Answers with the process id of the run. An
empty line waits for all runs, and answers with their exit codes.
"""

from __future__ import annotations

import json
import os
import sys
from datetime import datetime

from dagster_beiwe.client import BeiweClient
from dagster_beiwe.credentials import Credentials
from dagster_beiwe.lake import BeiweLake
from dagster_beiwe.lake.catalog import key_file
from dagster_beiwe.sync import Cell, StudySync
from dagster_beiwe.windows import windows_between


def run(order: dict[str, str]) -> None:
    credentials = Credentials(url=order["url"], access_key=order["access_key"], secret_key=order["secret_key"])
    lake = BeiweLake(order["folder"]).study(order["study_id"], passphrase=order["passphrase"], compression="none")
    start, end = datetime.fromisoformat(order["start"]), datetime.fromisoformat(order["end"])
    cells = [Cell(order["participant"], window) for window in windows_between("daily", start, end)]
    with BeiweClient(credentials) as client:
        for report in StudySync(client, lake, run_id=order["run_id"]).run(cells):
            assert report.complete


def main() -> None:
    key_file.LOG2_N = 10
    children: list[int] = []
    for line in sys.stdin:
        if line.strip():
            child = os.fork()
            if child == 0:
                try:
                    run(json.loads(line))
                    os._exit(0)
                finally:
                    sys.excepthook(*sys.exc_info())
                    os._exit(1)
            children.append(child)
            print(child, flush=True)
        else:
            print(json.dumps([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]), flush=True)
            children.clear()


if __name__ == "__main__":
    main()
