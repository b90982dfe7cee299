"""Opens one fresh ``DAGSTER_HOME`` after the other in several processes at the same moment, after what the docs say."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

import dagster as dg
from click.testing import CliRunner
from dagster._cli import create_dagster_cli


def opened(home: Path, moment: float) -> bool:
    """Whether an instance opens, at a moment, for what webserver and daemon look at first."""
    time.sleep(max(0, moment - time.time()))
    try:
        with dg.DagsterInstance.from_config(str(home)) as instance:
            instance.get_runs(limit=1)
            instance.all_instigator_state()
            instance.get_daemon_heartbeats()
            instance.event_log_storage.get_pool_limits()
    except Exception as error:  # noqa: BLE001 - of whatever kind, it would end the program
        print(type(error).__name__, error, flush=True)
        return False
    return True


if __name__ == "__main__":
    failed = 0
    for _ in range(int(sys.argv[1])):
        home = Path(tempfile.mkdtemp(dir=sys.argv[2]))
        (home / "dagster.yaml").write_text("telemetry: {enabled: false}")
        os.environ["DAGSTER_HOME"] = str(home)
        made = CliRunner().invoke(create_dagster_cli(), sys.argv[3:]) if sys.argv[3:] else None
        assert made is None or made.exit_code == 0, made.output
        moment = time.time() + 0.2
        children = []
        for _child in range(3):
            process_id = os.fork()
            if not process_id:
                os._exit(0 if opened(home, moment) else 1)
            children.append(process_id)
        failed += sum(os.waitpid(child, 0)[1] != 0 for child in children)
    print(f"{failed} failed")
