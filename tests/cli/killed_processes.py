"""``dagster-beiwe`` with two processes, one of which kills at its nth change of a lake: ``VICTIM N COMMAND ...``.

The victim is the process itself (``worker``), or the one that has started it (``parent``).
"""

from __future__ import annotations

import os
import sys

from killed_command import die_at
from tasks_elsewhere import force

from dagster_beiwe.cli import main

if __name__ == "__mp_main__":  # in each of the two
    die_at(int(sys.argv[2]), {"worker": os.getpid, "parent": os.getppid}[sys.argv[1]])

if __name__ == "__main__":
    force(2)
    sys.exit(main(sys.argv[3:]))
