"""Each measurement in a process of its own, so that none has warmed up for another."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from benchmarks.process import run_module

if TYPE_CHECKING:
    from typing_extensions import Self


def measure(part: str, environment: Mapping[str, str], **options: Any) -> dict[str, Any]:
    """Run a function of ``benchmarks.scale.parts`` and return what it found."""
    return run_module("benchmarks.scale.parts", part, json.dumps(options), environment=environment)


class Stopwatch:
    """Wall and processor seconds of a block in this process."""

    def __enter__(self) -> Self:
        self._wall, self._processor = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *exception: object) -> None:
        self.seconds = time.perf_counter() - self._wall
        self.cpu_seconds = time.process_time() - self._processor

    def facts(self) -> dict[str, float]:
        return {"seconds": self.seconds, "cpu_seconds": self.cpu_seconds}
