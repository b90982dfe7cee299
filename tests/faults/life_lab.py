"""What Dagster loads for ``life.py``: one study, everything that runs by itself, and a launcher that kills runs."""

from __future__ import annotations

import functools
import os
import random
import signal
import threading
import warnings
from collections.abc import Mapping
from typing import Any

import dagster as dg
from dagster._core.execution.api import execute_run
from dagster._core.launcher import LaunchRunContext, RunLauncher
from dagster._serdes import ConfigurableClass
from dagster._utils.hosted_user_process import recon_job_from_origin
from fault_scene import STREAMS, STUDY

from dagster_beiwe import (
    Automation,
    BeiweClient,
    BeiweResource,
    EnvCredentials,
    Notices,
    StudyConfig,
    build_beiwe_definitions,
)
from dagster_beiwe.client import HttpPolicy

START_VARIABLE = "LIFE_START"
KILL_SHARE_VARIABLE = "LIFE_KILL_SHARE"
HOOK_VARIABLE = "LIFE_HOOK"
_LONGEST_SECONDS = 1.0
_ABOUT_AN_HOUR = 3000
"""Each evaluation takes some seconds of its hour."""


class ImpatientResource(BeiweResource):
    """Does not wait between attempts: a month has to pass in minutes."""

    def get_client(self, *, policy: HttpPolicy | None = None) -> BeiweClient:
        return BeiweClient(self.credentials.load(), policy=policy, sleep=lambda seconds: None)


@dg.definitions
@functools.cache  # Dagster loads them for each run, as if it had a process of its own
def defs() -> dg.Definitions:
    """Everything that a lab gets, switched on, and looked at every hour."""
    study = StudyConfig(STUDY, key="life", start=os.environ[START_VARIABLE], window="daily", streams=STREAMS)
    beiwe = build_beiwe_definitions(
        [study],
        deployments={"beiwe": ImpatientResource(credentials=EnvCredentials())},
        automation=Automation(running=True, roster_seconds=_ABOUT_AN_HOUR, changes_seconds=_ABOUT_AN_HOUR),
        notices=[Notices(webhook_url_variable=HOOK_VARIABLE, seconds=_ABOUT_AN_HOUR)],
    )
    return dg.Definitions.merge(beiwe, dg.Definitions(executor=dg.in_process_executor))


class KillingLauncher(RunLauncher, ConfigurableClass):
    """Runs in this process, but a share of them in a child, which SIGKILL ends in its first second."""

    chance = random.Random(1)

    def __init__(self, inst_data: Any = None) -> None:
        self._inst_data = inst_data
        super().__init__()  # type: ignore[no-untyped-call]  # Dagster's has no annotations

    @property
    def inst_data(self) -> Any:
        return self._inst_data

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        return {}

    @classmethod
    def from_config_value(cls, inst_data: Any, config_value: Mapping[str, Any]) -> KillingLauncher:
        return cls(inst_data)

    def launch_run(self, context: LaunchRunContext) -> None:
        if self.chance.random() < float(os.environ[KILL_SHARE_VARIABLE]):
            self._in_a_child(context, seconds=self.chance.random() * _LONGEST_SECONDS)
        else:
            self._execute(context)

    def _execute(self, context: LaunchRunContext) -> None:
        assert context.job_code_origin is not None
        execute_run(recon_job_from_origin(context.job_code_origin), context.dagster_run, self._instance)

    def _in_a_child(self, context: LaunchRunContext, *, seconds: float) -> None:
        """The run may be over before it is killed."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # threads: the child is going to die anyway
            child = os.fork()
        if child == 0:
            try:
                self._execute(context)
            finally:
                os._exit(0)
        timer = threading.Timer(seconds, os.kill, (child, signal.SIGKILL))
        timer.start()
        os.waitpid(child, 0)
        timer.cancel()
        timer.join()

    def terminate(self, run_id: str) -> bool:
        return False
