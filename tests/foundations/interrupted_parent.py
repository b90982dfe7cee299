"""Two tasks in processes of their own, until this one is interrupted: ``interrupted_parent.py BEGUN GO_ON ...``.

It prints what they have returned.
"""

from __future__ import annotations

import json
import signal
import sys
from concurrent.futures import ThreadPoolExecutor, wait

from tasks_elsewhere import begin_to_meet

from dagster_beiwe.parallel import Processes


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGHUP, _interrupt)
    try:
        with Processes[list[str]](list, number=2) as processes, ThreadPoolExecutor(2) as pool:
            first, second = (begin_to_meet(processes, pool, sys.argv[at], sys.argv[at + 1]) for at in (1, 3))
            wait([first, second])
    except KeyboardInterrupt:
        seen = [first.result(), second.result()]
        print(json.dumps([[each.process, sorted(each.blocked)] for each in seen]))
